"""The operation by which a pool gets more or fewer seats, as its license says for the time.

Promises: who waited and is served is on disk before anyone hears; the log says how many seats there are.

Leaves to others: when (capacity_keeping.py), who gives back (domain/pool_shrinking.py, aftermath.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keypeg_server.domain import record
from keypeg_server.domain.decision import Change, Decision, DropPlace
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_serving import too_small
from keypeg_server.domain.pool_shrinking import resize
from keypeg_server.domain.record import Ending, Entry
from keypeg_server.service.pool_operation import PoolOperation
from keypeg_server.service.pool_reports import Reports, follow


class Resize(PoolOperation):
    """So many seats from now on."""

    __slots__ = ("_capacity",)

    def __init__(
        self, reports: Reports, pool: Pool, capacity: int, done: Callable[[Any], None]
    ) -> None:
        super().__init__(reports, pool, done)
        self._capacity = capacity

    def decide(self) -> Sequence[Change]:
        self._now_us = self._reports.now_us()
        self._decision = Decision(None, [], [], False)
        if self._pool.capacity != self._capacity:
            self._decision = resize(self._pool, self._capacity, self._now_us)
        return self._decision.changes

    def records(self) -> Sequence[Entry]:
        pool, changes = self._pool, self._decision.changes
        if not changes:
            return ()
        said = record.about(
            pool.account, "pool_resized", self._now_us, pool=pool.id, seats=self._capacity
        )
        return [said, *record.of_changes(pool, changes, self._now_us, Ending.RECALLED)]

    def answer(self) -> None:
        served = {lease.id for lease in self._decision.served}
        for change in self._decision.changes:
            if isinstance(change, DropPlace) and change.place.id not in served:
                place = change.place
                error = too_small(self._pool, "seats", place.units, self._pool.most)
                self._reports.refused_place(self._pool, place, error)
        self._done(None)
        follow(self._reports, self._pool, self._decision)
        self._reports.resized(self._pool)
