"""What is the same for all operations on one pool.

Promises: such an operation is written for the pool's account, so that a server which is not its home any more changes
nothing of it; what a decision changed is in the log, and is taken back when it does not come to the disk.

Leaves to others: what is decided (pool_operations.py, pool_keeping.py, freeing.py, borrow_operations.py), what follows
(pool_reports.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from keypeg.errors import KeypegError
from keypeg_server.domain import record
from keypeg_server.domain.decision import Decision
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.record import Entry
from keypeg_server.service.commits import Operation, RequestKey
from keypeg_server.service.pool_reports import Reports, follow, taken_back


class PoolOperation(Operation):
    """An operation on one pool. Subclasses decide, and set `_now_us` and `_decision` by that."""

    __slots__ = ("_decision", "_done", "_now_us", "_pool", "_reports")

    _decision: Decision
    _now_us: int

    def __init__(
        self,
        reports: Reports,
        pool: Pool,
        done: Callable[[Any], None],
        request: RequestKey | None = None,
    ) -> None:
        self.request = request
        self._reports = reports
        self._pool = pool
        self._done = done

    def records(self) -> Sequence[Entry]:
        return record.of_changes(self._pool, self._decision.changes, self._now_us)

    def parents(self) -> Collection[str]:
        return (self._pool.account,)

    def undo(self) -> None:
        taken_back(self._reports, self._pool, self._decision)

    def answer(self) -> None:
        self._done(self._decision.outcome)
        follow(self._reports, self._pool, self._decision)

    def refuse(self, error: KeypegError) -> None:
        self._done(error)
