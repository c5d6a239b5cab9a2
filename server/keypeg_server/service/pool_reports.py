"""What operations on pools tell when they are on disk, and what is the same for all of them.

Promises: names only; `follow` tells what came of a decision, in the order in which it is to be heard.

Leaves to others: doing it (pools.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from keypeg.errors import KeypegError, LeaseExpired
from keypeg_server.domain import explain
from keypeg_server.domain.borrow_refusals import is_borrowed
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.decision import Ask, Decision
from keypeg_server.domain.freed import Freed
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool import Pool

_T = TypeVar("_T")


class Reports(Protocol):
    """What operations tell when they are on disk."""

    def now_us(self) -> int: ...
    def by_id(self, id: str) -> Pool | None: ...
    def sight(self, caller: Caller) -> explain.Sight: ...
    def look(self, read: Callable[[], _T], done: Callable[[_T | KeypegError], None]) -> None: ...
    def released(self, id: str) -> None: ...
    def served(self, pool: Pool, leases: Sequence[Lease]) -> None: ...
    def queue_moved(self, pool: Pool) -> None: ...
    def denied(self, pool: Pool, ask: Ask, error: KeypegError) -> None: ...
    def lingering(self, pool: Pool, leases: Sequence[Lease]) -> None: ...
    def ruled(self, pool: Pool) -> None: ...
    def recalled(self, id: str) -> KeypegError | None: ...
    def freed(self, pool: Pool, freed: Freed) -> None: ...
    def resized(self, pool: Pool) -> None: ...
    def refused_place(self, pool: Pool, place: Place, error: KeypegError) -> None: ...


def lease_ended(name: str) -> LeaseExpired:
    """The refusal for a lease that has run out or was released."""
    return LeaseExpired(f"{name} has run out or was released; acquire a new one.", lease=name)


def check_not_borrowed(pool: Pool, id: str) -> None:
    """Refuse to end or extend a seat that is offline as if its holder were there."""
    borrow = pool.borrows.get(id)
    if borrow is not None and borrow.is_out:
        raise is_borrowed(pool, borrow)


def follow(reports: Reports, pool: Pool, decision: Decision) -> None:
    """Tell what else came of a decision that is on disk."""
    if decision.lingering:
        reports.lingering(pool, decision.lingering)
    if decision.served:
        reports.served(pool, decision.served)
    if decision.queue_moved:
        reports.queue_moved(pool)


def taken_back(reports: Reports, pool: Pool, decision: Decision) -> None:
    """Undo a decision that did not come to the disk, and let those who wait know where they stand again."""
    pool.undo(decision.changes)
    if decision.queue_moved or decision.served:
        reports.queue_moved(pool)
