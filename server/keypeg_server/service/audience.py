"""Who hears what befalls those who hold and wait, and news of queues on their way there.

Promises: a queue that moves often is told so at most 50 times a second, and telling costs the same however
many wait: who is near the head hears at once, who is further back when its turn to be told comes, with 10,000
waiting within some ten seconds.

Leaves to others: what is told and how (telling.py implements `Audience`), positions (domain/pool.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from keypeg.errors import KeypegError, LeaseRecalled
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool import Pool

POSITIONS_PAUSE: Final = 0.02  # seconds between two tellings
HEAD_PLACES: Final = 20  # who is told each time: they are served next
SLICE_PLACES: Final = 20  # who is told each time of all others: telling one takes 60 µs


class Audience(Protocol):
    """The sessions that hold and wait."""

    def ends_at(self, session: str) -> float | None:
        """When a session's time runs out unless it renews, on the monotonic clock; None when not known."""
        ...

    def seen_at(self, session: str) -> float | None:
        """When a session was last heard of, on the monotonic clock; None when not since the start."""
        ...

    def served(self, pool: Pool, lease: Lease) -> None:
        """A session that waited holds a seat now."""
        ...

    def moved(self, pool: Pool, place: Place, position: int, *, again: bool) -> None:
        """Where a session stands in a queue that has moved; may be where it stood: `again` tells that too."""
        ...

    def recalled(self, pool: Pool, lease: Lease, error: LeaseRecalled) -> None:
        """A session has to stop using a seat, now."""
        ...

    def refused(self, pool: Pool, place: Place, error: KeypegError) -> None:
        """A session that waited does so no more."""
        ...


class _Round:
    """How far a queue is told of: whoever has not been looked at since it last moved."""

    __slots__ = ("again", "at", "fresh", "left")

    def __init__(self) -> None:
        self.at = HEAD_PLACES  # the next of those behind the head: its index in the whole queue
        self.left = 0  # places behind the head to look at until all have been
        self.again = 0  # of these, who is told also where nothing moved
        self.fresh = False  # the head has not been told of other rules


class QueueNews:
    """Queues that have moved, and are not told of yet."""

    def __init__(self, audience: Callable[[], Audience | None]) -> None:
        self._audience = audience
        self._rounds: dict[Pool, _Round] = {}
        self._due = False

    def moved(self, pool: Pool) -> None:
        """Positions of this queue have changed; whoever waits is told soon, the head first."""
        round_ = self._rounds.get(pool)
        if round_ is None:
            round_ = self._rounds[pool] = _Round()
        round_.left = max(0, len(pool.line) - HEAD_PLACES)
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(POSITIONS_PAUSE, self._tell)

    def ruled(self, pool: Pool) -> None:
        """A pool has other rules: whoever waits there is told, also where nothing moved."""
        self.moved(pool)
        round_ = self._rounds[pool]
        round_.again, round_.fresh = round_.left, True

    def drop(self, pools: Iterable[Pool]) -> None:
        """These pools are here no more: tell nobody."""
        for pool in pools:
            self._rounds.pop(pool, None)

    def _tell(self) -> None:
        self._due = False
        audience = self._audience()
        if audience is None:
            self._rounds.clear()
            return
        for pool, round_ in list(self._rounds.items()):
            if not _tell_some(audience, pool, round_):
                del self._rounds[pool]
        if self._rounds:
            self._due = True
            asyncio.get_running_loop().call_later(POSITIONS_PAUSE, self._tell)


def _tell_some(audience: Audience, pool: Pool, round_: _Round) -> bool:
    """Tell the head of a queue, and the next slice behind it; whether some are left."""
    line = pool.line
    for position, place in enumerate(line[:HEAD_PLACES], 1):
        audience.moved(pool, place, position, again=round_.fresh)
    round_.fresh = False
    if len(line) <= HEAD_PLACES:
        return False
    for _ in range(min(SLICE_PLACES, round_.left)):
        if round_.at >= len(line):
            round_.at = HEAD_PLACES
        audience.moved(pool, line[round_.at], round_.at + 1, again=round_.again > 0)
        round_.at += 1
        round_.left -= 1
        round_.again -= 1
    return round_.left > 0
