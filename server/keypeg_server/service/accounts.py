"""Accounts and their people: one use case a method.

Promises: deleting a user ends their sign-ins in the same transaction, and tells whoever serves their sessions.

Leaves to others: who may call what (rpc/authorization.py), signing in (sign_ins.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol, TypeVar

from keypeg import names
from keypeg.errors import AlreadyExists, LimitExceeded, NotFound
from keypeg_server.domain import people
from keypeg_server.domain.access import RESELLER_LIMIT
from keypeg_server.domain.account import (
    NO_ACCOUNT,
    Account,
    AccountKind,
    PublisherPeople,
    User,
)
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.events import SecondFactorsChanged, UserChanged, UserRemoved
from keypeg_server.domain.rights import Role
from keypeg_server.service.passwords import Passwords
from keypeg_server.service.ports import Clock
from keypeg_server.service.second_factors import group_of
from keypeg_server.service.store import Credential, Page, Request, Store, Unit

_T = TypeVar("_T")


def not_found(name: str) -> NotFound:
    """What is not there, or not the caller's: the same answer."""
    return NotFound(f"There is no {name}, or it is not visible to you; check the name.", name=name)


def found_in(unit: Unit, account: str, found: list[_T]) -> list[_T]:
    """What was found of an account (id); NotFound when that is nothing, for there is no such account."""
    if not found and account != NO_ACCOUNT and unit.accounts.account(account) is None:
        raise not_found(names.ACCOUNT.build(account))
    return found


def owner_count(unit: Unit, account: str | None) -> int:
    """How many owners an account (id) has."""
    return 0 if account is None else unit.accounts.role_count(account, Role.OWNER)


def login_taken(login: str) -> AlreadyExists:
    """The refusal of a login that someone has."""
    return AlreadyExists(f"Someone signs in as {login} already; choose another login.", login=login)


@dataclass(frozen=True)
class NewUser:
    """A user to be added."""

    account: str | None  # id; None for staff of the publisher
    login: str
    display_name: str
    role: Role
    password: str = field(repr=False)


def _group(unit: Unit, account: str) -> Account | PublisherPeople:
    found = group_of(unit, None if account == NO_ACCOUNT else account)
    if found is None:
        raise not_found(names.ACCOUNT.build(account))
    return found


class Members(Protocol):
    """What groups need to know of people (cloud_groups.py)."""

    def leaves(self, unit: Unit, user: User, now: datetime) -> None:
        """A user is about to be removed, in this unit of work."""
        ...


class AccountService:
    """See the contract's AccountService."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_id: Callable[[], str],
        passwords: Passwords,
        groups: Members | None = None,
    ) -> None:
        """`groups` takes what a member has of a group back, before they are removed."""
        self._groups = groups
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._passwords = passwords

    async def create_account(
        self,
        request: Request[Account],
        caller: Caller,
        id: str,
        display_name: str,
        kind: AccountKind = AccountKind.PERSONAL,
    ) -> bytes:
        """An account; one that a reseller makes, it acts for."""
        account = Account(id or self._new_id(), display_name, self._clock.wall(), kind=kind)

        def create(unit: Unit) -> Account:
            if unit.accounts.account(account.id) is not None:
                raise AlreadyExists(
                    f"There is an account {account.name} already; choose another id.",
                    name=account.name,
                )
            unit.accounts.add_account(account)
            said = {} if kind is AccountKind.PERSONAL else {"kind": kind.name.lower()}
            unit.record(account.name, "account_created", **said)
            if caller.role is Role.RESELLER:
                self._act_for(unit, caller, account.name)
            return account

        return await self._store.once(request, create)

    async def get_account(self, id: str) -> Account | PublisherPeople:
        """An account; NO_ACCOUNT is that of the publisher's people."""
        return await self._store.read(lambda unit: _group(unit, id))

    async def list_accounts(self, caller: Caller, page: Page) -> list[Account]:
        """All; for a reseller, those that it acts for."""
        _, id = names.USER.parse(caller.user)
        reseller = id if caller.role is Role.RESELLER else None
        return await self._store.read(lambda unit: unit.accounts.list_accounts(page, reseller))

    async def require_second_factor(
        self,
        request: Request[Account | PublisherPeople],
        caller: Caller,
        id: str,
        *,
        required: bool,
    ) -> bytes:
        """Whether the people of an account need a second factor; NO_ACCOUNT is that of the publisher's people."""

        def change(unit: Unit) -> Account | PublisherPeople:
            group = _group(unit, id)
            account = None if id == NO_ACCOUNT else id
            people.check_requires(caller.role, account, owner_count(unit, account))
            if group.second_factor_required == required:
                return group
            changed = replace(group, second_factor_required=required)
            if isinstance(changed, PublisherPeople):
                unit.accounts.update_publisher_people(changed)
            else:
                unit.accounts.update_account(changed)
            unit.publish(SecondFactorsChanged(group.name))
            event = "second_factor_required" if required else "second_factor_not_required"
            unit.record(group.name, event)
            return changed

        return await self._store.once(request, change)

    async def create_user(self, request: Request[User], caller: Caller, new: NewUser) -> bytes:
        people.check_place(new.role, new.account)
        password = await self._passwords.hashed(new.password)

        def create(unit: Unit) -> User:
            people.check_gives(caller.role, new.role, owner_count(unit, new.account))
            return self._add_user(unit, new, password)

        return await self._store.once(request, create)

    async def add_first_user(self, new: NewUser) -> User:
        """Add a user without a request: for the set-up of a server."""
        password = await self._passwords.hashed(new.password)
        return await self._store.write(lambda unit: self._add_user(unit, new, password))

    async def list_users(self, account: str, page: Page) -> list[User]:
        return await self._store.read(
            lambda unit: found_in(unit, account, unit.accounts.list_users(account, page))
        )

    async def delete_user(
        self, request: Request[None], caller: Caller, account: str, id: str
    ) -> bytes:
        def delete(unit: Unit) -> None:
            user = unit.accounts.user(account, id)
            if user is None:
                raise not_found(names.USER.build(account, id))
            people.check_gives(caller.role, user.role, owner_count(unit, user.account))
            people.check_leaves(user.role, unit.accounts.role_count(account, user.role))
            if self._groups is not None:
                self._groups.leaves(unit, user, self._clock.wall())
            unit.accounts.delete_user(user)
            unit.publish(UserRemoved(user.name))
            unit.record(names.ACCOUNT.build(account), "user_deleted", user=user.name)

        return await self._store.once(request, delete)

    def _act_for(self, unit: Unit, caller: Caller, account: str) -> None:
        user = unit.accounts.user(*names.USER.parse(caller.user))
        if user is None:
            raise not_found(caller.user)
        accounts = user.acts_for | {account}
        if len(accounts) > RESELLER_LIMIT:
            raise LimitExceeded(
                f"{user.name} acts for {RESELLER_LIMIT} accounts, which is the limit; ask the publisher.",
                limit="people.reseller_accounts",
                value=str(RESELLER_LIMIT),
            )
        unit.people.act_for(user, accounts)
        unit.publish(UserChanged(user.name))
        unit.record(account, "reseller_accounts", user=user.name, added=[account], removed=[])

    def _add_user(self, unit: Unit, new: NewUser, password: str) -> User:
        if new.account is not None and unit.accounts.account(new.account) is None:
            raise not_found(names.ACCOUNT.build(new.account))
        if unit.accounts.credential(new.login) is not None:
            raise login_taken(new.login)
        now = self._clock.wall()
        parent = names.ACCOUNT.build(new.account or NO_ACCOUNT)
        user = User(new.account, self._new_id(), new.login, new.display_name, new.role, now)
        unit.accounts.add_user(Credential(user, password))
        unit.record(parent, "user_created", user=user.name, role=new.role.name.lower())
        return user
