"""Accounts, their people, and signing in: one use case a method.

Promises: a wrong name and a wrong password look and cost the same; who fails often waits, and keeps nobody else out
(domain/guessing.py); deleting a user ends their tokens in
the same transaction, and tells whoever serves their sessions.

Leaves to others: who may call what (rpc/authorization.py).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypeVar

from keypeg import names
from keypeg.errors import AlreadyExists, CredentialsInvalid, LimitExceeded, NotFound
from keypeg_server.domain import people
from keypeg_server.domain.account import NO_ACCOUNT, Account, User
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.events import TokenRevoked, UserRemoved
from keypeg_server.domain.guessing import Guesses
from keypeg_server.domain.rights import Role
from keypeg_server.service.passwords import Passwords
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Credential, Page, Request, Store, Unit
from keypeg_server.service.tokens import NewToken, Tokens

_LOG: Final = logging.getLogger(__name__)
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


def _too_many(wait: float) -> LimitExceeded:
    seconds = math.ceil(wait)
    return LimitExceeded(
        f"Too many sign-ins have failed; try again in {seconds} s. Who has lost the password asks an administrator.",
        retry_after=timedelta(seconds=seconds),
        limit="sign_in.failures",
        value=str(seconds),
    )


@dataclass(frozen=True)
class NewUser:
    """A user to be added."""

    account: str | None  # id; None for staff of the publisher
    login: str
    display_name: str
    role: Role
    password: str = field(repr=False)


class AccountService:
    """See the contract's AccountService."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_id: Callable[[], str],
        passwords: Passwords,
        tokens: Tokens,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._passwords = passwords
        self._tokens = tokens
        self._guesses = Guesses()

    async def sign_in(self, login: str, password: str, address: str = "") -> NewToken:
        """A token for who knows the password; `address` is where they call from, empty for this computer."""
        guesses, now = self._guesses, self._clock.monotonic
        if wait := guesses.begin(login, address, now()):
            _LOG.warning("sign-in refused: too many failures", extra={"address": address})
            raise _too_many(wait)
        try:
            new = await self._sign_in(login, password)
        except CredentialsInvalid:
            _LOG.info("sign-in failed", extra={"address": address})
            raise
        except BaseException:
            guesses.forgive(login, address, now())
            raise
        guesses.succeeded(login, address, now())
        return new

    async def _sign_in(self, login: str, password: str) -> NewToken:
        credential = await self._store.read(lambda unit: unit.accounts.credential(login))
        kept = None if credential is None else credential.password
        if not await self._passwords.matches(password, kept) or credential is None:
            raise CredentialsInvalid("User name or password is wrong; try again.")
        new = self._tokens.new(credential.user, self._new_id())

        def keep(unit: Unit) -> None:
            # The user may have been deleted, or given another password, while it was checked.
            if unit.accounts.credential(login) != credential:
                raise CredentialsInvalid("User name or password is wrong; try again.")
            unit.accounts.add_token(new.token, self._clock.wall())

        await self._store.write(keep)
        return new

    async def sign_out(self, caller: Caller) -> None:
        def end(unit: Unit) -> None:
            unit.accounts.delete_token(caller.token)
            unit.publish(TokenRevoked(caller.token))

        await self._store.write(end)
        self._tokens.forget(caller.token)

    async def create_account(self, request: Request[Account], id: str, display_name: str) -> bytes:
        account = Account(id or self._new_id(), display_name, self._clock.wall())

        def create(unit: Unit) -> Account:
            if unit.accounts.account(account.id) is not None:
                raise AlreadyExists(
                    f"There is an account {account.name} already; choose another id.",
                    name=account.name,
                )
            unit.accounts.add_account(account)
            unit.record(account.name, "account_created")
            return account

        return await self._store.once(request, create)

    async def get_account(self, id: str) -> Account:
        account = await self._store.read(lambda unit: unit.accounts.account(id))
        if account is None:
            raise not_found(names.ACCOUNT.build(id))
        return account

    async def list_accounts(self, page: Page) -> list[Account]:
        return await self._store.read(lambda unit: unit.accounts.list_accounts(page))

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
            unit.accounts.delete_user(user)
            unit.publish(UserRemoved(user.name))
            unit.record(names.ACCOUNT.build(account), "user_deleted", user=user.name)

        return await self._store.once(request, delete)

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
