"""The operations on pools that go through the committer, and that holders ask for: take, give back, extend, end.

Promises: each keeps to service/commits.py, and calls its `done` exactly once.

Leaves to others: what follows from them (pool_reports.py), the rules (domain/pool.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

from keypeg.errors import KeypegError, LeaseExpired
from keypeg_server.domain import explain, record
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.decision import Ask, Change, Decision
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.record import Ending, Entry
from keypeg_server.service.commits import Operation, RequestKey
from keypeg_server.service.pool_operation import PoolOperation
from keypeg_server.service.pool_reports import (
    Reports,
    check_not_borrowed,
    follow,
    lease_ended,
    taken_back,
)

IN_ORDER: Final = frozenset((Ending.RELEASED, Ending.CLOSED))  # ends after which a seat may linger


class Acquire(PoolOperation):
    """Seats, or a place in the queue."""

    __slots__ = ("_ask", "_caller")

    def __init__(
        self,
        reports: Reports,
        pool: Pool,
        ask: Ask,
        caller: Caller,
        request: RequestKey | None,
        done: Callable[[Lease | Place | KeypegError], None],
    ) -> None:
        super().__init__(reports, pool, done, request)
        self._ask = ask
        self._caller = caller

    def decide(self) -> Sequence[Change]:
        ask = self._ask
        self._now_us = self._reports.now_us()
        try:
            self._decision = self._pool.acquire(ask, self._now_us)
        except KeypegError as error:
            sight = self._reports.sight(self._caller)
            raise explain.refused(self._pool, ask, error, sight) from None
        return self._decision.changes

    def result(self) -> bytes:
        return f"{self._pool.id} {self._ask.id}".encode()

    def answer(self) -> None:
        decision = self._decision
        if decision.queue_moved:
            self._reports.queue_moved(self._pool)
        outcome = decision.outcome
        assert outcome is not None
        self._done(outcome)
        if decision.served:
            self._reports.served(self._pool, decision.served)

    def repeat(self, result: bytes) -> None:
        # What it has become since (a place was served, say) may not be on disk yet.
        self._reports.look(lambda: self._found(result), self._done)

    def _found(self, result: bytes) -> Lease | Place | KeypegError:
        pool_id, id = result.decode().split()
        pool = self._reports.by_id(pool_id)
        found = None if pool is None else pool.lease(id) or pool.place(id)
        return (
            self._reports.recalled(id)
            or found
            or LeaseExpired(
                "This request was answered before, and what it got has ended; ask with a new request id.",
                request_id=self.request.id if self.request else "",
            )
        )

    def refuse(self, error: KeypegError) -> None:
        self._reports.denied(self._pool, self._ask, error)
        self._done(error)


class Release(PoolOperation):
    """The end of a lease or a place."""

    __slots__ = ("_how", "_id")

    def __init__(
        self,
        reports: Reports,
        pool: Pool,
        id: str,
        done: Callable[[Lease | Place | KeypegError | None], None],
        how: Ending = Ending.RELEASED,
    ) -> None:
        super().__init__(reports, pool, done)
        self._how = how
        self._id = id

    def decide(self) -> Sequence[Change]:
        self._now_us = self._reports.now_us()
        check_not_borrowed(self._pool, self._id)
        if self._pool.freed_of(self._id) is not None:
            self._how = Ending.RECALLED
        linger = self._how in IN_ORDER
        self._decision = self._pool.release(self._id, self._now_us, linger=linger)
        return self._decision.changes

    def records(self) -> Sequence[Entry]:
        return record.of_changes(self._pool, self._decision.changes, self._now_us, self._how)

    def answer(self) -> None:
        self._reports.released(self._id)
        super().answer()


class Extend(PoolOperation):
    """A lease whose holder may believe in it for longer."""

    __slots__ = ("_id", "_valid_for_us")

    def __init__(
        self,
        reports: Reports,
        pool: Pool,
        id: str,
        valid_for_us: int,
        done: Callable[[Lease | KeypegError], None],
    ) -> None:
        super().__init__(reports, pool, done)
        self._id = id
        self._valid_for_us = valid_for_us

    def decide(self) -> Sequence[Change]:
        if self._pool.lease(self._id) is None:
            raise lease_ended(self._pool.lease_prefix + self._id)
        check_not_borrowed(self._pool, self._id)
        self._decision = self._pool.extend(self._id, self._valid_for_us)
        return self._decision.changes

    def records(self) -> Sequence[Entry]:
        return ()  # that a holder goes on is nothing new


class Gone(Operation):
    """The end of all that a session has, in every pool."""

    __slots__ = ("_decisions", "_done", "_how", "_now_us", "_pools", "_reports", "_session")

    def __init__(
        self,
        reports: Reports,
        pools: Sequence[Pool],
        session: str,
        done: Callable[[KeypegError | None], None],
        how: Ending = Ending.CLOSED,
    ) -> None:
        self.request = None
        self._how = how
        self._reports = reports
        self._pools = pools
        self._session = session
        self._done = done
        self._decisions: list[tuple[Pool, Decision]] = []

    def decide(self) -> Sequence[Change]:
        self._now_us = now_us = self._reports.now_us()
        linger = self._how in IN_ORDER
        self._decisions = [
            (pool, pool.gone(self._session, now_us, linger=linger)) for pool in self._pools
        ]
        return [change for _, decision in self._decisions for change in decision.changes]

    def records(self) -> Sequence[Entry]:
        return [
            entry
            for pool, decision in self._decisions
            for entry in record.of_changes(pool, decision.changes, self._now_us, self._how)
        ]

    def parents(self) -> Collection[str]:
        return {pool.account for pool in self._pools}

    def undo(self) -> None:
        for pool, decision in reversed(self._decisions):
            taken_back(self._reports, pool, decision)

    def answer(self) -> None:
        self._done(None)
        for pool, decision in self._decisions:
            follow(self._reports, pool, decision)

    def refuse(self, error: KeypegError) -> None:
        self._done(error)
