"""The header of a call that one server carries to another, and what the receiver makes of it.

Promises: only servers that have the same secrets can make it; it says where the client is, as the server that it
reached saw it, and that the call was carried once already. A header that does not fit is a refusal: it is of
servers that should not share a database, or of someone who would like to be one.

Leaves to others: carrying calls (relay.py), and addresses of calls that came directly (peer.py).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Final

from keypeg.errors import PermissionDenied

HEADER: Final = "keypeg-relayed"
_CONTEXT: Final = b"keypeg relayed call v1"
_NO_NETWORK: Final = "-"  # stands for the address of a client on a Unix socket

# The client's address of a call that was carried here; None for one that came directly.
_ORIGIN: Final[ContextVar[str | None]] = ContextVar("keypeg_origin", default=None)


def origin() -> str | None:
    """The client's address, when another server carried this call; empty for one that came by no network."""
    return _ORIGIN.get()


def came_from(address: str) -> None:
    """The rest of this call's task is of a client at this address."""
    _ORIGIN.set(address)


# Who calls, for the other server, of a call that came by a certificate; the connection between servers does not show it.
_BEARER: Final[ContextVar[str | None]] = ContextVar("keypeg_bearer", default=None)


def bearer() -> str | None:
    """The token with which this call is carried in place of its own; None for its own."""
    return _BEARER.get()


def carry_as(token: str) -> None:
    """Carry the rest of this call with a token that other servers of the database know."""
    _BEARER.set(token)


class Seal:
    """Makes and checks the header, under a key of all servers of a database."""

    def __init__(self, secret: bytes) -> None:
        self._key: Final = hmac.digest(secret, _CONTEXT, "sha256")

    def header(self, method: str, address: str) -> str:
        """For a call of a client at an address."""
        shown = address or _NO_NETWORK
        return f"{shown} {self._mac(method, shown)}"

    def address(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
        """The client's address of a call with this metadata; None when it came directly."""
        for key, value in metadata:
            if key == HEADER:
                text = value.decode("latin-1") if isinstance(value, bytes) else value
                shown, _, mac = text.partition(" ")
                if not hmac.compare_digest(mac.encode(), self._mac(method, shown).encode()):
                    raise PermissionDenied(
                        "This call says that another server carried it here, but not in the way of a "
                        "server with this one's secrets; give all servers of a database the same.",
                        method=method,
                    )
                return "" if shown == _NO_NETWORK else shown
        return None

    def _mac(self, method: str, shown: str) -> str:
        said = f"{method}\n{shown}".encode()
        return hashlib.blake2b(said, digest_size=16, key=self._key).hexdigest()
