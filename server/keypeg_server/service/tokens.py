"""Tokens: what a signed-in caller sends with every call.

Promises: a token is 32 random bytes and is kept only as its SHA-256; one that has ended, was signed out
or whose user is gone is refused from that moment on. A token that is used in the second half of its time
gets its whole time again, so that who comes back now and then never signs in anew. Known tokens are
answered from memory.

Leaves to others: signing in (accounts.py), reading the metadata (rpc/authorization.py).
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from keypeg.errors import StorageUnavailable, TokenExpired, TokenInvalid
from keypeg_server.clock import to_us
from keypeg_server.domain.account import User
from keypeg_server.domain.caller import Caller
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Store, Token

TOKEN_BYTES: Final = 32
KNOWN_COUNT: Final = 65_536  # tokens kept in memory: about 1 KiB each
_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True)
class SignedIn:
    """Who calls, and until when."""

    caller: Caller
    user: User
    expire_time: datetime


@dataclass(frozen=True)
class NewToken:
    """A token that was just made: the only time that its text is there."""

    text: str = field(repr=False)
    token: Token


@dataclass(frozen=True, slots=True)
class _Known:
    """A token in memory, and what it says; `fresh_until_us` for nobody needs to look at its end before."""

    token: Token
    signed_in: SignedIn
    fresh_until_us: int


class Tokens:
    """Makes tokens and recognizes them."""

    def __init__(self, store: Store, clock: Clock, valid_for: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._valid_for = valid_for
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._epoch = 0  # grows with every revocation

    def new(self, user: User, id: str) -> NewToken:
        """A token for a user; it holds once it is stored."""
        text = base64.urlsafe_b64encode(os.urandom(TOKEN_BYTES)).rstrip(b"=").decode()
        expire_time = self._clock.wall() + self._valid_for
        return NewToken(text, Token(id, _digest(text), user, expire_time))

    def known(self, text: str) -> SignedIn | None:
        """Who sent this token, when it is in memory and in the first half of its time; None else."""
        digest = _digest(text)
        known = self._known.get(digest)
        if known is None or self._clock.wall_us() >= known.fresh_until_us:
            return None
        self._known.move_to_end(digest)
        return known.signed_in

    async def authenticate(self, text: str) -> SignedIn:
        """Who sent this token; TokenInvalid or TokenExpired when nobody may have."""
        if not _TEXT.fullmatch(text):
            raise _invalid()
        digest = _digest(text)
        known = self._known.get(digest)
        if known is None:
            token = await self._find(digest)
        else:
            token = known.token
            self._known.move_to_end(digest)
        if self._clock.wall() >= token.expire_time:
            self._known.pop(digest, None)
            raise TokenExpired("This sign-in has run out; sign in again.")
        if token.expire_time - self._clock.wall() < self._valid_for / 2:
            token = await self._extended(token)
        return _signed_in(token)

    def forget(self, token_id: str) -> None:
        """A token was taken away."""
        self._drop(lambda token: token.id == token_id)

    def forget_user(self, user: str) -> None:
        """A user (name) was taken away."""
        self._drop(lambda token: token.user.name == user)

    def forget_all(self) -> None:
        """Any token may have been taken away."""
        self._drop(lambda _: True)

    async def _extended(self, token: Token) -> Token:
        """The token with its whole time again; as it is when the disk is away."""
        longer = replace(token, expire_time=self._clock.wall() + self._valid_for)
        try:
            there = await self._store.write(
                lambda unit: unit.accounts.extend_token(longer.id, longer.expire_time)
            )
        except StorageUnavailable:
            return token
        if not there:
            raise _invalid()
        if token.digest in self._known:  # else it was revoked meanwhile
            self._known[token.digest] = self._knowing(longer)
        return longer

    async def _find(self, digest: bytes) -> Token:
        epoch = self._epoch
        token = await self._store.read(lambda unit: unit.accounts.token(digest))
        if token is None:
            raise _invalid()
        if epoch == self._epoch:  # else it may be the one that was revoked meanwhile
            self._known[digest] = self._knowing(token)
            if len(self._known) > KNOWN_COUNT:
                self._known.popitem(last=False)
        return token

    def _knowing(self, token: Token) -> _Known:
        fresh_until = token.expire_time - self._valid_for / 2
        return _Known(token, _signed_in(token), to_us(fresh_until))

    def _drop(self, gone: Callable[[Token], bool]) -> None:
        self._epoch += 1
        for digest in [digest for digest, known in self._known.items() if gone(known.token)]:
            del self._known[digest]


def _signed_in(token: Token) -> SignedIn:
    user = token.user
    caller = Caller(user.name, user.login, user.account_name, user.role, token.id)
    return SignedIn(caller, user, token.expire_time)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _invalid() -> TokenInvalid:
    return TokenInvalid("This sign-in is not known here, or was ended; sign in again.")
