"""Sessions whose license has a term: looked at again when it ends.

Promises: a session hears that its license has ended when it ends, and not at its next renewal; it goes on where
another license serves. The end is a moment of the wall clock, which is asked again at least every LOOK seconds:
a clock that was set forward is found out, and one that was set back lengthens nothing (clock.py).

Leaves to others: whether another license serves, and ending (admitting.py); that no grant outlives its license.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from keypeg_server.service.deadlines import RETRY_PAUSE, Deadlines
from keypeg_server.service.ports import Clock
from keypeg_server.service.presence import Session, State

LOOK: Final = 5.0  # seconds


class TermWatch:
    """All sessions whose license ends."""

    def __init__(self, clock: Clock, look_again: Callable[[Session], None]) -> None:
        """`look_again` is told of a session whose license has ended."""
        self._clock = clock
        self._look_again = look_again
        self._watched: set[Session] = set()
        self._deadlines: Deadlines[Session] = Deadlines(clock, self._due)

    def bounded(self, session: Session) -> None:
        """A session runs by a license that ends."""
        left = self._left(session)
        if session not in self._watched and left is not None:
            self._watched.add(session)
            self._deadlines.watch(session, self._clock.monotonic() + _pause(left))

    def tick(self) -> None:
        """Look at terms now; the timer does so by itself."""
        self._deadlines.tick()

    def stop(self) -> None:
        """Look at no session any more."""
        self._deadlines.stop()
        self._watched.clear()

    def _due(self, session: Session, now: float) -> float | None:
        left = self._left(session)
        if left is None or session.state is not State.LIVE:
            self._watched.discard(session)
            return None
        if left > timedelta(0):
            return now + _pause(left)
        self._look_again(session)
        return now + RETRY_PAUSE

    def _left(self, session: Session) -> timedelta | None:
        """How much is left of its term; None when it runs by a license without an end."""
        entitlement = session.entitlement
        if entitlement is None or entitlement.ends_at is None:
            return None
        return entitlement.ends_at - self._clock.wall()


def _pause(left: timedelta) -> float:
    return max(0.0, min(left.total_seconds(), LOOK))
