"""What is to be done when, on one thread.

Promises: work is done in the order of its time, never early; `hurry` does all that is left at once.

Leaves to others: the work (cast, playing).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from keypeg import clock


class Schedule:
    """Work that waits for its time."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, when: float, work: Callable[[], None]) -> None:
        """Do it at that moment of the monotonic clock."""
        heapq.heappush(self._due, (when, next(self._numbers), work))

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Do it in so many seconds."""
        self.at(clock.monotonic() + seconds, work)

    def step(self) -> bool:
        """Do one thing whose time has come; whether there was one."""
        if not self._due or self._due[0][0] > clock.monotonic():
            return False
        heapq.heappop(self._due)[2]()
        return True

    def hurry(self) -> None:
        """Do all that is left, in order."""
        while self._due:
            heapq.heappop(self._due)[2]()
