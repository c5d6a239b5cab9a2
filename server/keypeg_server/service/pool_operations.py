"""The operations on pools that go through the committer: take, give back, extend, end, look.

Promises: each keeps to service/commits.py, and calls its `done` exactly once.

Leaves to others: what follows from them (pools.py), the rules (domain/pool.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from keypeg.errors import ChangedMeanwhile, KeypegError, LeaseExpired
from keypeg_server.domain import explain, record
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.decision import Ask, Change, Decision
from keypeg_server.domain.freed import Freed
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_effects import Effect, effects
from keypeg_server.domain.pool_rules import PoolRules
from keypeg_server.domain.record import Ending, Entry
from keypeg_server.service.commits import Operation, RequestKey

_T = TypeVar("_T")

IN_ORDER: Final = frozenset((Ending.RELEASED, Ending.CLOSED))  # ends after which a seat may linger


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
    def refused_place(self, pool: Pool, place: Place, error: KeypegError) -> None: ...


class Acquire(Operation):
    """Seats, or a place in the queue."""

    __slots__ = ("_ask", "_caller", "_decision", "_done", "_now_us", "_pool", "_reports")

    def __init__(
        self,
        reports: Reports,
        pool: Pool,
        ask: Ask,
        caller: Caller,
        request: RequestKey | None,
        done: Callable[[Lease | Place | KeypegError], None],
    ) -> None:
        self.request = request
        self._reports = reports
        self._pool = pool
        self._ask = ask
        self._caller = caller
        self._done = done

    def decide(self) -> Sequence[Change]:
        ask = self._ask
        self._now_us = self._reports.now_us()
        try:
            self._decision = self._pool.acquire(ask, self._now_us)
        except KeypegError as error:
            sight = self._reports.sight(self._caller)
            raise explain.refused(self._pool, ask, error, sight) from None
        return self._decision.changes

    def records(self) -> Sequence[Entry]:
        return record.of_changes(self._pool, self._decision.changes, self._now_us)

    def undo(self) -> None:
        self._pool.undo(self._decision.changes)
        if self._decision.queue_moved or self._decision.served:
            self._reports.queue_moved(self._pool)

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


class Release(Operation):
    """The end of a lease or a place."""

    __slots__ = ("_decision", "_done", "_how", "_id", "_now_us", "_pool", "_reports")

    def __init__(
        self,
        reports: Reports,
        pool: Pool,
        id: str,
        done: Callable[[Lease | Place | KeypegError | None], None],
        how: Ending = Ending.RELEASED,
    ) -> None:
        self.request = None
        self._how = how
        self._reports = reports
        self._pool = pool
        self._id = id
        self._done = done

    def decide(self) -> Sequence[Change]:
        self._now_us = self._reports.now_us()
        if self._pool.freed_of(self._id) is not None:
            self._how = Ending.RECALLED
        linger = self._how in IN_ORDER
        self._decision = self._pool.release(self._id, self._now_us, linger=linger)
        return self._decision.changes

    def records(self) -> Sequence[Entry]:
        return record.of_changes(self._pool, self._decision.changes, self._now_us, self._how)

    def undo(self) -> None:
        self._pool.undo(self._decision.changes)
        if self._decision.queue_moved or self._decision.served:
            self._reports.queue_moved(self._pool)

    def answer(self) -> None:
        decision = self._decision
        self._reports.released(self._id)
        self._done(decision.outcome)
        follow(self._reports, self._pool, decision)

    def refuse(self, error: KeypegError) -> None:
        self._done(error)


class Extend(Operation):
    """A lease whose holder may believe in it for longer."""

    __slots__ = ("_decision", "_done", "_id", "_pool", "_valid_for_us")

    def __init__(
        self,
        pool: Pool,
        id: str,
        valid_for_us: int,
        done: Callable[[Lease | KeypegError], None],
    ) -> None:
        self.request = None
        self._pool = pool
        self._id = id
        self._valid_for_us = valid_for_us
        self._done = done

    def decide(self) -> Sequence[Change]:
        if self._pool.lease(self._id) is None:
            raise lease_ended(self._pool.lease_prefix + self._id)
        self._decision = self._pool.extend(self._id, self._valid_for_us)
        return self._decision.changes

    def undo(self) -> None:
        self._pool.undo(self._decision.changes)

    def answer(self) -> None:
        assert isinstance(self._decision.outcome, Lease)
        self._done(self._decision.outcome)

    def refuse(self, error: KeypegError) -> None:
        self._done(error)


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

    def undo(self) -> None:
        for pool, decision in reversed(self._decisions):
            pool.undo(decision.changes)
            if decision.queue_moved or decision.served:
                self._reports.queue_moved(pool)

    def answer(self) -> None:
        self._done(None)
        for pool, decision in self._decisions:
            follow(self._reports, pool, decision)

    def refuse(self, error: KeypegError) -> None:
        self._done(error)


class Lingered(Operation):
    """The end of a seat's lingering."""

    __slots__ = ("_decision", "_done", "_id", "_now_us", "_pool", "_reports")

    def __init__(
        self,
        reports: Reports,
        pool: Pool,
        id: str,
        done: Callable[[KeypegError | None], None],
    ) -> None:
        self.request = None
        self._reports = reports
        self._pool = pool
        self._id = id
        self._done = done

    def decide(self) -> Sequence[Change]:
        self._now_us = self._reports.now_us()
        self._decision = self._pool.lingered(self._id, self._now_us)
        return self._decision.changes

    def records(self) -> Sequence[Entry]:
        return record.of_changes(self._pool, self._decision.changes, self._now_us)

    def undo(self) -> None:
        self._pool.undo(self._decision.changes)
        if self._decision.queue_moved or self._decision.served:
            self._reports.queue_moved(self._pool)

    def answer(self) -> None:
        self._done(None)
        follow(self._reports, self._pool, self._decision)

    def refuse(self, error: KeypegError) -> None:
        self._done(error)


class SetRules(Operation):
    """Other rules for a pool; ChangedMeanwhile when it has not those that the asker has seen."""

    __slots__ = (
        "_by",
        "_decision",
        "_done",
        "_effects",
        "_etag",
        "_now_us",
        "_pool",
        "_reports",
        "_rules",
    )

    def __init__(
        self,
        reports: Reports,
        pool: Pool,
        rules: PoolRules,
        etag: str,
        by: str,
        done: Callable[[list[Effect] | KeypegError], None],
    ) -> None:
        self.request = None
        self._reports = reports
        self._pool = pool
        self._rules = rules
        self._etag = etag
        self._by = by
        self._done = done

    def decide(self) -> Sequence[Change]:
        pool, rules = self._pool, self._rules
        self._now_us = self._reports.now_us()
        self._decision = Decision(None, [], [], False)
        self._effects: list[Effect] = []
        if pool.rules == rules:  # the same request again
            return ()
        check_etag(pool, self._etag)
        self._effects = effects(pool, rules, self._now_us)
        self._decision = pool.set_rules(rules, self._now_us)
        return self._decision.changes

    def records(self) -> Sequence[Entry]:
        if not self._decision.changes:
            return ()
        said = record.about(
            self._pool.account,
            "pool_rules",
            self._now_us,
            pool=self._pool.id,
            by=self._by,
            rules=json.loads(self._rules.to_json() or "{}"),
        )
        return [said, *record.of_changes(self._pool, self._decision.changes, self._now_us)]

    def undo(self) -> None:
        self._pool.undo(self._decision.changes)
        self._reports.queue_moved(self._pool)

    def answer(self) -> None:
        self._done(self._effects)
        follow(self._reports, self._pool, self._decision)
        if self._decision.changes:
            self._reports.ruled(self._pool)

    def refuse(self, error: KeypegError) -> None:
        self._done(error)


class Note(Operation):
    """Records of the log that change nothing else."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.request = None
        self._entries = entries

    def decide(self) -> Sequence[Change]:
        return ()

    def records(self) -> Sequence[Entry]:
        return self._entries

    def undo(self) -> None:
        pass

    def answer(self) -> None:
        pass

    def refuse(self, error: KeypegError) -> None:
        """The disk is away, and its log says so; the next refusal of the kind is recorded again."""


class Look(Operation, Generic[_T]):
    """What is there, told when it is on disk; `undo` takes back what `read` may have set."""

    __slots__ = ("_done", "_found", "_read", "_undo")

    def __init__(
        self,
        read: Callable[[], _T],
        done: Callable[[_T | KeypegError], None],
        undo: Callable[[], None] | None = None,
    ) -> None:
        self.request = None
        self._read = read
        self._done = done
        self._undo = undo

    def decide(self) -> Sequence[Change]:
        self._found = self._read()
        return ()

    def undo(self) -> None:
        if self._undo is not None:
            self._undo()

    def answer(self) -> None:
        self._done(self._found)

    def refuse(self, error: KeypegError) -> None:
        self._done(error)


def check_etag(pool: Pool, etag: str) -> None:
    """ChangedMeanwhile when a pool has other rules than those with this etag; empty for any."""
    if etag and etag != pool.rules.etag:
        raise ChangedMeanwhile(
            f"The rules of {pool.name} have changed since they were read; read them again, and change those.",
            resource=pool.name,
            etag=pool.rules.etag,
        )


def lease_ended(name: str) -> LeaseExpired:
    """The refusal for a lease that has run out or was released."""
    return LeaseExpired(f"{name} has run out or was released; acquire a new one.", lease=name)


def follow(reports: Reports, pool: Pool, decision: Decision) -> None:
    """Tell what else came of a decision that is on disk."""
    if decision.lingering:
        reports.lingering(pool, decision.lingering)
    if decision.served:
        reports.served(pool, decision.served)
    if decision.queue_moved:
        reports.queue_moved(pool)
