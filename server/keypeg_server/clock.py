"""The server's only source of time.

Promises: `monotonic()` never goes backward and counts while the computer sleeps; `wall()` never goes
backward past the highest value it has seen or was told of, so that a license term that ended stays
ended whatever is done to the computer's clock; `served_us()` counts how long the database was served, over
restarts, whatever is done to the computer's clock. No other file of the server reads time.

Leaves to others: keeping the high-water mark and the served time over restarts (storage/upkeep.py).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

# Counts while suspended, where the system has it: a lease must not live longer because a laptop slept.
_MONOTONIC_ID: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """What the server takes as a clock."""

    def monotonic(self) -> float:
        """Seconds since some moment; only differences mean anything."""
        ...

    def wall(self) -> datetime:
        """Now, in UTC; for license terms and for people, never for leases."""
        ...

    def wall_us(self) -> int:
        """The same, in microseconds since 1970."""
        ...

    def served_us(self) -> int:
        """Microseconds that the database was served, by this process and those before it; stands while none does."""
        ...


class SystemClock:
    """The computer's clocks, with a floor below the wall clock."""

    def __init__(self) -> None:
        self._high_water = 0  # microseconds since 1970
        self._served_ahead = -self.monotonic()  # seconds: what is added to the monotonic clock

    def monotonic(self) -> float:
        return time.clock_gettime(_MONOTONIC_ID)

    def wall(self) -> datetime:
        return from_us(self.wall_us())

    def date_us(self) -> int:
        """What the computer's clock says, whatever it said before; in microseconds since 1970."""
        return time.time_ns() // 1_000

    def wall_us(self) -> int:
        now = time.time_ns() // 1_000
        if now > self._high_water:
            self._high_water = now
        return self._high_water

    def served_us(self) -> int:
        return round((self.monotonic() + self._served_ahead) * 1e6)

    def served_before(self, us: int) -> None:
        """Count on from no less than this: so long the database was served already."""
        self._served_ahead = max(self._served_ahead, us / 1e6 - self.monotonic())

    def never_before(self, mark: datetime) -> None:
        """Raise the floor: `wall()` answers no less than `mark` from now on."""
        self._high_water = max(self._high_water, to_us(mark))

    def set_back_by(self) -> timedelta:
        """How far the computer's clock is behind the highest value seen; zero when it is not."""
        return max(timedelta(0), (self._high_water - time.time_ns() // 1_000) * MICROSECOND)


def to_us(moment: datetime) -> int:
    """Microseconds since 1970 in UTC, as the tables keep time."""
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_us(us: int) -> datetime:
    """The moment of `to_us`."""
    return EPOCH + us * MICROSECOND
