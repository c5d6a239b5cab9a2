"""Staying signed in, copies of tokens, and ending sign-ins."""

from __future__ import annotations

import asyncio
import logging
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from keypeg import errors
from keypeg_server.domain import events
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.rights import Role
from keypeg_server.domain.sign_in import Method, Refresh, SignIn
from keypeg_server.service.sign_ins import USER_SIGN_INS
from keypeg_server.service.token_texts import AccessToken, RefreshToken, TokenTexts
from keypeg_server.service.tokens import NewTokens
from tests.server.service.office import PASSWORD, START, Office

OWNER = Caller("accounts/studio/users/o", "o", "accounts/studio", Role.OWNER, "t")
ID = "0199aaaa000070008000000000000001"
TEXTS = TokenTexts(b"k" * 32, "here")


def new_request() -> str:
    return str(uuid.uuid4())


async def signed_in(office: Office) -> NewTokens:
    await office.user("anna", role=Role.ADMIN)
    return await office.sign_ins.with_password("anna", PASSWORD, "studio-1")


async def is_over(office: Office, tokens: NewTokens) -> bool:
    office.tokens.forget_all()
    try:
        await office.tokens.authenticate(tokens.text)
    except errors.TokenInvalid:
        return True
    return False


async def test_who_comes_back_now_and_then_stays_signed_in(office: Office) -> None:
    tokens = await signed_in(office)
    for hours in (5, 11, 1, 11):
        office.clock.now += timedelta(hours=hours)
        with pytest.raises(errors.TokenExpired):
            await office.tokens.authenticate(tokens.text)
        tokens = await office.sign_ins.refresh(tokens.refresh_text, new_request())
        caller = (await office.tokens.authenticate(tokens.text)).caller
        assert (caller.login, caller.role) == ("anna", Role.ADMIN)
    office.clock.now += timedelta(hours=12)
    with pytest.raises(errors.TokenExpired):
        await office.sign_ins.refresh(tokens.refresh_text, new_request())


async def test_an_answer_that_was_lost_locks_nobody_out(office: Office) -> None:
    first = await signed_in(office)
    request = new_request()
    lost = await office.sign_ins.refresh(first.refresh_text, request)
    again = await office.sign_ins.refresh(first.refresh_text, request.upper())
    assert again.refresh_text == lost.refresh_text
    following = await office.sign_ins.refresh(again.refresh_text, new_request())
    assert following.refresh_text != again.refresh_text
    # Whoever still had the first answer's request is too late now, and as good as a thief.
    with pytest.raises(errors.TokenInvalid, match="used before"):
        await office.sign_ins.refresh(first.refresh_text, request)


async def test_refreshing_at_once_by_one_request_is_one_refresh(office: Office) -> None:
    first = await signed_in(office)
    request = new_request()
    answers = await asyncio.gather(
        *(office.sign_ins.refresh(first.refresh_text, request) for _ in range(5))
    )
    assert len({one.refresh_text for one in answers}) == 1
    assert not await is_over(office, answers[0])


@pytest.mark.parametrize("thief_first", [False, True])
async def test_a_copied_refresh_token_ends_the_sign_in(office: Office, thief_first: bool) -> None:
    first = await signed_in(office)
    got = await office.sign_ins.refresh(first.refresh_text, new_request())
    if thief_first:  # both go on a step with what they have
        got = await office.sign_ins.refresh(got.refresh_text, new_request())
    office.events.clear()
    with pytest.raises(errors.TokenInvalid, match="somebody has a copy"):
        await office.sign_ins.refresh(first.refresh_text, new_request())
    assert events.TokenRevoked(got.sign_in.id) in office.events
    assert await is_over(office, got)
    with pytest.raises(errors.TokenInvalid, match="not known here"):
        await office.sign_ins.refresh(got.refresh_text, new_request())


async def test_signing_out_everywhere_ends_all_of_the_user_and_of_nobody_else(
    office: Office,
) -> None:
    first = await signed_in(office)
    second = await office.sign_ins.with_password("anna", PASSWORD)
    await office.user("bea")
    other = await office.sign_ins.with_password("bea", PASSWORD)
    caller = (await office.tokens.authenticate(first.text)).caller
    assert [one.client_name for one in await office.sign_ins.list(caller)] == ["studio-1", ""]
    assert await office.sign_ins.sign_out_everywhere(caller) == 2
    assert await is_over(office, first)
    assert await is_over(office, second)
    assert not await is_over(office, other)
    assert {events.TokenRevoked(one.sign_in.id) for one in (first, second)} <= set(office.events)


async def test_a_user_ends_only_sign_ins_of_their_own(office: Office) -> None:
    mine = await signed_in(office)
    await office.user("bea")
    hers = await office.sign_ins.with_password("bea", PASSWORD)
    caller = (await office.tokens.authenticate(mine.text)).caller
    with pytest.raises(errors.NotFound):
        await office.sign_ins.end(office.request([]), caller, hers.sign_in.id)
    second = await office.sign_ins.with_password("anna", PASSWORD)
    await office.sign_ins.end(office.request([]), caller, second.sign_in.id)
    assert await is_over(office, second)
    assert not await is_over(office, mine)


async def test_an_administrator_ends_all_of_a_user(office: Office) -> None:
    tokens = await signed_in(office)
    id = tokens.sign_in.user.id
    done: list[int] = []
    with pytest.raises(errors.NotFound):
        await office.sign_ins.end_of_user(office.request(done), OWNER, "elsewhere", id)
    await office.sign_ins.end_of_user(office.request(done), OWNER, "studio", id)
    assert done == [1]
    assert await is_over(office, tokens)


@pytest.mark.long
async def test_the_longest_unused_sign_in_gives_way(office: Office) -> None:
    first = await signed_in(office)
    for _ in range(USER_SIGN_INS):
        office.clock.now += timedelta(seconds=1)
        last = await office.sign_ins.with_password("anna", PASSWORD)
    caller = (await office.tokens.authenticate(last.text)).caller
    found = await office.sign_ins.list(caller)
    assert len(found) == USER_SIGN_INS
    assert first.sign_in.id not in {one.id for one in found}


def test_texts_of_tokens_say_what_they_were_made_of() -> None:
    access, refresh = AccessToken(ID, 1_700_000_000_000_000), RefreshToken(ID, 7, b"s" * 16)
    assert TEXTS.read_access(TEXTS.access(access)) == access
    assert TEXTS.read_refresh(TEXTS.refresh(refresh)) == refresh
    assert TEXTS.access(access).startswith("kpa_")
    assert TEXTS.refresh(refresh).startswith("kpr_")


@pytest.mark.parametrize("position", range(4, 75, 7))
def test_a_forged_text_is_refused(position: int) -> None:
    text = TEXTS.refresh(RefreshToken(ID, 7, b"s" * 16))
    wrong = "A" if text[position] != "A" else "B"
    with pytest.raises(errors.TokenInvalid):
        TEXTS.read_refresh(text[:position] + wrong + text[position + 1 :])


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (TokenTexts(b"k" * 32, "elsewhere"), "other_audience"),  # a copy with another name
        (TokenTexts(b"x" * 32, "here"), None),  # another server of the same name
    ],
)
def test_a_token_for_another_server_is_refused(other: TokenTexts, why: str | None) -> None:
    with pytest.raises(errors.TokenInvalid) as refused:
        TEXTS.read_access(other.access(AccessToken(ID, 1)))
    assert refused.value.metadata.get("why") == why


def test_one_kind_of_token_is_not_the_other() -> None:
    with pytest.raises(errors.TokenInvalid):
        TEXTS.read_access(TEXTS.refresh(RefreshToken(ID, 7, b"s" * 16)))
    with pytest.raises(errors.TokenInvalid):
        TEXTS.read_refresh(TEXTS.access(AccessToken(ID, 1)))


NOW = SignIn(ID, None, Method.PASSWORD, "", START, START, START, 3, b"c" * 16)  # type: ignore[arg-type]  # nobody's


@pytest.mark.parametrize(
    ("generation", "salt", "next_salt", "expected"),
    [
        (3, b"c" * 16, b"d" * 16, Refresh.NEXT),
        (2, b"b" * 16, b"c" * 16, Refresh.REPEATED),
        (2, b"b" * 16, b"x" * 16, Refresh.COPIED),
        (1, b"a" * 16, b"c" * 16, Refresh.COPIED),
        (3, b"x" * 16, b"d" * 16, Refresh.COPIED),
        (7, b"d" * 16, b"e" * 16, Refresh.NEXT),  # the database was restored from before
    ],
)
def test_what_a_refresh_token_is(
    generation: int, salt: bytes, next_salt: bytes, expected: Refresh
) -> None:
    assert NOW.presented(generation, salt, next_salt) is expected


def test_no_secret_shows() -> None:
    assert "cccc" not in repr(NOW)
    assert "ssss" not in repr(RefreshToken(ID, 7, b"s" * 16))
    assert replace(NOW) == NOW


async def test_who_goes_on_guessing_fills_no_log(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "keypeg_server.service.sign_ins")

    async def refused(count: int) -> list[int]:
        caplog.clear()
        for _ in range(count):
            with pytest.raises(errors.LimitExceeded):
                await office.sign_ins.knows("nobody", PASSWORD, "192.0.2.7")
        return [vars(one)["times"] for one in caplog.records]

    for _ in range(10):
        with pytest.raises(errors.CredentialsInvalid):
            await office.sign_ins.knows("nobody", PASSWORD, "192.0.2.7")
    assert await refused(50) == [1]
    office.clock.now += timedelta(seconds=61)
    for _ in range(2):  # what has leaked meanwhile
        office.sign_ins.guarded.count("nobody", "192.0.2.7")
    assert await refused(3) == [50]
