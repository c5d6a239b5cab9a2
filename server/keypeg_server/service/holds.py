"""Leases without a stream: until when their holders may believe in them.

Promises: a lease ends when its deadline on the monotonic clock has passed, never before; a deadline that a holder
was told of is only ever put off. When the disk does not take the end, it is tried until it does.

Leaves to others: ending leases (whoever made this), for how long (seats.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta

from keypeg.errors import KeypegError
from keypeg_server.domain.pool import Pool
from keypeg_server.service.deadlines import RETRY_PAUSE, Deadlines, server_deadline
from keypeg_server.service.ports import Clock

End = Callable[[Pool, str, Callable[[KeypegError | None], None]], None]


class Hold:
    """The deadline of one lease."""

    __slots__ = ("deadline", "id", "pool", "seen", "told")

    def __init__(self, pool: Pool, id: str, deadline: float, told: bool) -> None:
        self.pool = pool
        self.id = id
        self.deadline = deadline
        self.told = told  # whether its holder may know of it
        self.seen: float | None = None  # when its holder was last heard of


class Holds:
    """All leases without a stream, by id."""

    def __init__(self, clock: Clock, end: End) -> None:
        """`end` ends a lease, and tells when that is on disk or why it is not."""
        self._clock = clock
        self._end = end
        self._holds: dict[str, Hold] = {}
        self._deadlines: Deadlines[Hold] = Deadlines(clock, self._due)

    def hold(
        self,
        pool: Pool,
        id: str,
        valid_for: timedelta,
        since: float | None = None,
        *,
        heard: bool = True,
        told: bool = True,
    ) -> None:
        """A holder may believe in its lease for `valid_for` from now; never less than before.

        From `since` (on the monotonic clock) where its call was open for a while. Without `heard` it is the
        server that keeps it, and its holder was not heard of. Without `told` no holder knows of it: it is kept
        for one to ask, and has the time of that answer then, be it the shorter one.
        """
        deadline = server_deadline(self._clock.monotonic() if since is None else since, valid_for)
        hold = self._holds.get(id)
        if hold is None or (told and not hold.told):
            self._holds[id] = hold = Hold(pool, id, deadline, told)
            self._deadlines.watch(hold, deadline)
        hold.deadline = max(hold.deadline, deadline)
        if heard:
            hold.seen = self._clock.monotonic()

    def deadline(self, id: str) -> float | None:
        """When a lease ends unless it is renewed; None when it is none of these."""
        hold = self._holds.get(id)
        return None if hold is None else hold.deadline

    def seen_at(self, id: str) -> float | None:
        """When the holder of a lease was last heard of; None when that is not known."""
        hold = self._holds.get(id)
        return None if hold is None else hold.seen

    def held(self, id: str) -> bool:
        """Whether a lease is within its deadline."""
        return id in self._holds and not self.overdue(id)

    def overdue(self, id: str) -> bool:
        """Whether a lease is past its deadline, though it may not have ended yet."""
        hold = self._holds.get(id)
        return hold is not None and self._clock.monotonic() >= hold.deadline

    def ended(self, id: str) -> None:
        """A lease has ended."""
        self._holds.pop(id, None)

    def drop(self, pools: Iterable[Pool]) -> None:
        """These pools are here no more: end none of their leases."""
        gone = set(pools)
        for id in [id for id, hold in self._holds.items() if hold.pool in gone]:
            del self._holds[id]

    def tick(self) -> None:
        """Look at deadlines now; the timer does so by itself."""
        self._deadlines.tick()

    def stop(self) -> None:
        """End no lease any more; for the end of the server."""
        self._deadlines.stop()

    def _due(self, hold: Hold, now: float) -> float | None:
        if self._holds.get(hold.id) is not hold:
            return None  # released
        if now < hold.deadline:
            return hold.deadline

        def done(error: KeypegError | None) -> None:
            if error is not None:
                self._deadlines.watch(hold, self._clock.monotonic() + RETRY_PAUSE)

        self._end(hold.pool, hold.id, done)
        return None
