"""Deadlines on the monotonic clock: how long what was granted is kept, and many things that run out on one timer.

Promises: whoever is watched is looked at when it may be due, never before the time it asked for; to postpone
costs nothing here, for what is looked at too early just says when to look again.

Leaves to others: what it means to be due. Whoever acts on something with a deadline checks the deadline
itself: the timer may fire late (a busy loop, a computer that slept), and late is safe.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Final, Generic, TypeVar

from keypeg_server.service.ports import Clock

_T = TypeVar("_T")

RETRY_PAUSE: Final = 1.0  # seconds, after the disk refused to take an end


def server_deadline(now: float, valid_for: timedelta) -> float:
    """Until when the server keeps what it granted now.

    The holder counts `valid_for` from before it asked, on its own clock: 1 % for that clock's rate, 1 s for
    everything else.
    """
    return now + valid_for.total_seconds() * 1.01 + 1.0


class Deadlines(Generic[_T]):
    """A heap of when to look at what. One event loop."""

    def __init__(self, clock: Clock, due: Callable[[_T, float], float | None]) -> None:
        """`due(item, now)` does what is to be done, and says when to look again; None for never."""
        self._clock = clock
        self._due = due
        self._heap: list[tuple[float, int, _T]] = []
        self._numbers = count()  # orders equal times, so that items need no order
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = float("inf")

    def watch(self, item: _T, when: float) -> None:
        """Look at `item` at `when` on the monotonic clock."""
        heapq.heappush(self._heap, (when, next(self._numbers), item))
        self._arm()

    def tick(self) -> None:
        """Look at all that may be due now."""
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            _, _, item = heapq.heappop(self._heap)
            again = self._due(item, now)
            if again is not None:
                heapq.heappush(self._heap, (again, next(self._numbers), item))
        self._armed_for = float("inf")
        self._arm()

    def stop(self) -> None:
        """Look at nothing any more."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._heap and self._heap[0][0] < self._armed_for:
            if self._timer is not None:
                self._timer.cancel()
            self._armed_for = self._heap[0][0]
            delay = max(0.0, self._armed_for - self._clock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self.tick)
