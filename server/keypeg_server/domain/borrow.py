"""Seats that were taken offline: what is known of each, what can become of it, and when it is over.

Promises: frozen values, and a table of what can happen in which state. The end of a borrow is a moment of the
wall clock, for its computer has no other; the seat is free only CLOCK_MARGIN after that.

Leaves to others: the rules and the pool (pool_borrowing.py), words for refusals (borrow_refusals.py), documents
and the passing of time (service/borrows.py).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from keypeg import names
from keypeg_server.domain.lease import Features, Holder, Lease

# How much later than here it may be over on the computer that borrowed: computers that have been offline for
# weeks, or that never ask for the time, are off by minutes. The SDK does not believe in a clock that went back.
CLOCK_MARGIN: Final = timedelta(hours=1)
CLOCK_MARGIN_US: Final = CLOCK_MARGIN // timedelta(microseconds=1)

RECORDS_LIMIT: Final = 10_000  # borrows of a pool that are known: each is a row of some 2 KiB
RECORDS_OF_USER_LIMIT: Final = (
    1_000  # of them; who borrows and returns in a loop stops at that, and nobody else
)


class State(enum.Enum):
    """What became of a borrow."""

    OUT = "out"  # a computer may use the seat
    RETURNED = "returned"  # it gave it back before its end
    WRITTEN_OFF = "written_off"  # the seat was given to others, though its document still works


class Event(enum.Enum):
    """What can happen to a borrow, but for its end, after which it is not known any more."""

    RENEWED = "renewed"
    RETURNED = "returned"
    WRITTEN_OFF = "written_off"


# What is not in here can not happen.
NEXT: Final[Mapping[tuple[State, Event], State]] = {
    (State.OUT, Event.RENEWED): State.OUT,
    (State.OUT, Event.RETURNED): State.RETURNED,
    (State.OUT, Event.WRITTEN_OFF): State.WRITTEN_OFF,
    (State.RETURNED, Event.RETURNED): State.RETURNED,  # the same statement again
    (State.WRITTEN_OFF, Event.RETURNED): State.RETURNED,  # it turned up
    (State.WRITTEN_OFF, Event.WRITTEN_OFF): State.WRITTEN_OFF,
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What a borrow is asked for, beside the seats."""

    duration_us: int
    ends_by_us: int  # of the license, or of what signs for it; no document goes on for longer
    return_key: bytes  # the computer's Ed25519 key for this borrow
    fingerprint: bytes = b""  # a HostFingerprint; empty: the device's id alone says which computer

    def end_us(self, now_us: int) -> int:
        """When a document that is made now ends."""
        return min(now_us + self.duration_us, self.ends_by_us)


@dataclass(frozen=True, slots=True)
class Borrow:
    """A borrowed seat."""

    id: str  # also of its lease
    pool: str  # the pool's id
    holder: Holder
    units: int
    features: Features
    fencing_number: int
    create_time_us: int
    end_us: int  # of the newest document
    return_key: bytes
    fingerprint: bytes = b""
    serial: int = 1  # of the newest document
    document: bytes = b""  # the newest: an Envelope, signed
    subject: str = ""  # of its lease
    state: State = State.OUT
    state_time_us: int = 0  # since when, unless it is out
    state_by: str = ""  # who handed in its return, or wrote it off: a user
    reason: str = ""  # for which it was written off

    @property
    def name(self) -> str:
        """Its resource name."""
        return names.BORROW.build(self.pool, self.id)

    @property
    def free_us(self) -> int:
        """When nobody believes in it any more."""
        return self.end_us + CLOCK_MARGIN_US

    @property
    def is_out(self) -> bool:
        """Whether its seat is held."""
        return self.state is State.OUT

    def lease(self) -> Lease:
        """The lease that it is while it is out."""
        return Lease(
            self.id,
            self.pool,
            self.holder,
            self.units,
            self.features,
            self.fencing_number,
            self.create_time_us,
            self.end_us - self.create_time_us,
            self.subject,
            borrowed_until_us=self.end_us,
        )

    def after(self, event: Event, now_us: int, by: str, reason: str = "") -> Borrow:
        """What it is after something that can happen to it; KeyError for what can not."""
        state = NEXT[self.state, event]
        if state is self.state:
            return self
        return replace(self, state=state, state_time_us=now_us, state_by=by, reason=reason)


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a write-off risks: seats that may be used twice until the lost document ends."""

    units: int
    end_us: int
    free_us: int
    exposed: int  # units of the pool in all, these with them
    budget: int  # units of the pool that may be
