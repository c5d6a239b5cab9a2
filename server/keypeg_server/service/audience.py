"""Who hears what befalls those who hold and wait, and news of queues on their way there.

Promises: a queue that moves often is told so at most 50 times a second.

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


class QueueNews:
    """Queues that have moved, and are not told of yet."""

    def __init__(self, audience: Callable[[], Audience | None]) -> None:
        self._audience = audience
        self._moved: set[Pool] = set()
        self._again: set[Pool] = set()  # whose rules have changed

    def moved(self, pool: Pool) -> None:
        """Positions of this queue have changed; whoever waits is told soon."""
        if not self._moved:
            asyncio.get_running_loop().call_later(POSITIONS_PAUSE, self._tell)
        self._moved.add(pool)

    def ruled(self, pool: Pool) -> None:
        """A pool has other rules: whoever waits there is told, also where nothing moved."""
        self._again.add(pool)
        self.moved(pool)

    def drop(self, pools: Iterable[Pool]) -> None:
        """These pools are here no more: tell nobody."""
        self._moved.difference_update(pools)
        self._again.difference_update(pools)

    def _tell(self) -> None:
        moved, self._moved = self._moved, set()
        again, self._again = self._again, set()
        audience = self._audience()
        if audience is not None:
            for pool in moved:
                for position, place in enumerate(pool.queue(), 1):
                    audience.moved(pool, place, position, again=pool in again)
