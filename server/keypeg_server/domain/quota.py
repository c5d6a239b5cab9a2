"""How much one user may ask for: calls in a time, and streams at once.

Calls fill a bucket that leaks: a burst passes, and after it as many as leak. Streams are counted.

Promises: pure; time is an argument (seconds, monotonic). Memory is bounded: the bucket of whom nobody heard longest
is forgotten first, and a count that is back at nothing is kept no more.

Leaves to others: who calls and what they are told (rpc/quotas.py).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from math import inf
from typing import Final

REMEMBERED: Final = 50_000  # users


class CallRate:
    """At most `rate` calls a second of each user, `burst` of them at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._full: OrderedDict[str, tuple[float, float]] = OrderedDict()  # level, and when

    def take(self, user: str, now: float) -> float:
        """Count a call; 0 when it may pass, else the seconds until it could, and it is not counted."""
        found = self._full.get(user)
        if found is None:
            if len(self._full) >= REMEMBERED:
                self._full.popitem(last=False)
            self._full[user] = (1.0, now)
            return 0.0
        level, at = found
        level -= (now - at) * self._rate
        if level < 0.0:
            level = 0.0
        over = level + 1.0 - self._burst
        if over > 0.0:
            return over / self._rate
        self._full[user] = (level + 1.0, now)
        self._full.move_to_end(user)
        return 0.0

    def reserve(self, user: str, now: float, most: float = inf) -> float:
        """Count a call that comes in any case, and the seconds until it may: each waits for those before it.

        Who would wait for `most` seconds or longer is not counted.
        """
        wait = self.take(user, now)
        if 0.0 < wait < most:
            level, at = self._full[user]
            self._full[user] = (level + 1.0, at)
            self._full.move_to_end(user)
        return wait


class StreamCount:
    """At most `most` streams of each user at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def take(self, user: str) -> bool:
        """Count one more; whether it may be."""
        if self._open[user] >= self._most:
            return False
        self._open[user] += 1
        return True

    def give(self, user: str) -> None:
        """One has ended."""
        self._open[user] -= 1
        if self._open[user] <= 0:
            del self._open[user]
