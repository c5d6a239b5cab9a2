"""API keys: what they open, for how long, and who makes them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from keypeg import errors
from keypeg_server.domain import events
from keypeg_server.domain.access import KEYS_LIMIT
from keypeg_server.domain.account import User
from keypeg_server.domain.caller import Caller, Right, Role
from keypeg_server.service import labeled
from keypeg_server.service.api_keys import API_KEY_START, NewKey
from keypeg_server.service.authenticators import Authenticators
from keypeg_server.storage.tables_people import ApiKeyRow
from tests.server.service.office import PASSWORD, PUBLISHER, Office

DAY = timedelta(days=1)


async def made(
    office: Office, caller: Caller, *scopes: str, user: str = "", ttl: timedelta = DAY
) -> NewKey:
    done: list[NewKey] = []
    wanted = scopes or ("licenses:read",)
    user = user or caller.user
    await office.keys.create(office.request(done), caller, user, "nightly", wanted, ttl)
    return done[0]


def bytes_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def robot(office: Office, role: Role = Role.MEMBER) -> str:
    done: list[User] = []
    await office.people.create_service_user(
        office.request(done), PUBLISHER, "studio", "robot", "Robot", role
    )
    return done[0].name


async def test_a_key_has_the_rights_of_its_user_that_are_its_scopes(office: Office) -> None:
    anna = await office.user("anna", role=Role.ADMIN)
    new = await made(office, anna, "licenses:read", "people:read")
    caller = (await office.keys.authenticate(new.text)).caller
    assert {right for right in Right if caller.may(right)} == {
        Right.LICENSES_READ,
        Right.PEOPLE_READ,
    }
    owner = await office.user("olga", role=Role.OWNER)
    (_, account, _, id) = anna.user.split("/")
    await office.people.change_role(office.request([]), owner, account, id, Role.MEMBER)
    office.keys.forget_user(anna.user)
    caller = (await office.keys.authenticate(new.text)).caller
    assert not caller.may(Right.PEOPLE_READ)


async def test_a_key_asks_for_no_more_than_its_user_has_and_names_what_there_is(
    office: Office,
) -> None:
    anna = await office.user("anna")
    with pytest.raises(errors.FieldInvalid, match="members may not: seats:free"):
        await made(office, anna, "licenses:read", "seats:free")
    with pytest.raises(errors.FieldInvalid, match="everything, which are none; there are licenses"):
        await made(office, anna, "everything")


async def test_a_key_ends(office: Office) -> None:
    anna = await office.user("anna")
    new = await made(office, anna)
    await office.keys.authenticate(new.text)
    assert office.keys.known(new.text) is not None
    office.clock.now += DAY
    assert office.keys.known(new.text) is None
    with pytest.raises(errors.TokenExpired):
        await office.keys.authenticate(new.text)


async def test_a_revoked_key_opens_nothing(office: Office) -> None:
    anna = await office.user("anna")
    new = await made(office, anna)
    await office.keys.authenticate(new.text)
    office.events.clear()
    await office.keys.revoke(office.request([]), anna, anna.user, new.key.id)
    assert office.events == [events.TokenRevoked(new.key.id), events.ApiKeyChanged(new.key.id)]
    office.keys.forget(new.key.id)
    with pytest.raises(errors.TokenInvalid):
        await office.keys.authenticate(new.text)


async def test_a_key_goes_with_its_user(office: Office) -> None:
    anna = await office.user("anna")
    new = await made(office, anna)
    (_, account, _, id) = anna.user.split("/")
    await office.accounts.delete_user(office.request([]), PUBLISHER, account, id)
    with pytest.raises(errors.TokenInvalid):
        await office.keys.authenticate(new.text)


async def test_both_keys_open_until_the_overlap_ends(office: Office) -> None:
    anna = await office.user("anna")
    old = await made(office, anna, ttl=30 * DAY)
    await office.keys.authenticate(old.text)
    done: list[NewKey] = []
    await office.keys.rotate(office.request(done), anna, anna.user, old.key.id, DAY, 30 * DAY)
    office.keys.forget(old.key.id)
    assert done[0].key.scopes == old.key.scopes
    for text in (old.text, done[0].text):
        await office.keys.authenticate(text)
    office.clock.now += DAY
    with pytest.raises(errors.TokenExpired):
        await office.keys.authenticate(old.text)
    await office.keys.authenticate(done[0].text)


async def test_the_last_use_is_known_to_ten_minutes(office: Office) -> None:
    anna = await office.user("anna")
    new = await made(office, anna)
    uses = []
    for minutes in (0, 5, 6, 20):
        office.clock.now += timedelta(minutes=minutes)
        if office.keys.known(new.text) is None:
            await office.keys.authenticate(new.text)
        (kept,) = await office.keys.listed(anna, anna.user)
        uses.append(kept.last_use_time)
    assert uses[0] == uses[1]
    assert uses[1] != uses[2] != uses[3]
    assert uses[3] == office.clock.now


async def test_who_manages_people_makes_keys_for_programs_and_not_for_people(
    office: Office,
) -> None:
    ada, mia = await office.user("ada", role=Role.ADMIN), await office.user("mia")
    program = await robot(office)
    new = await made(office, ada, user=program)
    assert (await office.keys.authenticate(new.text)).user.service
    with pytest.raises(errors.FieldInvalid, match="who makes their own keys"):
        await made(office, ada, user=mia.user)
    mine = await made(office, mia)
    assert [key.name for key in await office.keys.listed(ada, mia.user)] == [mine.key.name]
    await office.keys.revoke(office.request([]), ada, mia.user, mine.key.id)


async def test_an_administrator_makes_no_key_of_who_is_more_than_they(office: Office) -> None:
    await office.user("olga", role=Role.OWNER)
    ada = await office.user("ada", role=Role.ADMIN)
    with pytest.raises(errors.PermissionDenied):
        await made(office, ada, user=await robot(office, Role.ADMIN))


async def test_keys_of_a_user_are_limited(office: Office) -> None:
    anna = await office.user("anna")
    for _ in range(KEYS_LIMIT):
        await made(office, anna)
    with pytest.raises(errors.LimitExceeded):
        await made(office, anna)


async def test_keys_and_tokens_are_told_apart(office: Office) -> None:
    anna = await office.user("anna")
    callers = Authenticators(office.tokens, {API_KEY_START: office.keys})
    key, token = (
        (await made(office, anna)).text,
        (await office.sign_ins.with_password("anna", PASSWORD)),
    )
    assert (await callers.authenticate(key)).caller.scopes == frozenset({Right.LICENSES_READ})
    assert (await callers.authenticate(token.text)).caller.scopes is None
    for text in (key[:-1], key + "x", "kpk_" + "0" * 39, labeled.new(labeled.INVITATION)):
        with pytest.raises(errors.TokenInvalid):
            await callers.authenticate(text)


async def test_the_key_is_kept_nowhere(office: Office, tmp_path: Path) -> None:
    anna = await office.user("anna")
    new = await made(office, anna)
    assert new.text not in repr(new)
    rows = await office.database.read(
        lambda session: repr(session.connection().execute(select(ApiKeyRow)).all())
    )
    assert new.key.id in rows
    assert new.text not in rows
    assert new.text.encode() not in await asyncio.to_thread(bytes_below, tmp_path)
