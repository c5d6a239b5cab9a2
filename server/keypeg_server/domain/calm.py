"""Whether passwords come as they do when nobody guesses.

Promises: pure; time is an argument (seconds, monotonic).

Leaves to others: what is done then, and what otherwise (service/passwords.py).
"""

from __future__ import annotations

from typing import Final

from keypeg_server.domain.quota import CallRate

SECONDS: Final = 60.0  # after a password that was wrong
RATE: Final = 1.0  # a second: who knows a password could show it without end
BURST: Final = 10.0


class Calm:
    """One password at a time, none of them wrong of late, and no more than people type."""

    def __init__(self) -> None:
        self._rate = CallRate(RATE, BURST)
        self._begins = 0.0

    def take(self, under_way: int, now: float) -> bool:
        """Count a check; whether it is calm. `under_way`: how many there are, this one included."""
        calm = under_way == 1 and now >= self._begins
        return calm and not self._rate.take("", now)

    def wrong(self, now: float) -> None:
        """A password was wrong."""
        self._begins = now + SECONDS
