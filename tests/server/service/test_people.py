"""People of an account: roles, invitations, and what resellers act for."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from keypeg import errors
from keypeg_server.domain import events
from keypeg_server.domain.account import NO_ACCOUNT, Account, User
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.service import labeled
from keypeg_server.service.accounts import NewUser
from keypeg_server.service.people import Invited, Joining
from tests.server.service.office import PASSWORD, PUBLISHER, Office

WEEK = timedelta(days=7)


def id_of(caller: Caller) -> str:
    return caller.user.rpartition("/")[2]


async def invited(office: Office, by: Caller, role: Role = Role.MEMBER) -> Invited:
    done: list[Invited] = []
    await office.people.invite(office.request(done), by, "studio", "bea@example.com", role, WEEK)
    return done[0]


async def accepted(office: Office, made: Invited, login: str = "bea", ticket: str = "") -> User:
    done: list[User] = []
    who = Joining(login, "Bea", ticket or made.ticket, PASSWORD)
    await office.people.accept(office.request(done), "studio", made.invitation.id, who)
    return done[0]


async def change(office: Office, by: Caller, who: Caller, role: Role) -> None:
    await office.people.change_role(office.request([]), by, "studio", id_of(who), role)


async def test_a_role_that_is_taken_is_gone_with_the_next_call(office: Office) -> None:
    owner = await office.user("olga", role=Role.OWNER)
    ada = await office.user("ada", role=Role.ADMIN)
    token = (await office.sign_ins.with_password("ada", PASSWORD)).text
    assert (await office.tokens.authenticate(token)).caller.role is Role.ADMIN
    await change(office, owner, ada, Role.MEMBER)
    assert office.events == [events.UserChanged(ada.user)]
    office.tokens.forget_user(ada.user)
    assert (await office.tokens.authenticate(token)).caller.role is Role.MEMBER


async def test_an_administrator_makes_nobody_more_than_a_member(office: Office) -> None:
    await office.user("olga", role=Role.OWNER)
    ada, mia = await office.user("ada", role=Role.ADMIN), await office.user("mia")
    for who in (ada, mia):
        with pytest.raises(errors.PermissionDenied):
            await change(office, ada, who, Role.OWNER)
    with pytest.raises(errors.PermissionDenied):
        await invited(office, ada, Role.ADMIN)


async def test_of_two_owners_who_leave_at_once_one_stays(office: Office) -> None:
    owners = [await office.user(login, role=Role.OWNER) for login in ("olga", "otto")]
    ended = await asyncio.gather(
        *(change(office, one, one, Role.MEMBER) for one in owners), return_exceptions=True
    )
    assert sorted(map(type, ended), key=str) == sorted([type(None), errors.LastOwner], key=str)
    left = owners[0] if ended[1] is None else owners[1]
    with pytest.raises(errors.LastOwner):
        await office.accounts.delete_user(office.request([]), PUBLISHER, "studio", id_of(left))


async def test_a_ticket_joins_once_with_the_role_that_was_given(office: Office) -> None:
    owner = await office.user("olga", role=Role.OWNER)
    made = await invited(office, owner, Role.ADMIN)
    assert labeled.is_one(labeled.INVITATION, made.ticket)
    assert made.ticket not in repr(made)
    assert (await accepted(office, made)).role is Role.ADMIN
    with pytest.raises(errors.InvitationInvalid):
        await accepted(office, made, "eve")
    token = await office.sign_ins.with_password("bea", PASSWORD)
    assert token.sign_in.user.account == "studio"


async def test_the_same_acceptance_again_has_the_same_answer(office: Office) -> None:
    made = await invited(office, PUBLISHER)
    done: list[User] = []
    request = office.request(done)
    who = Joining("bea", "Bea", made.ticket, PASSWORD)
    answers = [
        await office.people.accept(request, "studio", made.invitation.id, who) for _ in range(2)
    ]
    assert answers == [b"done", b"done"]
    assert len(done) == 1


async def test_a_ticket_that_is_used_by_two_at_once_lets_one_in(office: Office) -> None:
    made = await invited(office, PUBLISHER)
    joined = await asyncio.gather(
        *(accepted(office, made, login) for login in ("bea", "eve")), return_exceptions=True
    )
    refused = [one for one in joined if isinstance(one, Exception)]
    assert [type(one) for one in refused] == [errors.InvitationInvalid]


@pytest.mark.parametrize("why", ["unknown", "wrong", "late", "taken back", "elsewhere"])
async def test_tickets_that_open_nothing_look_the_same(office: Office, why: str) -> None:
    made = await invited(office, PUBLISHER)
    id, account, ticket = made.invitation.id, "studio", made.ticket
    if why == "unknown":
        id = "0" * 32
    elif why == "wrong":
        ticket = labeled.new(labeled.INVITATION)
    elif why == "late":
        office.clock.now += WEEK
    elif why == "taken back":
        await office.people.delete_invitation(office.request([]), PUBLISHER, "studio", id)
    else:
        account = NO_ACCOUNT
    who = Joining("bea", "", ticket, PASSWORD)
    with pytest.raises(errors.InvitationInvalid) as refused:
        await office.people.accept(office.request([]), account, id, who)
    assert refused.value.sentence.startswith("This ticket is not known here, was used or")
    assert not refused.value.metadata


async def test_a_program_has_no_password(office: Office) -> None:
    done: list[User] = []
    await office.people.create_service_user(
        office.request(done), PUBLISHER, "studio", "robot", "Robot", Role.MEMBER
    )
    assert done[0].service
    for password in ("", "x", PASSWORD):
        with pytest.raises(errors.CredentialsInvalid):
            await office.sign_ins.with_password("robot", password)


async def test_a_reseller_acts_for_what_it_makes_and_what_it_is_given(office: Office) -> None:
    new = NewUser(None, "rob", "Rob", Role.RESELLER, PASSWORD)
    rob = await office.accounts.add_first_user(new)
    caller = Caller(rob.name, "rob", None, Role.RESELLER, "t")
    token = (await office.sign_ins.with_password("rob", PASSWORD)).text
    made: list[Account] = []
    await office.accounts.create_account(office.request(made), caller, "client", "Client")
    assert [one.id for one in await office.accounts.list_accounts(caller, office.all)] == ["client"]
    office.tokens.forget_user(rob.name)
    assert (await office.tokens.authenticate(token)).caller.acts_for == {"accounts/client"}
    await office.people.act_for(office.request([]), PUBLISHER, rob.id, ["accounts/studio"])
    assert [one.id for one in await office.accounts.list_accounts(caller, office.all)] == ["studio"]
    assert (await office.people.accounts_of(rob.id)).acts_for == {"accounts/studio"}
    with pytest.raises(errors.NotFound):
        await office.people.act_for(office.request([]), PUBLISHER, rob.id, ["accounts/none"])


async def test_a_reseller_has_no_say_once_there_is_an_owner(office: Office) -> None:
    reseller = Caller("accounts/-/users/r", "rob", None, Role.RESELLER, "t")
    await accepted(office, await invited(office, reseller, Role.OWNER))
    with pytest.raises(errors.AccountOwned):
        await invited(office, reseller)
