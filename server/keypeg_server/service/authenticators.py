"""Whoever knows the tokens of one kind, asked by how a token begins.

Promises: a token goes to nobody but who makes tokens of its kind.

Leaves to others: knowing them (tokens.py, credential_tokens.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from keypeg_server.service.tokens import SignedIn


class Knows(Protocol):
    """Knows tokens of one kind."""

    def known(self, text: str) -> SignedIn | None: ...
    async def authenticate(self, text: str) -> SignedIn: ...
    def forget_all(self) -> None: ...


class Authenticators:
    """All kinds of tokens."""

    def __init__(self, others: Knows, by_prefix: Mapping[str, Knows]) -> None:
        """`others` knows the tokens that begin with none of the prefixes, which are of one length."""
        self._others = others
        self._by_prefix = dict(by_prefix)
        (self._size,) = {len(prefix) for prefix in by_prefix}

    def known(self, text: str) -> SignedIn | None:
        """Who sent this token, when that needs no second look."""
        return self._of(text).known(text)

    async def authenticate(self, text: str) -> SignedIn:
        """Who sent this token; TokenInvalid or TokenExpired when nobody may have."""
        return await self._of(text).authenticate(text)

    def forget_all(self) -> None:
        """Any token may have been taken away."""
        for one in (self._others, *self._by_prefix.values()):
            one.forget_all()

    def _of(self, text: str) -> Knows:
        return self._by_prefix.get(text[: self._size], self._others)
