"""The operation by which an administrator frees a seat.

Promises: what was decided is on disk, and in the log with who and why, before the holder is told; the seat
itself is free only when its holder gave it back or can not believe in it any more (recalls.py).

Leaves to others: who may free (seats.py), whom it holds off (domain/pool.py), the words (domain/freed.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keypeg.errors import KeypegError
from keypeg_server.domain import record
from keypeg_server.domain.decision import Change, DropPlace
from keypeg_server.domain.freed import Freed, held_off
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.record import Ending, Entry
from keypeg_server.service.commits import RequestKey
from keypeg_server.service.pool_operation import PoolOperation
from keypeg_server.service.pool_reports import (
    Reports,
    check_not_borrowed,
    follow,
    lease_ended,
)


class Free(PoolOperation):
    """A seat that is to be given back; ends with until when its user stays away, 0 for no time."""

    __slots__ = ("_by", "_freed", "_until_us")

    def __init__(
        self,
        reports: Reports,
        pool: Pool,
        freed: Freed,
        request: RequestKey,
        done: Callable[[int | KeypegError], None],
    ) -> None:
        super().__init__(reports, pool, done, request)
        self._by = request.caller
        self._freed = freed
        self._until_us = freed.until_us if freed.holds_off else 0

    def decide(self) -> Sequence[Change]:
        lease = self._pool.lease(self._freed.lease)
        if lease is None or lease.holder.user != self._freed.user:
            raise lease_ended(self._pool.lease_prefix + self._freed.lease)
        check_not_borrowed(self._pool, lease.id)
        self._now_us = self._reports.now_us()
        self._decision = self._pool.free(self._freed, self._now_us)
        return self._decision.changes

    def records(self) -> Sequence[Entry]:
        freed, pool = self._freed, self._pool
        said = record.about(
            pool.account,
            "freed",
            self._now_us,
            pool=pool.id,
            lease=freed.lease,
            user=freed.user,
            by=self._by,
            reason=freed.reason,
            until=freed.until_us if freed.holds_off else None,
        )
        changes = self._decision.changes
        return [said, *record.of_changes(pool, changes, self._now_us, Ending.RECALLED)]

    def result(self) -> bytes:
        return str(self._until_us).encode()

    def answer(self) -> None:
        self._reports.freed(self._pool, self._freed)
        served = {lease.id for lease in self._decision.served}
        for change in self._decision.changes:
            if isinstance(change, DropPlace) and change.place.id not in served:
                error = held_off(self._pool.name, self._freed)
                self._reports.refused_place(self._pool, change.place, error)
        self._done(self._until_us)
        follow(self._reports, self._pool, self._decision)

    def repeat(self, result: bytes) -> None:
        self._done(int(result))
