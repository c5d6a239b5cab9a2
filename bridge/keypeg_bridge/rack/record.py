"""What the rack knows of one key, and the name that it goes by.

Promises: frozen values; the same key gets the same name each time, on this bridge and on no other, and the name tells
nothing about the key.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from keypeg import names
from keypeg.v1.document_pb2 import LicenseDocument
from keypeg_bridge.rack.ports import Identity, Place
from keypeg_bridge.rack.reading import Reading
from keypeg_bridge.rack.states import State

NAME_BYTES: Final = 16
"""Of the digest that names a key: enough that no two keys meet by chance."""


MAX_GRACE: Final = timedelta(hours=24)
"""The longest that the contract allows; what a key says beyond it is cut."""


def grace_of(document: LicenseDocument) -> timedelta:
    """For how long a session may go on without its key."""
    return min(MAX_GRACE, max(timedelta(), document.unplug_grace.ToTimedelta()))


@dataclass(frozen=True, slots=True)
class Absence:
    """A time during which a key could not be used, on the monotonic clock."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key, as it is now."""

    name: str
    state: State
    place: Place | None
    """Where it is plugged in; None when it is not."""
    plug_time: datetime
    reading: Reading | None = None
    """What was read last; None when it never could be."""
    fault: str = ""
    absent_since: float | None = None
    """Since when it cannot be used, on the monotonic clock; None while it can."""
    spent: timedelta = timedelta()
    """How much of a grace earlier absences have used up; nothing unless it comes and goes all the time."""
    absences: tuple[Absence, ...] = ()
    """The recent ones, the oldest first."""

    @property
    def unplug_grace(self) -> timedelta:
        """The longest grace of its licenses: for so long it counts as missing."""
        licenses = self.reading.licenses if self.reading else ()
        return max((grace_of(one.document) for one in licenses), default=timedelta())


class Namer:
    """Names keys, under a secret of this bridge."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of_key(self, identity: Identity, place: Place) -> str:
        """By the card's own id, else by its serial number, else by where it is plugged in."""
        if identity.card_id is not None:
            return self._name(b"card", identity.card_id)
        if identity.serial:
            parts = (identity.driver, identity.model, identity.serial)
            return self._name(b"serial", "\0".join(parts).encode())
        return self.of_place(place)

    def of_place(self, place: Place) -> str:
        """A key that says nothing of itself."""
        return self._name(b"place", f"{place.source}\0{place.bus_id}".encode())

    def of_double(self, name: str, place: Place) -> str:
        """A second key that claims to be `name`."""
        return self._name(b"double", f"{name}\0{place.source}\0{place.bus_id}".encode())

    def _name(self, kind: bytes, what: bytes) -> str:
        digest = hmac.digest(self._secret, kind + b"\0" + what, hashlib.sha256)
        return names.KEY.build(digest[:NAME_BYTES].hex())

    def __repr__(self) -> str:
        return "Namer()"
