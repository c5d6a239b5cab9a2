"""Timers and moments that follow the clock they are given.

Promises: with a clock that has timers of its own (a test's), those decide; otherwise the event loop's.

Leaves to others: what is done then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from keypeg.clock import Clock
from keypeg.session_frames import Moment


class TimerHandle(Protocol):
    """Something that will be called."""

    def cancel(self) -> None:
        """Not any more."""
        ...


def call_at(clock: Clock, when: float, callback: Callable[[], None]) -> TimerHandle:
    """Calls back on this loop when the clock shows `when`."""
    loop = asyncio.get_running_loop()
    at = getattr(clock, "at", None)
    if at is not None:
        handle: TimerHandle = at(when, lambda: loop.call_soon_threadsafe(callback))
        return handle
    return loop.call_later(max(0.0, when - clock.monotonic()), callback)


def now_of(clock: Clock, begun: Moment | None = None) -> Moment:
    """This moment, on both clocks; the wall clock never behind what has passed since `begun`.

    Setting the date back must not make a running session's proofs look as if they were of the future.
    """
    monotonic, wall = clock.monotonic(), clock.wall()
    if begun is not None:
        wall = max(wall, begun.wall + timedelta(seconds=monotonic - begun.monotonic))
    return Moment(monotonic, wall)
