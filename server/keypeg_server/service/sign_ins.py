"""Signing in with a password, and whatever follows every way to sign in: staying so, and ending it.

Promises: a wrong name and a wrong password look and cost the same; who fails often waits, and keeps nobody else out
(domain/guessing.py). A refresh token is good once; a copy that is used ends its sign-in. What ends a sign-in ends the
streams that it opened, on every server. Every beginning and end is in the log of the user's account.

Leaves to others: who may call what (rpc/authorization.py), texts and times of tokens (tokens.py).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final, TypeVar

from keypeg import names
from keypeg.errors import (
    CredentialsInvalid,
    KeypegError,
    LimitExceeded,
    PermissionDenied,
    TokenExpired,
    TokenInvalid,
)
from keypeg_server.domain import people
from keypeg_server.domain.account import User
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.events import TokenRevoked
from keypeg_server.domain.guessing import Guesses, place_of
from keypeg_server.domain.noticing import Notices
from keypeg_server.domain.sign_in import Method, Refresh, SignIn
from keypeg_server.service.accounts import not_found, owner_count
from keypeg_server.service.passwords import Passwords
from keypeg_server.service.ports import Clock
from keypeg_server.service.second_factors import SecondFactors, owed_by, told_reset
from keypeg_server.service.store import Credential, Request, Store, Unit
from keypeg_server.service.token_texts import not_ours
from keypeg_server.service.tokens import NewTokens, Tokens

_LOG: Final = logging.getLogger(__name__)
_T = TypeVar("_T")
USER_SIGN_INS: Final = 200  # of one user at once; the longest unused gives way


def wrong() -> CredentialsInvalid:
    """The refusal of a password, whatever is wrong with it."""
    return CredentialsInvalid("User name or password is wrong; try again.")


class Guarded:
    """Tries to sign in, of which there may be only so many (domain/guessing.py)."""

    def __init__(self, clock: Clock, failure: type[KeypegError] = CredentialsInvalid) -> None:
        """`failure` is how something that was guessed wrong ends."""
        self._clock = clock
        self._failure = failure
        self._guesses = Guesses()
        self._told = Notices()

    async def attempt(
        self, login: str, address: str, work: Callable[[], Awaitable[_T]], *, clears: bool = True
    ) -> _T:
        """Do what may fail because it was guessed wrong; LimitExceeded when it has to wait.

        Success `clears` the failures before it, but where it is half of a sign-in, or something that anybody can have: else
        who knows a password could guess codes without end.
        """
        guesses, now = self._guesses, self._clock.monotonic
        self.count(login, address)
        try:
            done = await work()
        except self._failure:
            _LOG.info("sign-in failed", extra={"address": address})
            raise
        except Exception:  # what the caller gave up counts: it is carried out all the same
            guesses.forgive(login, address, now())
            raise
        succeeded = guesses.succeeded if clears else guesses.forgive
        succeeded(login, address, now())
        return done

    def at_home(self, login: str, address: str) -> bool:
        """Whether the login signed in from there before."""
        return self._guesses.at_home(login, address)

    def count(self, login: str, address: str) -> None:
        """Count one try; LimitExceeded when it has to wait."""
        if wait := self._guesses.begin(login, address, self._clock.monotonic()):
            if times := self._told.see(place_of(address), self._clock.monotonic()):
                said = {"address": address, "times": times}
                _LOG.warning("sign-in refused: too many failures", extra=said)
            raise _too_many(wait)


class SignIns:
    """See the contract's SignInService, and SignIn and SignOut of AccountService."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_id: Callable[[], str],
        passwords: Passwords,
        tokens: Tokens,
        factors: SecondFactors,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._passwords = passwords
        self._tokens = tokens
        self._factors = factors
        self.guarded: Final = Guarded(clock)

    async def with_password(
        self, login: str, password: str, client_name: str = "", address: str = "", code: str = ""
    ) -> NewTokens:
        """Tokens for who knows the password; `address` is where they call from, empty for this computer.

        CodeRequired when the password is right, and a one-time `code` is needed, too.
        """
        return await self.guarded.attempt(
            login, address, lambda: self._with_password(login, password, client_name, code, address)
        )

    async def again(self, caller: Caller, password: str, address: str) -> User:
        """The caller, who shows their password once more."""
        person(caller)
        return await self.knows(caller.login, password, address)

    async def knows(self, login: str, password: str, address: str) -> User:
        """The user who knows this password: half of signing in."""

        async def check() -> User:
            return (await self._checked(login, password, address)).user

        return await self.guarded.attempt(login, address, check, clears=False)

    async def _checked(self, login: str, password: str, address: str) -> Credential:
        """The user with this password."""
        credential = await self._store.read(lambda unit: unit.accounts.credential(login))
        kept = None if credential is None else credential.password or None  # a program has none
        at_home = self.guarded.at_home(login, address)
        right = await self._passwords.matches(password, kept, at_home=at_home)
        if not right or credential is None:
            raise wrong()
        return credential

    async def _with_password(
        self, login: str, password: str, client_name: str, code: str, address: str
    ) -> NewTokens:
        credential = await self._checked(login, password, address)

        def keep(unit: Unit) -> NewTokens:
            # The user may have been deleted, or given another password, while it was checked.
            if unit.accounts.credential(login) != credential:
                raise wrong()
            asked = self._factors.check(unit, credential.user, code)
            method = Method.PASSWORD_AND_CODE if asked else Method.PASSWORD
            return self.new(unit, credential.user, method, client_name)

        return await self._store.write(keep)

    def new(self, unit: Unit, user: User, method: Method, client_name: str) -> NewTokens:
        """A sign-in, its first tokens and what its user is told: every way to sign in ends here, in a unit of work."""
        new = self._tokens.new(user, self._new_id(), method, client_name)
        self._keep(unit, new.sign_in)
        reset = told_reset(unit, user.id, self._clock.wall())
        return replace(new, owes_factor=owed_by(unit, new.sign_in), factor_reset=reset)

    def _keep(self, unit: Unit, sign_in: SignIn) -> None:
        there = unit.sign_ins.of_user(sign_in.user.id)
        unit.sign_ins.add(sign_in, self._clock.wall())
        over = max(0, len(there) + 1 - USER_SIGN_INS)
        for old in sorted(there, key=lambda one: one.use_time)[:over]:
            self._end(unit, old, "too_many")
        _record(unit, sign_in, "signed_in", method=sign_in.method.name.lower())

    async def refresh(self, text: str, request_id: str) -> NewTokens:
        """The tokens after these; TokenInvalid, and the end of the sign-in, for a copy."""
        token = self._tokens.texts.read_refresh(text)
        salt = self._tokens.texts.next_salt(token, request_id)

        def rotate(unit: Unit) -> SignIn | None:
            found = unit.sign_ins.sign_in(token.sign_in)
            if found is None:
                raise not_ours()
            if found.expire_time <= self._clock.wall():
                raise TokenExpired("This sign-in has run out; sign in again.")
            match found.presented(token.generation, token.salt, salt):
                case Refresh.NEXT:
                    following = self._tokens.refreshed(found, token.generation, salt)
                    if not unit.sign_ins.update(following, found.generation):
                        raise not_ours()
                    return following
                case Refresh.REPEATED:
                    return found
                case Refresh.COPIED:
                    self._end(unit, found, "refresh_token_copied")
                    return None

        sign_in = await self._store.write(rotate)
        if sign_in is None:
            self._tokens.forget(token.sign_in)
            _LOG.warning("sign-in ended: its refresh token was used twice")
            raise TokenInvalid(
                "This refresh token was used before: somebody has a copy of it. The sign-in has ended; sign in again, "
                "and look with `keypeg sign-ins list` at what else is signed in.",
                why="refresh_token_copied",
            )
        return self._tokens.of(sign_in)

    async def sign_out(self, caller: Caller) -> None:
        """End the sign-in that this call is made with."""

        def end(unit: Unit) -> None:
            found = unit.sign_ins.sign_in(caller.token)
            if found is not None:
                self._end(unit, found, "signed_out")

        await self._store.write(end)
        self._tokens.forget(caller.token)

    async def sign_out_everywhere(self, caller: Caller) -> int:
        """End all sign-ins of the caller; how many."""
        id = person(caller)
        return await self._store.write(lambda unit: self.end_all(unit, id, "signed_out_everywhere"))

    async def list(self, caller: Caller) -> list[SignIn]:
        """What the caller is signed in with, oldest first."""
        id = person(caller)
        now = self._clock.wall()
        found = await self._store.read(lambda unit: unit.sign_ins.of_user(id))
        return [one for one in found if one.expire_time > now]

    async def end(self, request: Request[None], caller: Caller, id: str) -> bytes:
        """End one of the caller's."""
        person(caller)

        def end(unit: Unit) -> None:
            found = unit.sign_ins.sign_in(id)
            if found is None or found.user.name != caller.user:
                raise not_found(names.SIGN_IN.build(id))
            self._end(unit, found, "ended")

        return await self._store.once(request, end)

    async def end_of_user(
        self, request: Request[int], caller: Caller, account: str, id: str
    ) -> bytes:
        """End all of a user."""

        def end(unit: Unit) -> int:
            user = unit.accounts.user(account, id)
            if user is None:
                raise not_found(names.USER.build(account, id))
            people.check_gives(caller.role, user.role, owner_count(unit, user.account))
            return self.end_all(unit, id, "ended_by_administrator")

        return await self._store.once(request, end)

    def end_all(self, unit: Unit, user: str, why: str) -> int:
        """End all of a user (id), and what they have approved elsewhere, within a unit of work; how many."""
        unit.sign_ins.delete_decided(user)
        found = unit.sign_ins.of_user(user)
        for one in found:
            self._end(unit, one, why)
        return len(found)

    def _end(self, unit: Unit, sign_in: SignIn, why: str) -> None:
        unit.sign_ins.delete(sign_in.id)
        unit.publish(TokenRevoked(sign_in.id))
        _record(unit, sign_in, "sign_in_ended", why=why)


def parent_of(user: User) -> str:
    """In whose log (name) it is what a user does with their sign-ins."""
    return user.group_name


def person(caller: Caller) -> str:
    """The id of a caller who has signed in; a key says nothing of how its user does."""
    if caller.scopes is not None:
        raise PermissionDenied(
            "An API key has no part in how its user signs in; sign in, and call this then."
        )
    _, id = names.USER.parse(caller.user)
    return id


def _record(unit: Unit, sign_in: SignIn, event: str, **said: str) -> None:
    user, client = sign_in.user, sign_in.client_name
    unit.record(parent_of(user), event, user=user.name, sign_in=sign_in.id, client=client, **said)


def _too_many(wait: float) -> LimitExceeded:
    seconds = math.ceil(wait)
    return LimitExceeded(
        f"Too many sign-ins have failed; try again in {seconds} s. Who has lost the password asks an administrator.",
        retry_after=timedelta(seconds=seconds),
        limit="sign_in.failures",
        value=str(seconds),
    )
