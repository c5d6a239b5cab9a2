"""What a session tells its app, one frozen class for each.

Promises: an event says all that an app needs to act on it, and `str(event)` says it to a person. Durations
count from when the event was made. Imports neither grpc nor the generated code.

Leaves to others: when they happen (session_machine), and how they reach the app (aio, session).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from keypeg.errors import KeypegError
from keypeg.seat import Lease, Place


class ChangeKind(enum.Enum):
    """What changed about what a session may use; numbers of keypeg.v1.Change."""

    OTHER = 0  # of a newer server
    LICENSE_ADDED = 1
    LICENSE_CHANGED = 2
    LICENSE_REMOVED = 3
    KEY_RETURNED = 4
    CLOUD_MODE = 5


@dataclass(frozen=True)
class Event:
    """What every event is."""


@dataclass(frozen=True)
class Running(Event):
    """The session is open: the app may run, once it holds a seat where one is required."""

    session: str
    location: str  # where the license lives; empty for a license document of this computer
    may_run_for: timedelta
    features: tuple[str, ...] = ()
    seat_required: bool = False
    borrowed_until: datetime | None = None  # by a seat that was borrowed for this computer

    def __str__(self) -> str:
        seat = ", once a seat is held" if self.seat_required else ""
        if self.borrowed_until is not None:
            until = self.borrowed_until.strftime("%Y-%m-%d %H:%M UTC")
            return f"running by a seat that is borrowed until {until}{seat}"
        return f"running, for {_text(self.may_run_for)} from now unless renewed{seat}"


@dataclass(frozen=True)
class ConnectionLost(Event):
    """The connection is lost; the app may go on while the SDK connects again."""

    may_run_for: timedelta
    error: KeypegError

    def __str__(self) -> str:
        return f"connection lost, may go on for {_text(self.may_run_for)}: {self.error}"


@dataclass(frozen=True)
class Reconnected(Event):
    """The connection is back. `resumed` is False when it is a new session, without the old one's seats."""

    session: str
    resumed: bool

    def __str__(self) -> str:
        return "connected again" if self.resumed else "connected again, with a new session"


@dataclass(frozen=True)
class KeyMissing(Event):
    """The key, or whatever opened the session, is not there; the app may go on for a while."""

    resource: str
    may_run_for: timedelta
    error: KeypegError

    def __str__(self) -> str:
        return f"{self.error} The app may go on for {_text(self.may_run_for)}."


@dataclass(frozen=True)
class KeyReturned(Event):
    """What was missing is there again, and has proven itself."""

    resource: str

    def __str__(self) -> str:
        return "the key is back"


@dataclass(frozen=True)
class Queued(Event):
    """A seat is waited for; comes again when the place in the queue changes."""

    request_id: str
    place: Place

    def __str__(self) -> str:
        return f"waiting for a seat at place {self.place.position} of {self.place.waiting_count}"


@dataclass(frozen=True)
class SeatAcquired(Event):
    """A seat is held."""

    request_id: str
    lease: Lease

    def __str__(self) -> str:
        return f"seat held: {self.lease.name}"


@dataclass(frozen=True)
class SeatReleased(Event):
    """A seat was given back at the app's own wish."""

    lease: Lease

    def __str__(self) -> str:
        return f"seat given back: {self.lease.name}"


@dataclass(frozen=True)
class SeatRecalled(Event):
    """A seat was taken back by an administrator; the app stops using it now."""

    lease: Lease
    error: KeypegError
    hold_off_until_time: datetime | None = None  # until then this user does not get it again

    def __str__(self) -> str:
        return f"seat taken back: {self.error}"


@dataclass(frozen=True)
class SeatLost(Event):
    """A seat is held no more, and nobody took it back: its session has run out."""

    lease: Lease
    error: KeypegError

    def __str__(self) -> str:
        return f"seat lost: {self.error}"


@dataclass(frozen=True)
class Changed(Event):
    """Something that the session may use has changed; the SDK renews by itself to see what."""

    kind: ChangeKind
    resource: str

    def __str__(self) -> str:
        return f"changed: {self.kind.name.lower().replace('_', ' ')}: {self.resource}"


@dataclass(frozen=True)
class RenewalRefused(Event):
    """The server did not give more time; the app may run for what is left, and the SDK asks again."""

    may_run_for: timedelta
    error: KeypegError

    def __str__(self) -> str:
        return f"not renewed, may go on for {_text(self.may_run_for)}: {self.error}"


@dataclass(frozen=True)
class Stopped(Event):
    """The session is over; the last event. Without an error the app itself has closed it."""

    error: KeypegError | None = field(default=None)

    def __str__(self) -> str:
        return "closed" if self.error is None else f"stopped: {self.error}"


def _text(duration: timedelta) -> str:
    seconds = max(0.0, duration.total_seconds())
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
