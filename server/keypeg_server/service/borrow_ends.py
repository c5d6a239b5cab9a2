"""When borrows are over: each is ended after its document's end and the margin for its computer's clock.

Promises: never before the computer's date says so, and never before as much time has passed here on a clock that
nobody sets as was left when the borrow was made, renewed, or read from disk: to step the wall clock
forward frees nothing, to step it back keeps a seat only until the clock is right again. It is the date of now:
one that was far ahead once, and is put right, ends nothing after a restart either. When the disk does not take
an end, it is tried until it does.

Leaves to others: ending (whoever made this). After a restart only the wall clock is left to go by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keypeg.errors import KeypegError
from keypeg_server.domain.borrow import Borrow
from keypeg_server.domain.pool import Pool
from keypeg_server.service.deadlines import RETRY_PAUSE, Deadlines
from keypeg_server.service.ports import Clock

LOOK_EVERY: Final = (
    600.0  # seconds: how late a borrow may end after a clock was set, or a computer slept
)

End = Callable[[Pool, str, Callable[[KeypegError | None], None]], None]


class _Watched:
    """A borrow and before when it does not end, on the monotonic clock."""

    __slots__ = ("id", "not_before", "pool")

    def __init__(self, pool: Pool, id: str, not_before: float) -> None:
        self.pool = pool
        self.id = id
        self.not_before = not_before


class BorrowEnds:
    """All borrows that are not over, by id."""

    def __init__(
        self, clock: Clock, date_us: Callable[[], int], here: Callable[[Pool], bool], end: End
    ) -> None:
        """`date_us` is the date without a high-water mark, `here` says whether a pool is served here.

        `end` ends a borrow, and tells when that is on disk.
        """
        self._clock = clock
        self._date_us = date_us
        self._here = here
        self._end = end
        self._watched: dict[str, _Watched] = {}
        self._deadlines: Deadlines[_Watched] = Deadlines(clock, self._due)

    def came(self, pool: Pool) -> None:
        """A pool was read from disk."""
        for borrow in pool.borrows.values():
            self.watch(pool, borrow)

    def watch(self, pool: Pool, borrow: Borrow) -> None:
        """A borrow was made, or ends later than was thought."""
        now = self._clock.monotonic()
        not_before = now + self._left(borrow)
        watched = self._watched.get(borrow.id)
        if watched is not None and watched.pool is pool:
            watched.not_before = max(watched.not_before, not_before)
            return
        self._watched[borrow.id] = watched = _Watched(pool, borrow.id, not_before)
        self._deadlines.watch(watched, min(not_before, now + LOOK_EVERY))

    def tick(self) -> None:
        """Look at the ends now; the timer does so by itself."""
        self._deadlines.tick()

    def stop(self) -> None:
        """End no borrow any more; for the end of the server."""
        self._deadlines.stop()

    def _left(self, borrow: Borrow) -> float:
        return max(0.0, (borrow.free_us - self._date_us()) / 1e6)

    def _due(self, watched: _Watched, now: float) -> float | None:
        if self._watched.get(watched.id) is not watched:
            return None
        borrow = watched.pool.borrows.get(watched.id)
        if borrow is None or not self._here(watched.pool):
            del self._watched[watched.id]
            return None
        ends = max(watched.not_before, now + self._left(borrow))
        if now < ends:
            return min(ends, now + LOOK_EVERY)

        def done(error: KeypegError | None) -> None:
            if error is None:
                self._watched.pop(watched.id, None)
            else:
                self._deadlines.watch(watched, self._clock.monotonic() + RETRY_PAUSE)

        self._end(watched.pool, watched.id, done)
        return None
