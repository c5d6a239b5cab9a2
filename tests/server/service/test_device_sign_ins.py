"""Signing in by a code that is approved elsewhere."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keypeg import errors
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.rights import Right
from keypeg_server.domain.sign_in import Method, shown_user_code
from keypeg_server.service.device_sign_ins import VALID_FOR, Begun
from tests.server.service.office import Office

HERE = "192.0.2.7"


async def decide(office: Office, caller: Caller, begun: Begun, *, approve: bool = True) -> None:
    code = shown_user_code(begun.waiting.user_code).lower()
    await office.devices.decide(office.request([]), caller, code, approve=approve, address=HERE)


async def test_an_approved_code_signs_in_once_as_who_approved(office: Office) -> None:
    anna = await office.user("anna")
    begun = await office.devices.begin("render-7", "192.0.2.9")
    with pytest.raises(errors.SignInPending) as pending:
        await office.devices.finish(begun.device_code)
    assert pending.value.retry_after
    shown = await office.devices.get(anna, begun.waiting.user_code, HERE)
    assert (shown.client_name, shown.address) == ("render-7", "192.0.2.9")
    await decide(office, anna, begun)
    new = await office.devices.finish(begun.device_code)
    assert (new.sign_in.method, new.sign_in.client_name) == (Method.DEVICE_CODE, "render-7")
    assert (await office.tokens.authenticate(new.text)).caller.user == anna.user
    with pytest.raises(errors.NotFound):
        await office.devices.finish(begun.device_code)


async def test_a_declined_code_signs_nobody_in(office: Office) -> None:
    anna = await office.user("anna")
    begun = await office.devices.begin("", HERE)
    await decide(office, anna, begun, approve=False)
    with pytest.raises(errors.SignInDeclined):
        await office.devices.finish(begun.device_code)
    with pytest.raises(errors.NotFound):  # it is decided once
        await decide(office, anna, begun)


async def test_a_code_ends(office: Office) -> None:
    anna = await office.user("anna")
    begun = await office.devices.begin("", HERE)
    office.clock.now += VALID_FOR
    for refused in (office.devices.finish(begun.device_code), decide(office, anna, begun)):
        with pytest.raises(errors.NotFound):
            await refused
    again = await office.devices.begin("", HERE)
    await decide(office, anna, again)
    office.clock.now += VALID_FOR
    with pytest.raises(errors.NotFound):
        await office.devices.finish(again.device_code)


async def test_codes_are_guessed_so_many_times(office: Office) -> None:
    anna = await office.user("anna")
    for number in range(10):
        with pytest.raises(errors.NotFound):
            await office.devices.get(anna, f"BCDFGHJ{'BCDFGHJKLM'[number]}", HERE)
    begun = await office.devices.begin("", HERE)
    with pytest.raises(errors.LimitExceeded):
        await decide(office, anna, begun)
    office.clock.now += timedelta(seconds=31)
    await decide(office, anna, begun)


async def test_a_code_of_ones_own_brings_no_more_guesses(office: Office) -> None:
    anna = await office.user("anna")
    own = await office.devices.begin("", "192.0.2.9")
    for number in range(10):
        with pytest.raises(errors.NotFound):
            await office.devices.get(anna, f"BCDFGHJ{'BCDFGHJKLM'[number]}", HERE)
        if number < 9:
            await office.devices.get(anna, own.waiting.user_code, HERE)
    with pytest.raises(errors.LimitExceeded):
        await office.devices.get(anna, own.waiting.user_code, HERE)


async def test_codes_are_given_out_so_many_to_one_place(office: Office) -> None:
    for _ in range(10):
        await office.devices.begin("", HERE)
    with pytest.raises(errors.LimitExceeded):
        await office.devices.begin("", HERE)
    await office.devices.begin("", "192.0.2.9")


async def test_a_key_approves_nothing(office: Office) -> None:
    anna = await office.user("anna")
    key = Caller(
        anna.user, anna.login, anna.account, anna.role, "k", scopes=frozenset({Right.LICENSES_READ})
    )
    begun = await office.devices.begin("", HERE)
    with pytest.raises(errors.PermissionDenied):
        await decide(office, key, begun)


async def test_who_is_removed_after_approving_signs_nobody_in(office: Office) -> None:
    anna = await office.user("anna")
    begun = await office.devices.begin("", HERE)
    await decide(office, anna, begun)
    user = await office.store.read(lambda unit: unit.accounts.credential("anna"))
    assert user is not None
    await office.store.write(lambda unit: unit.accounts.delete_user(user.user))
    with pytest.raises(errors.NotFound):
        await office.devices.finish(begun.device_code)


async def test_neither_code_is_shown_or_kept(office: Office) -> None:
    begun = await office.devices.begin("", HERE)
    assert begun.device_code not in repr(begun)
    assert begun.device_code.encode() != begun.waiting.digest
