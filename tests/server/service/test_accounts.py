"""Signing in, tokens, and users that are taken away."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import select

from keypeg import errors
from keypeg_server.domain import events
from keypeg_server.domain.caller import Role
from keypeg_server.service.accounts import NewUser
from keypeg_server.service.store import Page
from keypeg_server.storage.tables import UserRow
from keypeg_server.storage.tables_sign_in import SignInRow
from tests.server.service.office import PASSWORD, PUBLISHER, Office


async def test_a_token_is_its_user_until_it_ends(office: Office) -> None:
    anna = await office.user("anna", role=Role.ADMIN)
    new = await office.sign_ins.with_password("anna", PASSWORD)
    signed_in = await office.tokens.authenticate(new.text)
    assert replace(signed_in.caller, token="t") == anna
    office.clock.now += timedelta(minutes=15)
    with pytest.raises(errors.TokenExpired):
        await office.tokens.authenticate(new.text)


@pytest.mark.parametrize(("login", "password"), [("anna", "wrong password"), ("nobody", PASSWORD)])
async def test_a_wrong_name_and_a_wrong_password_look_the_same(
    office: Office, login: str, password: str
) -> None:
    await office.user("anna")
    with pytest.raises(errors.CredentialsInvalid) as refused:
        await office.sign_ins.with_password(login, password)
    assert refused.value.sentence == "User name or password is wrong; try again."
    assert refused.value.metadata == {}


async def test_an_unknown_name_costs_a_check_too(office: Office) -> None:
    checked: list[str | None] = []
    matches = office.passwords.matches

    async def counted(password: str, kept: str | None, *, at_home: bool = False) -> bool:
        checked.append(kept)
        return await matches(password, kept, at_home=at_home)

    office.passwords.matches = counted  # type: ignore[method-assign]
    with pytest.raises(errors.CredentialsInvalid):
        await office.sign_ins.with_password("nobody", PASSWORD)
    assert checked == [None]
    assert await matches(PASSWORD, None) is False


async def test_neither_passwords_nor_tokens_are_kept(office: Office) -> None:
    await office.user("anna")
    new = await office.sign_ins.with_password("anna", PASSWORD)
    user = await office.database.read(lambda session: session.exec(select(UserRow)).one())
    token = await office.database.read(lambda session: session.exec(select(SignInRow)).one())
    assert user.password.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    for kept in (repr(user), repr(token), repr(new)):
        assert PASSWORD not in kept
        assert new.text not in kept
        assert new.refresh_text not in kept


async def test_the_same_password_in_another_composition_is_the_same(office: Office) -> None:
    new = NewUser("studio", "zoe", "", Role.MEMBER, "caf\u00e9 au lait")
    await office.accounts.add_first_user(new)
    await office.sign_ins.with_password("zoe", "cafe\u0301 au lait")
    assert "caf" not in repr(new)


async def test_signing_out_ends_the_token_at_once(office: Office) -> None:
    await office.user("anna")
    new = await office.sign_ins.with_password("anna", PASSWORD)
    other = await office.sign_ins.with_password("anna", PASSWORD)
    signed_in = await office.tokens.authenticate(new.text)
    await office.sign_ins.sign_out(signed_in.caller)
    with pytest.raises(errors.TokenInvalid):
        await office.tokens.authenticate(new.text)
    await office.tokens.authenticate(other.text)


async def test_deleting_a_user_ends_their_tokens_at_once(office: Office) -> None:
    anna = await office.user("anna")
    new = await office.sign_ins.with_password("anna", PASSWORD)
    await office.tokens.authenticate(new.text)
    id = anna.user.rpartition("/")[2]
    await office.accounts.delete_user(office.request([]), PUBLISHER, "studio", id)
    assert office.events == [events.UserRemoved(anna.user)]
    office.tokens.forget_user(anna.user)
    with pytest.raises(errors.TokenInvalid):
        await office.tokens.authenticate(new.text)
    with pytest.raises(errors.CredentialsInvalid):
        await office.sign_ins.with_password("anna", PASSWORD)
    with pytest.raises(errors.NotFound):
        await office.accounts.delete_user(office.request([]), PUBLISHER, "studio", id)


async def test_a_token_that_is_revoked_while_it_is_looked_up_is_not_remembered(
    office: Office,
) -> None:
    anna = await office.user("anna")
    new = await office.sign_ins.with_password("anna", PASSWORD)
    looking = asyncio.ensure_future(office.tokens.authenticate(new.text))
    await asyncio.sleep(0)  # the look-up is under way
    office.tokens.forget_user(anna.user)
    await asyncio.gather(looking, return_exceptions=True)
    await office.accounts.delete_user(
        office.request([]), PUBLISHER, "studio", anna.user.rpartition("/")[2]
    )
    with pytest.raises(errors.TokenInvalid):
        await office.tokens.authenticate(new.text)


@pytest.mark.parametrize("text", ["", "x", "A" * 43, "A" * 44, "\u00e9" * 43])
async def test_what_is_no_token_is_refused(office: Office, text: str) -> None:
    with pytest.raises(errors.TokenInvalid):
        await office.tokens.authenticate(text)


async def test_a_login_is_one_user_s_on_the_whole_server(office: Office) -> None:
    await office.account("other")
    await office.user("anna")
    with pytest.raises(errors.AlreadyExists):
        await office.user("anna", account="other")
    with pytest.raises(errors.NotFound):
        await office.user("bea", account="nowhere")


async def test_lists_of_an_account_that_is_not_there_say_so(office: Office) -> None:
    page = Page("", 10)
    for account, there in (("studio", True), ("nobody", False)):
        lists = (
            office.accounts.list_users(account, page),
            office.licenses.list_licenses(account, page),
            office.activations.list_activations(account, None, page),
            office.locations.list_locations(account, Page("z", 10)),
        )
        for one in lists:
            if there:
                assert await one == []
            else:
                with pytest.raises(errors.NotFound, match="accounts/nobody"):
                    await one
