"""Tokens: what a signed-in caller sends with every call.

Promises: an access token lasts for minutes and is kept nowhere; one that has ended, or whose sign-in or user is gone,
is refused from that moment on. Streams that were opened by it go on when it ends, and end with its sign-in. Sign-ins that
are known are answered from memory. Tokens of before there were refresh tokens hold until their own end.

Leaves to others: signing in and staying so (sign_ins.py), the texts (token_texts.py), reading the metadata (rpc/gate.py).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from keypeg.errors import TokenExpired
from keypeg_server.clock import from_us, to_us
from keypeg_server.domain.account import User
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.events import SecondFactorsChanged
from keypeg_server.domain.second_factor import FactorReset
from keypeg_server.domain.sign_in import Method, SignIn
from keypeg_server.service.ports import Clock
from keypeg_server.service.second_factors import owed_by
from keypeg_server.service.store import Store, Unit
from keypeg_server.service.token_texts import (
    SALT_BYTES,
    AccessToken,
    RefreshToken,
    TokenTexts,
    not_ours,
)

KNOWN_COUNT: Final = 65_536  # tokens kept in memory: about 1 KiB each
_OLD_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True)
class Lifetimes:
    """How long tokens last; see settings, section tokens."""

    access: timedelta
    sign_in: timedelta  # after it was last used


@dataclass(frozen=True)
class SignedIn:
    """Who calls, and until when."""

    caller: Caller
    user: User
    expire_time: datetime


@dataclass(frozen=True)
class NewTokens:
    """Tokens that were just made: the only time that their texts are there."""

    text: str = field(repr=False)
    expire_time: datetime
    refresh_text: str = field(repr=False)
    sign_in: SignIn
    valid_for: timedelta
    owes_factor: bool = False  # they are good for nothing but to set up a second factor
    factor_reset: FactorReset | None = None  # of which this user has to be told


@dataclass(frozen=True, slots=True)
class _Known:
    """A token in memory, and what it says."""

    sign_in: str  # id
    signed_in: SignedIn
    expire_us: int


class Tokens:
    """Makes tokens and recognizes them."""

    def __init__(self, store: Store, clock: Clock, lifetimes: Lifetimes, texts: TokenTexts) -> None:
        self._store = store
        self._clock = clock
        self._lifetimes = lifetimes
        self.texts: Final = texts
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._epoch = 0  # grows with every revocation

    def new(self, user: User, id: str, method: Method, client_name: str) -> NewTokens:
        """A sign-in of a user with its first tokens; they hold once it is stored."""
        now = self._clock.wall()
        ends = now + self._lifetimes.sign_in
        salt = os.urandom(SALT_BYTES)
        return self.of(SignIn(id, user, method, client_name, now, now, ends, 0, salt))

    def refreshed(self, sign_in: SignIn, generation: int, salt: bytes) -> SignIn:
        """The sign-in with its next refresh token; `generation` is of the one that was presented."""
        now = self._clock.wall()
        return sign_in.refreshed(generation, salt, now, now + self._lifetimes.sign_in)

    def of(self, sign_in: SignIn) -> NewTokens:
        """An access token for a sign-in from now on, and its newest refresh token."""
        now = self._clock.wall()
        expire_time = min(now + self._lifetimes.access, sign_in.expire_time)
        access = AccessToken(sign_in.id, to_us(expire_time))
        refresh = RefreshToken(sign_in.id, sign_in.generation, sign_in.salt)
        return NewTokens(
            self.texts.access(access),
            expire_time,
            self.texts.refresh(refresh),
            sign_in,
            expire_time - now,
        )

    def known(self, text: str) -> SignedIn | None:
        """Who sent this token, when it is in memory and has not ended; None else."""
        digest = _digest(text)
        known = self._known.get(digest)
        if known is None or self._clock.wall_us() >= known.expire_us:
            return None
        self._known.move_to_end(digest)
        return known.signed_in

    async def authenticate(self, text: str) -> SignedIn:
        """Who sent this token; TokenInvalid or TokenExpired when nobody may have."""
        found = self.known(text)
        if found is not None:
            return found
        return await self._authenticate(text)

    async def _authenticate(self, text: str) -> SignedIn:
        digest, epoch = _digest(text), self._epoch
        if _OLD_TEXT.fullmatch(text):
            found = await self._store.read(
                lambda unit: _found(unit, unit.sign_ins.of_digest(digest))
            )
            ends = None
        else:
            token = self.texts.read_access(text)
            ends = from_us(token.expire_us)
            if self._clock.wall() >= ends:
                self._known.pop(digest, None)
                raise TokenExpired("This token has run out; refresh it, or sign in again.")
            found = await self._store.read(
                lambda unit: _found(unit, unit.sign_ins.sign_in(token.sign_in))
            )
        if found is None:
            raise not_ours()
        sign_in, owes_factor = found
        ends = sign_in.expire_time if ends is None else ends
        if self._clock.wall() >= min(ends, sign_in.expire_time):
            raise TokenExpired("This sign-in has run out; sign in again.")
        signed_in = _signed_in(sign_in, ends, owes_factor=owes_factor)
        if epoch == self._epoch:  # else it may be the one that was revoked meanwhile
            self._known[digest] = _Known(sign_in.id, signed_in, to_us(ends))
            if len(self._known) > KNOWN_COUNT:
                self._known.popitem(last=False)
        return signed_in

    def forget(self, sign_in: str) -> None:
        """A sign-in (id) was ended."""
        self._drop(lambda known: known.sign_in == sign_in)

    def forget_user(self, user: str) -> None:
        """A user (name) was taken away, or is another than before."""
        self._drop(lambda known: known.signed_in.caller.user == user)

    def forget_factors(self, event: SecondFactorsChanged) -> None:
        """Second factors of a user, or of all of an account, are others than before."""

        def about(known: _Known) -> bool:
            user = known.signed_in.user
            return user.group_name == event.account and event.user in ("", user.name)

        self._drop(about)

    def forget_all(self) -> None:
        """Any token may have been taken away."""
        self._drop(lambda _: True)

    def _drop(self, gone: Callable[[_Known], bool]) -> None:
        self._epoch += 1
        for digest in [digest for digest, known in self._known.items() if gone(known)]:
            del self._known[digest]


def _found(unit: Unit, sign_in: SignIn | None) -> tuple[SignIn, bool] | None:
    """A sign-in, and whether its user owes a second factor."""
    return None if sign_in is None else (sign_in, owed_by(unit, sign_in))


def _signed_in(sign_in: SignIn, ends: datetime, *, owes_factor: bool) -> SignedIn:
    user = sign_in.user
    caller = Caller(
        user.name,
        user.login,
        user.account_name,
        user.role,
        sign_in.id,
        user.acts_for,
        owes_factor=owes_factor,
    )
    return SignedIn(caller, user, ends)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
