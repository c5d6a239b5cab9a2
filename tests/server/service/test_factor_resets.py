"""Second factors that were lost, and the publisher's people: what is taken away, from whom, and who is told."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from keypeg import errors
from keypeg_server.domain.account import OUTSIDE_NAME, PublisherPeople
from keypeg_server.domain.caller import Caller, Right, Role
from keypeg_server.domain.events import SecondFactorsChanged, TokenRevoked
from keypeg_server.domain.passkey import FRESH, Passkey
from keypeg_server.domain.second_factor import TOLD_FOR
from keypeg_server.domain.sign_in import DeviceSignIn
from keypeg_server.service.accounts import NewUser
from keypeg_server.service.factor_resets import FactorResets, WasReset
from keypeg_server.service.store import Request, Unit
from keypeg_server.service.tokens import NewTokens
from tests.server.service.office import PASSWORD, PUBLISHER, Office
from tests.server.service.test_required_factors import calls_as, set_up


@pytest.fixture
def office(office: Office) -> Office:
    office.hub.subscribe(SecondFactorsChanged, office.tokens.forget_factors)
    office.hub.subscribe(TokenRevoked, lambda event: office.tokens.forget(event.token))
    return office


async def outside(office: Office, login: str, role: Role) -> None:
    """One of the publisher's people."""
    await office.accounts.add_first_user(NewUser(None, login, login, role, PASSWORD))


async def signed_in(office: Office, login: str, code: str = "") -> Caller:
    return await calls_as(office, (await enter(office, login, code)).text)


async def enter(office: Office, login: str, code: str = "") -> NewTokens:
    return await office.sign_ins.with_password(login, PASSWORD, code=code)


async def reset(office: Office, caller: Caller, name: str, id: str = "") -> WasReset:
    done: list[WasReset] = []
    _, account, _, user = name.split("/")
    resets = FactorResets(office.store, office.clock, office.sign_ins)
    await resets.reset(office.request(done, id), caller, account, user)
    return done[0]


async def passkey(office: Office, caller: Caller) -> None:
    """A passkey of a caller."""
    _, account, _, id = caller.user.split("/")

    def add(unit: Unit) -> None:
        user = unit.accounts.user(account, id)
        assert user is not None
        made = Passkey(user, uuid.uuid4().hex, b"c" * 16, b"k", 0, "blue", office.clock.now)
        unit.passkeys.add(made)

    await office.store.write(add)


async def test_everything_is_gone_and_every_sign_in_ends_and_the_next_ones_are_told(
    office: Office,
) -> None:
    await office.user("olga", role=Role.OWNER)
    await office.user("anna")
    anna = await signed_in(office, "anna")
    await set_up(office, anna)
    await passkey(office, anna)
    with pytest.raises(errors.CodeRequired):
        await enter(office, "anna")
    owner = await signed_in(office, "olga")

    done = await reset(office, owner, anna.user)
    assert (done.reset.one_time_codes, done.reset.passkey_count, done.ended_count) == (True, 1, 1)
    assert SecondFactorsChanged("accounts/studio", anna.user) in office.events
    assert TokenRevoked(anna.token) in office.events

    for _ in range(2):  # a thief who is there first does not keep it from anna
        told = (await enter(office, "anna")).factor_reset
        assert told is not None
        assert (told.by, told.by_login, told.reset_time) == (owner.user, "olga", office.clock.now)
    office.clock.now += TOLD_FOR
    assert (await enter(office, "anna")).factor_reset is None
    assert (await enter(office, "olga")).factor_reset is None


async def test_who_was_reset_sets_a_factor_up_anew_where_one_is_required(office: Office) -> None:
    await office.user("olga", role=Role.OWNER)
    await office.user("anna")
    await set_up(office, await signed_in(office, "anna"))
    owner = await signed_in(office, "olga")
    name = (await office.accounts.list_users("studio", office.all))[1].name
    await office.accounts.require_second_factor(
        office.request([]), PUBLISHER, "studio", required=True
    )
    await reset(office, owner, name)
    new = await enter(office, "anna")
    assert new.owes_factor
    await set_up(office, await calls_as(office, new.text))
    assert not (await calls_as(office, new.text)).owes_factor


async def test_a_code_that_was_approved_before_signs_nobody_in_after(office: Office) -> None:
    await office.user("olga", role=Role.OWNER)
    await office.user("anna")
    anna = await signed_in(office, "anna")
    await set_up(office, anna)
    begun = await office.devices.begin("tv", "")
    request: Request[DeviceSignIn] = office.request([])
    await office.devices.decide(request, anna, begun.waiting.user_code, approve=True, address="")
    await reset(office, await signed_in(office, "olga"), anna.user)
    with pytest.raises(errors.NotFound):
        await office.devices.finish(begun.device_code)


async def test_it_takes_a_person_who_has_just_signed_in_with_what_they_have(
    office: Office,
) -> None:
    await office.user("olga", role=Role.OWNER)
    await office.user("anna")
    anna = await signed_in(office, "anna")
    await set_up(office, anna)
    owner = await signed_in(office, "olga")
    office.clock.now += FRESH + timedelta(seconds=1)
    with pytest.raises(errors.SignInRequired):
        await reset(office, owner, anna.user)
    weak = await signed_in(office, "olga")
    code = await set_up(office, weak)
    with pytest.raises(errors.SignInRequired):  # has a factor by now, and has not shown it
        await reset(office, weak, anna.user)
    key = Caller(owner.user, "olga", owner.account, Role.OWNER, "k", scopes=frozenset(Right))
    with pytest.raises(errors.PermissionDenied):
        await reset(office, key, anna.user)
    await reset(office, await signed_in(office, "olga", code), anna.user)


async def test_a_refusal_changes_nothing(office: Office) -> None:
    await office.user("olga", role=Role.OWNER)
    await office.user("adam", role=Role.ADMIN)
    olga = await signed_in(office, "olga")
    await set_up(office, olga)
    with pytest.raises(errors.PermissionDenied):
        await reset(office, await signed_in(office, "adam"), olga.user)
    with pytest.raises(errors.CodeRequired):
        await enter(office, "olga")
    assert await stays_signed_in(office, olga)


async def stays_signed_in(office: Office, caller: Caller) -> bool:
    found = await office.store.read(lambda unit: unit.sign_ins.sign_in(caller.token))
    return found is not None


async def test_there_has_to_be_something_to_take_away_and_a_request_counts_once(
    office: Office,
) -> None:
    await office.user("olga", role=Role.OWNER)
    await office.user("anna")
    anna, owner = await signed_in(office, "anna"), await signed_in(office, "olga")
    with pytest.raises(errors.AlreadyExists, match="no second factor"):
        await reset(office, owner, anna.user)
    assert await stays_signed_in(office, anna)
    await set_up(office, anna)
    id = str(uuid.uuid4())
    await reset(office, owner, anna.user, id)
    with pytest.raises(IndexError):  # the first answer, and nothing is done
        await reset(office, owner, anna.user, id)
    with pytest.raises(errors.NotFound):
        await reset(office, owner, "accounts/studio/users/nobody")


async def test_the_publisher_s_people_and_resellers_owe_a_factor_as_an_account_s_do(
    office: Office,
) -> None:
    for login, role in (("pia", Role.PUBLISHER), ("otto", Role.OPERATOR), ("rob", Role.RESELLER)):
        await outside(office, login, role)
    await office.user("anna", role=Role.OWNER)
    texts = {login: (await enter(office, login)).text for login in ("pia", "otto", "rob", "anna")}
    pia, otto = [await calls_as(office, texts[one]) for one in ("pia", "otto")]

    async def require(caller: Caller, *, required: bool) -> None:
        await office.accounts.require_second_factor(
            office.request([]), caller, "-", required=required
        )

    with pytest.raises(errors.PermissionDenied):
        await require(otto, required=True)
    await require(pia, required=True)
    assert await office.accounts.get_account("-") == PublisherPeople(second_factor_required=True)
    owing = {login for login, text in texts.items() if (await calls_as(office, text)).owes_factor}
    assert owing == {"pia", "otto", "rob"}
    assert (await enter(office, "otto")).owes_factor

    code = await set_up(office, otto)
    assert not (await calls_as(office, texts["otto"])).owes_factor
    user = await office.sign_ins.again(otto, PASSWORD, "")
    with pytest.raises(errors.SecondFactorRequired, match="The publisher") as refused:
        await office.factors.remove(user, code)
    assert refused.value.metadata["account"] == OUTSIDE_NAME
    await reset(office, await signed_in(office, "pia"), otto.user)
    again = await enter(office, "otto")
    assert again.owes_factor
    assert again.factor_reset is not None
    await require(pia, required=False)
    assert not (await calls_as(office, again.text)).owes_factor
