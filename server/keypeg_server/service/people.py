"""People of an account: roles, invitations, service users, and what resellers act for; one use case a method.

Promises: each change is one transaction with its record in the log; who gives what to whom is decided inside of it
(domain/people.py), so that of two at the same instant the second sees what the first did. A ticket joins once.

Leaves to others: adding users with a password and deleting them (accounts.py), API keys (api_keys.py), messages to
who is invited.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from keypeg import names
from keypeg.errors import FieldInvalid, InvitationInvalid, LimitExceeded
from keypeg_server.domain import people
from keypeg_server.domain.access import INVITATIONS_LIMIT, Invitation
from keypeg_server.domain.account import NO_ACCOUNT, User
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.events import UserChanged
from keypeg_server.domain.rights import Role
from keypeg_server.service import labeled
from keypeg_server.service.accounts import login_taken, not_found, owner_count
from keypeg_server.service.passwords import Passwords
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Credential, Page, Request, Store, Unit

NO_PASSWORD: Final = ""  # what is kept for who has none: it matches nothing


@dataclass(frozen=True)
class Invited:
    """An invitation that was just made: the only time that its ticket is there."""

    invitation: Invitation
    ticket: str = field(repr=False)


@dataclass(frozen=True)
class Joining:
    """Who joins by a ticket."""

    login: str
    display_name: str
    ticket: str = field(repr=False)
    password: str = field(repr=False)


class PeopleService:
    """See the contract's PeopleService. Accounts are ids; NO_ACCOUNT is that of the publisher's people."""

    def __init__(
        self, store: Store, clock: Clock, new_id: Callable[[], str], passwords: Passwords
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._passwords = passwords

    async def change_role(
        self, request: Request[User], caller: Caller, account: str, id: str, role: Role
    ) -> bytes:
        def change(unit: Unit) -> User:
            user = _user(unit, account, id)
            people.check_place(role, user.account)
            owners = owner_count(unit, user.account)
            people.check_gives(caller.role, user.role, owners)
            people.check_gives(caller.role, role, owners)
            if role is user.role:
                return user
            people.check_leaves(user.role, unit.accounts.role_count(account, user.role))
            if user.role is Role.RESELLER:
                user = unit.people.act_for(user, frozenset())
            changed = unit.people.change_role(user, role)
            unit.publish(UserChanged(user.name))
            was, now = user.role.name.lower(), role.name.lower()
            unit.record(_parent(account), "role_changed", user=user.name, role=now, before=was)
            return changed

        return await self._store.once(request, change)

    async def create_service_user(
        self,
        request: Request[User],
        caller: Caller,
        account: str,
        login: str,
        display_name: str,
        role: Role,
    ) -> bytes:
        people.check_place(role, _column(account))

        def create(unit: Unit) -> User:
            people.check_gives(caller.role, role, owner_count(unit, _column(account)))
            user = User(
                _column(account),
                self._new_id(),
                login,
                display_name,
                role,
                self._clock.wall(),
                service=True,
            )
            return _added(unit, user, NO_PASSWORD, "service_user_created")

        return await self._store.once(request, create)

    async def invite(
        self,
        request: Request[Invited],
        caller: Caller,
        account: str,
        address: str,
        role: Role,
        ttl: timedelta,
    ) -> bytes:
        people.check_place(role, _column(account))
        now = self._clock.wall()

        def invite(unit: Unit) -> Invited:
            _check_there(unit, account)
            people.check_gives(caller.role, role, owner_count(unit, _column(account)))
            unit.people.delete_ended_invitations(account, now)
            if (
                len(unit.people.list_invitations(account, "", INVITATIONS_LIMIT))
                >= INVITATIONS_LIMIT
            ):
                raise LimitExceeded(
                    f"{_parent(account)} has {INVITATIONS_LIMIT} open invitations, which is the limit; take some back.",
                    limit="people.invitations",
                    value=str(INVITATIONS_LIMIT),
                )
            invitation = Invitation(
                _column(account), self._new_id(), address, role, caller.user, now, now + ttl
            )
            ticket = labeled.new(labeled.INVITATION)
            unit.people.add_invitation(invitation, labeled.digest(ticket))
            _record(unit, "invitation_created", invitation)
            return Invited(invitation, ticket)

        return await self._store.once(request, invite)

    async def list_invitations(self, account: str, page: Page) -> list[Invitation]:
        now = self._clock.wall()

        def look(unit: Unit) -> list[Invitation]:
            _check_there(unit, account)
            found = unit.people.list_invitations(account, page.after, page.limit)
            return [one for one in found if one.expire_time > now]

        return await self._store.read(look)

    async def delete_invitation(
        self, request: Request[None], caller: Caller, account: str, id: str
    ) -> bytes:
        def delete(unit: Unit) -> None:
            found = unit.people.invitation(account, id)
            if found is None:
                raise not_found(names.INVITATION.build(account, id))
            invitation = found[0]
            people.check_gives(caller.role, invitation.role, owner_count(unit, _column(account)))
            unit.people.delete_invitation(id)
            _record(unit, "invitation_revoked", invitation)

        return await self._store.once(request, delete)

    async def accept(self, request: Request[User], account: str, id: str, who: Joining) -> bytes:
        """Join; the ticket is looked at before a password is hashed, which costs."""
        try:
            await self._store.read(lambda unit: self._invited(unit, account, id, who.ticket))
            password = await self._passwords.hashed(who.password)
        except InvitationInvalid:  # unless this request has joined before, it is refused below
            password = NO_PASSWORD

        return await self._store.once(
            request, lambda unit: self.join(unit, account, id, who, password)
        )

    def join(self, unit: Unit, account: str, id: str, who: Joining, password: str) -> User:
        """Join within a unit of work, with the hash of a password, or NO_PASSWORD."""
        invitation = self._invited(unit, account, id, who.ticket)
        unit.people.delete_invitation(id)
        user = User(
            invitation.account,
            self._new_id(),
            who.login,
            who.display_name,
            invitation.role,
            self._clock.wall(),
        )
        return _added(unit, user, password, "invitation_accepted", invitation=invitation.name)

    async def act_for(
        self, request: Request[User], caller: Caller, id: str, accounts: Sequence[str]
    ) -> bytes:
        """A reseller (user id) acts for exactly these accounts (names)."""

        def change(unit: Unit) -> User:
            user = _reseller(unit, id)
            people.check_gives(caller.role, user.role, 0)
            for name in accounts:
                if unit.accounts.account(*names.ACCOUNT.parse(name, "accounts")) is None:
                    raise not_found(name)
            return acting_for(unit, user, frozenset(accounts), _parent(NO_ACCOUNT))

        return await self._store.once(request, change)

    async def accounts_of(self, id: str) -> User:
        """A reseller, with the accounts that it acts for."""
        return await self._store.read(lambda unit: _reseller(unit, id))

    def _invited(self, unit: Unit, account: str, id: str, ticket: str) -> Invitation:
        """The invitation that a ticket is of; the same refusal for all that is none."""
        found = unit.people.invitation(account, id)
        kept = b"" if found is None else found[1]
        right = hmac.compare_digest(labeled.digest(ticket), kept)
        if found is None or not right or found[0].expire_time <= self._clock.wall():
            raise InvitationInvalid(
                "This ticket is not known here, was used or taken back, or has run out; ask for another invitation."
            )
        return found[0]


def acting_for(unit: Unit, user: User, accounts: frozenset[str], parent: str) -> User:
    """Let a reseller act for exactly these accounts (names); recorded in the log of `parent`."""
    added, removed = sorted(accounts - user.acts_for), sorted(user.acts_for - accounts)
    if not added and not removed:
        return user
    changed = unit.people.act_for(user, accounts)
    unit.publish(UserChanged(user.name))
    unit.record(parent, "reseller_accounts", user=user.name, added=added, removed=removed)
    return changed


def _user(unit: Unit, account: str, id: str) -> User:
    user = unit.accounts.user(account, id)
    if user is None:
        raise not_found(names.USER.build(account, id))
    return user


def _reseller(unit: Unit, id: str) -> User:
    user = _user(unit, NO_ACCOUNT, id)
    if user.role is not Role.RESELLER:
        what = "is no reseller"
        raise FieldInvalid(f"{user.name} {what}; name one that is.", fields={"name": what})
    return user


def _check_there(unit: Unit, account: str) -> None:
    if account != NO_ACCOUNT and unit.accounts.account(account) is None:
        raise not_found(_parent(account))


def _added(unit: Unit, user: User, password: str, event: str, **said: str) -> User:
    _check_there(unit, user.account or NO_ACCOUNT)
    if unit.accounts.credential(user.login) is not None:
        raise login_taken(user.login)
    unit.accounts.add_user(Credential(user, password))
    parent = _parent(user.account or NO_ACCOUNT)
    unit.record(parent, event, user=user.name, role=user.role.name.lower(), **said)
    return user


def _record(unit: Unit, event: str, invitation: Invitation) -> None:
    parent = _parent(invitation.account or NO_ACCOUNT)
    role = invitation.role.name.lower()
    unit.record(parent, event, invitation=invitation.name, address=invitation.address, role=role)


def _column(account: str) -> str | None:
    return None if account == NO_ACCOUNT else account


def _parent(account: str) -> str:
    return names.ACCOUNT.build(account)
