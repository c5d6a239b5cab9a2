"""Which versions of keypeg are served: what an old client hears instead of a failure.

Promises: an old client is told the version that it needs, for every method but those that give something back or
sign out: whoever holds something can always let it go. Clients that are not keypeg's own are served.

Leaves to others: the rule (keypeg.protocol), apps' versions (domain/product.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from keypeg import protocol
from keypeg.errors import FieldInvalid
from keypeg.versions import is_version

ALWAYS: Final = frozenset(
    {
        "/keypeg.v1.AccountService/SignOut",
        "/keypeg.v1.BorrowService/ReturnBorrow",
        "/keypeg.v1.SeatService/LeaveQueue",
        "/keypeg.v1.SeatService/ReleaseSeat",
        "/keypeg.v1.SessionService/CloseSession",
    }
)
_CONTRACT: Final = "/keypeg."  # health and reflection are everyone's
_HEADER: Final = "user-agent"


class ClientVersions:
    """What the operator has set."""

    def __init__(self, minimum: str) -> None:
        if minimum and not is_version(minimum):
            raise FieldInvalid(
                f"clients.minimum_version is dotted numbers, for example 1.2; {minimum!r} is none.",
                field="clients.minimum_version",
            )
        self._minimum = minimum

    def looks_at(self, method: str) -> bool:
        """Whether clients of this method are looked at at all."""
        return bool(self._minimum) and method.startswith(_CONTRACT) and method not in ALWAYS

    def check(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> None:
        """UpdateRequired for a call of an old client."""
        for key, value in metadata or ():
            if key == _HEADER:
                text = value.decode("latin-1") if isinstance(value, bytes) else value
                protocol.check_client(text, self._minimum)
                return


ANY: Final = ClientVersions("")
