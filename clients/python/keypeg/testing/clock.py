"""A clock that stands until it is moved.

Promises: `advance` moves both clocks and calls what is due, in order; `step_wall` moves the date alone, as a
person does who sets the computer's clock. Give it as `clock=` to `open_session` or `StandInHost`.

Leaves to others: everything that happens on a network, which takes real time.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


class FakeTimer:
    """Something to be called at a time; may be cancelled."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Calls nothing any more."""
        self.callback = None


class FakeClock:
    """A Clock, and the timers of those who use it."""

    def __init__(self, wall: datetime = START, monotonic: float = 1_000.0) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._numbers = itertools.count()
        self._lock = threading.RLock()

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""
        return self._monotonic

    def wall(self) -> datetime:
        """The date and time, in UTC."""
        return self._wall

    def at(self, when: float, callback: Callable[[], None]) -> FakeTimer:
        """Calls back when the clock is moved to `when` or beyond."""
        timer = FakeTimer(when, callback)
        with self._lock:
            heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Moves both clocks on; what is due is called at its time."""
        target = self._monotonic + seconds
        while True:
            with self._lock:
                if not self._timers or self._timers[0][0] > target:
                    break
                when, _, timer = heapq.heappop(self._timers)
            self._move_to(max(when, self._monotonic))
            if timer.callback is not None:
                timer.callback()
        self._move_to(target)

    def step_wall(self, by: timedelta) -> None:
        """Sets the date alone."""
        self._wall += by

    def _move_to(self, monotonic: float) -> None:
        self._wall += timedelta(seconds=monotonic - self._monotonic)
        self._monotonic = monotonic
