"""The one place of the client that reads a clock.

Promises: `monotonic` counts while the computer sleeps too (CLOCK_BOOTTIME on Linux, CLOCK_MONOTONIC of
macOS, whose plain clock does not; that of Windows does), so that a suspended app never believes that it may run longer than it may; it has nothing to do with the date.
`wall` is the date and time in UTC; for terms of licenses only, never for how long a grant holds.

Leaves to others: what the times mean, and timers (the event loop's own).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol


class Clock(Protocol):
    """What everything that needs the time takes."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; grows, also while the computer sleeps."""
        ...

    def wall(self) -> datetime:
        """The date and time, aware, in UTC."""
        ...


def _monotonic_source() -> Callable[[], float]:
    id = getattr(time, "CLOCK_BOOTTIME", None) or getattr(time, "CLOCK_MONOTONIC", None)
    if id is None:  # Windows
        return time.monotonic
    clock: int = id
    return lambda: time.clock_gettime(clock)


_MONOTONIC: Final = _monotonic_source()


class SystemClock:
    """The computer's own clocks."""

    def monotonic(self) -> float:
        """Seconds since the computer started, sleep included."""
        return _MONOTONIC()

    def wall(self) -> datetime:
        """The date and time, aware, in UTC."""
        return datetime.now(UTC)


def monotonic() -> float:
    """Seconds since the computer started, sleep included."""
    return _MONOTONIC()


def wall() -> datetime:
    """The date and time, aware, in UTC."""
    return datetime.now(UTC)
