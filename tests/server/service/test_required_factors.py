"""Accounts that require a second factor of their people."""

from __future__ import annotations

import base64
import re
from datetime import timedelta

import pytest

from keypeg import errors
from keypeg_server.domain import totp
from keypeg_server.domain.account import Account, PublisherPeople
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.domain.events import SecondFactorsChanged
from keypeg_server.rpc import authorization, factor_gate
from tests.server.service.office import PASSWORD, PUBLISHER, Office


async def require(
    office: Office, caller: Caller = PUBLISHER, *, required: bool = True
) -> Account | PublisherPeople:
    done: list[Account | PublisherPeople] = []
    await office.accounts.require_second_factor(
        office.request(done), caller, "studio", required=required
    )
    return done[0]


async def calls_as(office: Office, token: str) -> Caller:
    return (await office.tokens.authenticate(token)).caller


async def set_up(office: Office, caller: Caller) -> str:
    """Sets codes up; one that holds now."""
    user = await office.sign_ins.again(caller, PASSWORD, "")
    uri = await office.factors.begin(caller, user)
    found = re.search(r"secret=([A-Z2-7]+)", uri)
    assert found is not None
    secret = base64.b32decode(found[1] + "=" * (-len(found[1]) % 8))
    await office.factors.confirm(caller, totp.code(secret, totp.step_of(office.clock.now)))
    office.clock.now += timedelta(seconds=30)
    return totp.code(secret, totp.step_of(office.clock.now))


@pytest.fixture
def office(office: Office) -> Office:
    office.hub.subscribe(SecondFactorsChanged, office.tokens.forget_factors)
    return office


async def test_who_is_signed_in_owes_a_factor_from_the_moment_it_is_required(
    office: Office,
) -> None:
    anna = await office.user("anna", role=Role.OWNER)
    new = await office.sign_ins.with_password("anna", PASSWORD)
    assert not new.owes_factor
    assert not (await calls_as(office, new.text)).owes_factor
    assert (await require(office, anna)).second_factor_required
    assert (await calls_as(office, new.text)).owes_factor
    assert not (await require(office, required=False)).second_factor_required
    assert not (await calls_as(office, new.text)).owes_factor


async def test_the_last_owner_gets_in_with_the_password_and_sets_one_up(office: Office) -> None:
    anna = await office.user("anna", role=Role.OWNER)
    await require(office, anna)
    new = await office.sign_ins.with_password("anna", PASSWORD)
    assert new.owes_factor
    code = await set_up(office, anna)
    assert not (await calls_as(office, new.text)).owes_factor
    again = await office.sign_ins.with_password("anna", PASSWORD, code=code)
    assert not again.owes_factor


async def test_the_last_factor_stays_where_one_is_required(office: Office) -> None:
    anna = await office.user("anna", role=Role.OWNER)
    code = await set_up(office, anna)
    await require(office, anna)
    user = await office.sign_ins.again(anna, PASSWORD, "")
    with pytest.raises(errors.SecondFactorRequired, match="last one"):
        await office.factors.remove(user, code)
    await require(office, anna, required=False)
    await office.factors.remove(user, code)


async def test_other_accounts_and_programs_owe_nothing(office: Office) -> None:
    await require(office)
    await office.account("other")
    await office.user("olga", "other")
    assert not (await office.sign_ins.with_password("olga", PASSWORD)).owes_factor


@pytest.mark.parametrize(
    ("role", "refusal"),
    [
        (Role.MEMBER, errors.PermissionDenied),
        (Role.SUPPORT, errors.PermissionDenied),
        (Role.RESELLER, errors.AccountOwned),
    ],
)
async def test_who_gives_no_roles_there_does_not_decide_it(
    office: Office, role: Role, refusal: type[errors.KeypegError]
) -> None:
    await office.user("anna", role=Role.OWNER)
    with pytest.raises(refusal):
        await require(office, Caller("accounts/-/users/x", "x", None, role, "t"))


OWES = Caller("accounts/a/users/u", "u", "accounts/a", Role.OWNER, "t", owes_factor=True)


def test_a_token_that_owes_a_factor_opens_what_sets_one_up_and_nothing_else() -> None:
    assert set(authorization.TABLE) > factor_gate.METHODS
    for method in authorization.TABLE:
        if method in factor_gate.METHODS:
            factor_gate.check_method(OWES, method)
            continue
        with pytest.raises(errors.SecondFactorRequired, match="set-up"):
            factor_gate.check_method(OWES, method)
