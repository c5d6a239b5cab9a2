"""What follows from decisions on pools, once they are on disk: who is told, and what ends later.

Promises: whoever waited and is served hears it, so does whoever has to give back or waits in vain; seats that
linger or are recalled end in their time. Nothing follows for pools that are here no more.

Leaves to others: the decisions (pool_operations.py implements them), telling (the Audience).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Final, TypeVar

from keypeg.errors import KeypegError, LeaseRecalled
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.decision import Ask
from keypeg_server.domain.explain import Sight
from keypeg_server.domain.freed import Freed, recalled
from keypeg_server.domain.lease import Features, Holder, Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_effects import cut
from keypeg_server.domain.pool_shrinking import over
from keypeg_server.domain.pool_shrinking import recalled as no_longer_there
from keypeg_server.domain.record import Ending
from keypeg_server.service import pool_keeping
from keypeg_server.service import pool_operations as operations
from keypeg_server.service.audience import Audience, QueueNews
from keypeg_server.service.commits import Committer
from keypeg_server.service.deadlines import RETRY_PAUSE, Deadlines, server_deadline
from keypeg_server.service.denials import Denials
from keypeg_server.service.holds import Holds
from keypeg_server.service.leaving import Leave
from keypeg_server.service.outlooks import Outlooks
from keypeg_server.service.polls import Polls
from keypeg_server.service.pool_registry import PoolRegistry
from keypeg_server.service.ports import Clock
from keypeg_server.service.recalls import Recalls, denied

_T = TypeVar("_T")


class Aftermath:
    """What operations report to (pool_reports.Reports), and the lists that come of it."""

    def __init__(
        self,
        committer: Committer,
        clock: Clock,
        registry: PoolRegistry,
        alive: Callable[[], bool] = lambda: True,
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._registry = registry
        self.audience: Audience | None = None
        self.holds: Final = Holds(clock, self._ends(Ending.DEADLINE))
        self.recalls: Final = Recalls(clock, self._ends(Ending.RECALLED))
        self.polls: Final = Polls(clock, self._hold, self._leave, alive=alive)
        self.outlooks: Final = Outlooks(clock, self.ends_at)
        self._denials = Denials(lambda entries: committer.submit(pool_keeping.Note(entries)))
        self._queues = QueueNews(lambda: self.audience)
        self._lingering: Deadlines[tuple[Pool, str]] = Deadlines(clock, self._linger_due)

    def ends_at(self, lease: Lease) -> float | None:
        """When a lease ends unless its holder is heard of, on the monotonic clock; None when not known."""
        session = lease.holder.session
        if not session:
            return self.holds.deadline(lease.id)
        return self.audience.ends_at(session) if self.audience is not None else None

    def seen_at(self, lease: Lease) -> float | None:
        """When the holder of a lease was last heard of, on the monotonic clock; None when not since the start."""
        session = lease.holder.session
        if not session:
            return self.holds.seen_at(lease.id)
        return self.audience.seen_at(session) if self.audience is not None else None

    def recall_cut(self, pools: Iterable[Pool]) -> None:
        """Recall what rules and administrators recall; when who holds is known."""
        for pool in pools:
            self._recall_denied(pool)
            for freed in pool.freed:
                self.freed(pool, freed)

    def drop(self, pools: Sequence[Pool]) -> None:
        """These pools are here no more: nothing follows for them."""
        self.holds.drop(pools)
        self.polls.drop(pools)
        self.recalls.drop(pools)
        self._queues.drop(pools)
        self._denials.drop(pools)
        for pool in pools:
            self.outlooks.forget(pool)

    def tick(self) -> None:
        """Look at deadlines now; the timers do so by themselves."""
        self.holds.tick()
        self.polls.tick()
        self._lingering.tick()
        self.recalls.tick()

    def stop(self) -> None:
        """End no lease any more; for the end of the server."""
        self.holds.stop()
        self.polls.stop()
        self._lingering.stop()
        self.recalls.stop()
        self._denials.flush()

    # What operations ask.

    def now_us(self) -> int:
        """The wall clock, for records."""
        return self._clock.wall_us()

    def by_id(self, id: str) -> Pool | None:
        """The pool with this id."""
        return self._registry.by_id(id)

    def sight(self, caller: Caller) -> Sight:
        """What explanations for this caller are made from."""
        return self.outlooks.sight(caller)

    def look(self, read: Callable[[], _T], done: Callable[[_T | KeypegError], None]) -> None:
        """What `read` finds now, told when it is on disk."""
        self._committer.submit(pool_keeping.Look(read, done))

    def recalled(self, id: str) -> LeaseRecalled | None:
        """Why a lease is on its way back; None when it is not."""
        return self.recalls.get(id)

    # What operations tell: it is on disk.

    def released(self, id: str) -> None:
        """A lease has ended."""
        self.holds.ended(id)
        self.recalls.ended(id)

    def served(self, pool: Pool, leases: Sequence[Lease]) -> None:
        """Leases were given to who waited."""
        if self._registry.has(pool):
            for lease in leases:
                if not lease.holder.session:
                    self.polls.served(pool, lease)
                elif self.audience is not None:
                    self.audience.served(pool, lease)

    def queue_moved(self, pool: Pool) -> None:
        """Positions of this queue have changed; whoever waits is told soon."""
        if self._registry.has(pool):
            self._queues.moved(pool)

    def denied(self, pool: Pool, ask: Ask, error: KeypegError) -> None:
        """A request was refused."""
        if self._registry.has(pool):
            self._denials.add(pool, ask.holder, ask.units, ask.features, error, self.now_us())

    def not_admitted(
        self, pool: Pool, holder: Holder, units: int, features: Features, error: KeypegError
    ) -> None:
        """A request was refused for its license, before the pool was asked."""
        if self._registry.has(pool):
            self._denials.add(pool, holder, units, features, error, self.now_us())

    def not_opened(self, account: str, holder: Holder, product: str, error: KeypegError) -> None:
        """A session was refused."""
        if self._registry.serves(account):
            self._denials.add_open(account, holder, product, error, self.now_us())

    def lingering(self, pool: Pool, leases: Sequence[Lease]) -> None:
        """Seats stay with their users from now on."""
        until = self._clock.monotonic() + pool.rules.linger_us / 1e6
        for lease in leases:
            self._lingering.watch((pool, lease.id), until)

    def ruled(self, pool: Pool) -> None:
        """A pool has other rules."""
        if self._registry.has(pool):
            self._recall_denied(pool)
            self._queues.ruled(pool)

    def freed(self, pool: Pool, freed: Freed) -> None:
        """An administrator freed a seat."""
        lease = pool.lease(freed.lease)
        if lease is not None and self._registry.has(pool):
            self._recall(pool, lease, recalled(pool.name, pool.lease_prefix + lease.id, freed))

    def resized(self, pool: Pool) -> None:
        """A pool has another number of seats, or had when its holders came: those above it are recalled."""
        if pool.held > pool.most and self._registry.has(pool):
            for lease in over(pool, lambda id: self.recalls.get(id) is not None):
                self._recall(pool, lease, no_longer_there(pool, lease))

    def refused_place(self, pool: Pool, place: Place, error: KeypegError) -> None:
        """Who waited does so no more."""
        if not place.holder.session:
            self.polls.ended(place.id, error)
        elif self.audience is not None and self._registry.has(pool):
            self.audience.refused(pool, place, error)

    # Inside.

    def _recall_denied(self, pool: Pool) -> None:
        for lease, deny in cut(pool):
            self._recall(pool, lease, denied(pool, lease, deny))

    def _recall(self, pool: Pool, lease: Lease, error: LeaseRecalled) -> None:
        deadline = self.ends_at(lease)
        if deadline is None:
            valid_for = timedelta(microseconds=lease.valid_for_us)
            deadline = server_deadline(self._clock.monotonic(), valid_for)
        added = self.recalls.add(pool, lease, error, deadline)
        if added is not None and lease.holder.session and self.audience is not None:
            self.audience.recalled(pool, lease, added)

    def _ends(
        self, how: Ending
    ) -> Callable[[Pool, str, Callable[[KeypegError | None], None]], None]:
        def end(pool: Pool, id: str, done: Callable[[KeypegError | None], None]) -> None:
            def ended(outcome: Lease | Place | KeypegError | None) -> None:
                done(outcome if isinstance(outcome, KeypegError) else None)

            if self._registry.has(pool):
                self._committer.submit(operations.Release(self, pool, id, ended, how))

        return end

    def _hold(self, pool: Pool, lease: Lease, valid_for: timedelta, since: float | None) -> None:
        asked = since is not None
        self.holds.hold(pool, lease.id, valid_for, since, heard=asked, told=asked)

    def _leave(self, pool: Pool, id: str, done: Callable[[KeypegError | None], None]) -> None:
        """Nobody asks for a place any more."""
        if self._registry.has(pool):
            self._committer.submit(
                Leave(
                    self,
                    pool,
                    id,
                    lambda left: done(left if isinstance(left, KeypegError) else None),
                    Ending.DEADLINE,
                )
            )

    def _linger_due(self, item: tuple[Pool, str], now: float) -> float | None:
        pool, id = item

        def done(error: KeypegError | None) -> None:
            if error is not None:
                self._lingering.watch(item, self._clock.monotonic() + RETRY_PAUSE)

        if self._registry.has(pool):
            self._committer.submit(pool_keeping.Lingered(self, pool, id, done))
        return None
