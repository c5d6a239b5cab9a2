"""The pools of this server: every request for seats, whichever way it came, ends here.

Promises: what is answered is on disk, and what is shown (look) too; a seat goes to another holder only after a
release, the end of its session (`gone`) or the deadline of a lease without a stream. Accounts can be taken
over and given up at any time. One event loop.

Leaves to others: the rules (domain/pool.py), the disk (the committer), which pools are here (pool_registry.py),
what follows from decisions (aftermath.py), deadlines of sessions (ending.py), who may ask (conversation.py,
seats.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Final, TypeVar

from keypeg.errors import KeypegError, LeaseRecalled
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.decision import Ask
from keypeg_server.domain.explain import Sight
from keypeg_server.domain.freed import Freed
from keypeg_server.domain.lease import Features, Holder, Lease, Place
from keypeg_server.domain.pool import QUEUE_LIMIT, Pool
from keypeg_server.domain.pool_effects import Effect
from keypeg_server.domain.pool_rules import PoolRules
from keypeg_server.domain.record import Ending
from keypeg_server.service import freeing, pool_keeping
from keypeg_server.service import pool_operations as operations
from keypeg_server.service.aftermath import Aftermath
from keypeg_server.service.audience import Audience
from keypeg_server.service.commits import Committer, Operation, PoolStore, RequestKey, settled
from keypeg_server.service.events import EventHub
from keypeg_server.service.holdings import Holdings
from keypeg_server.service.lease_ids import LeaseIds
from keypeg_server.service.leaving import Leave
from keypeg_server.service.pool_registry import PoolRegistry
from keypeg_server.service.ports import Clock
from keypeg_server.service.refusals import elsewhere, in_use

_T = TypeVar("_T")
_US: Final = timedelta(microseconds=1)


def always() -> bool:
    """For a server that nobody else can take the place of."""
    return True


class Engine:
    """All pools, and what can be asked of them. `adopt` comes first."""

    def __init__(
        self,
        committer: Committer,
        store: PoolStore,
        clock: Clock,
        hub: EventHub,
        *,
        queue_limit: int = QUEUE_LIMIT,
        user_queue_limit: int = QUEUE_LIMIT,
        random: Callable[[int], bytes] = os.urandom,
        alive: Callable[[], bool] = always,
    ) -> None:
        """`alive` says whether nobody else can have taken this server's accounts by now.

        It is asked at the moment an answer lets a holder believe longer.
        """
        self.alive: Final = alive
        self._committer = committer
        self._clock = clock
        self._ids = LeaseIds(random)
        self.heard: Final[list[Callable[[Pool], None]]] = []  # who hears of each pool that is read
        self.pools: Final = PoolRegistry(
            store,
            hub,
            self._came,
            self._gone,
            queue_limit=queue_limit,
            user_queue_limit=user_queue_limit,
        )
        self.aftermath: Final = Aftermath(committer, clock, self.pools, alive)
        self.holdings: Final = Holdings(self.aftermath.recalls)

    @property
    def audience(self) -> Audience | None:
        """Who hears what befalls sessions."""
        return self.aftermath.audience

    @audience.setter
    def audience(self, audience: Audience) -> None:
        self.aftermath.audience = audience

    # Accounts and pools that come and go.

    async def adopt(self, account: str | None = None) -> list[Pool]:
        """Take over the pools of an account (of all when none is named) as they are on disk.

        Leases without a stream get their full time again. What rules and administrators recall is not recalled
        yet: `aftermath.recall_cut` does, when it is known who is there. ServerDraining when the account was
        abandoned meanwhile.
        """
        return await self.pools.adopt(account)

    def abandon(self, account: str) -> set[str]:
        """Drop the pools of an account from memory, at once: nothing is written, nobody is told.

        The sessions (ids) that had to do with them. Operations that are with the disk end as it says.
        """
        dropped = self.pools.abandon(account)
        self.aftermath.drop(dropped)
        return self.holdings.dropped(dropped)

    async def present(self, pools: Iterable[str], caller: Caller | None = None) -> None:
        """See to it that pools that were just created are there; one that a caller does not see, they wait for as long."""
        if caller is None:
            await self.pools.present(pools)
        else:
            await self.pools.present(pools, caller.sees_account)

    async def retire(self, pools: Sequence[str]) -> None:
        """Give out no more seats of these pools; PoolRule, with who is in the way, when they are in use."""
        found = [pool for name in pools if (pool := self.pool(name)) is not None]

        def retire() -> None:
            for pool in found:
                if pool.in_use:
                    raise in_use(pool)
            for pool in found:
                pool.retired = True

        def look(done: Callable[[KeypegError | None], None]) -> Operation:
            return pool_keeping.Look(retire, done, undo=lambda: self.restore(pools))

        await self._ended(look)

    def restore(self, pools: Sequence[str]) -> None:
        """Give out seats of retired pools again."""
        for name in pools:
            if (pool := self.pool(name)) is not None:
                pool.retired = False

    def pool(self, name: str) -> Pool | None:
        """The pool of this name; FieldInvalid when it is no pool's name, ServerDraining when it is elsewhere."""
        return self.pools.get(name)

    def by_id(self, id: str) -> Pool | None:
        """The pool with this id; ServerDraining when it is elsewhere."""
        return self.pools.by_id(id)

    def pools_of_account(self, account: str) -> list[Pool]:
        """All pools of an account, by id."""
        return self.pools.of_account(account)

    # Requests.

    def now_us(self) -> int:
        """The wall clock, for records."""
        return self.aftermath.now_us()

    def clock_us(self) -> int:
        """The monotonic clock, for the order of queues."""
        return int(self._clock.monotonic() * 1e6)

    def acquire(
        self,
        pool: Pool,
        holder: Holder,
        caller: Caller,
        units: int,
        features: Features,
        *,
        wait: bool,
        priority: int,
        valid_for_us: int,
        request: RequestKey | None,
        done: Callable[[Lease | Place | KeypegError], None],
    ) -> None:
        """Seats or, when it may wait, a place; `done` hears which, or the refusal."""
        ask = Ask(
            self._ids.new(self.now_us()),
            holder,
            units,
            features,
            wait,
            priority,
            valid_for_us,
            "" if request is None else request.id,
            self.clock_us(),
        )
        if holder.session and self.pools.has(pool):
            self.holdings.asked(holder.session, pool)
        self._submit(pool, operations.Acquire(self.aftermath, pool, ask, caller, request, done))

    def release(
        self,
        pool: Pool,
        id: str,
        done: Callable[[Lease | Place | KeypegError | None], None],
        how: Ending = Ending.RELEASED,
    ) -> None:
        """The end of a lease or place; `done` hears what it was, None when it was none."""
        self._submit(pool, operations.Release(self.aftermath, pool, id, done, how))

    def leave(
        self, pool: Pool, id: str, done: Callable[[Lease | Place | KeypegError | None], None]
    ) -> None:
        """The end of a place, and of no lease; `done` hears what it was, None when it was none."""
        self._submit(pool, Leave(self.aftermath, pool, id, done))

    def extend(
        self, pool: Pool, id: str, valid_for_us: int, done: Callable[[Lease | KeypegError], None]
    ) -> None:
        """A lease whose holder may believe in it for longer."""
        self._submit(pool, operations.Extend(self.aftermath, pool, id, valid_for_us, done))

    def gone(
        self,
        session: str,
        done: Callable[[KeypegError | None], None],
        how: Ending = Ending.CLOSED,
    ) -> None:
        """The end of all that a session has."""
        pools = self.holdings.asked_of(session)
        self._committer.submit(operations.Gone(self.aftermath, pools, session, done, how))

    async def set_rules(self, pool: Pool, rules: PoolRules, etag: str, by: str) -> list[Effect]:
        """Other rules for a pool, from now on; what they change for whom. ChangedMeanwhile by its etag."""
        return await settled(
            lambda done: self._submit(
                pool, pool_keeping.SetRules(self.aftermath, pool, rules, etag, by, done)
            )
        )

    async def free(self, pool: Pool, freed: Freed, request: RequestKey) -> int:
        """A seat is to be given back; until when its user stays away, 0 for no time."""
        return await settled(
            lambda done: self._submit(
                pool, freeing.Free(self.aftermath, pool, freed, request, done)
            )
        )

    def look(self, read: Callable[[], _T], done: Callable[[_T | KeypegError], None]) -> None:
        """What `read` finds now, told when it is on disk."""
        self._committer.submit(pool_keeping.Look(read, done))

    async def looked(self, read: Callable[[], _T]) -> _T:
        """What `read` finds now, when it is on disk."""
        return await self._ended(lambda done: pool_keeping.Look(read, done))

    def carry(self, pool: Pool, operation: Operation) -> None:
        """Submit an operation of another module on a pool; refused when the pool is here no more."""
        self._submit(pool, operation)

    # Leases without a stream.

    def hold(self, pool: Pool, lease: Lease, valid_for: timedelta) -> None:
        """Its holder may believe in this lease for `valid_for` from now; never less than before."""
        if self.pools.has(pool):
            self.aftermath.holds.hold(pool, lease.id, valid_for)

    def held(self, id: str) -> bool:
        """Whether a lease without a stream is within its deadline."""
        return self.aftermath.holds.held(id)

    def overdue(self, id: str) -> bool:
        """Whether a lease without a stream is past its deadline, though it may not have ended yet."""
        return self.aftermath.holds.overdue(id)

    def recalled(self, id: str) -> LeaseRecalled | None:
        """Why a lease is on its way back; None when it is not."""
        return self.aftermath.recalled(id)

    # Explaining, and the end.

    def sight(self, caller: Caller) -> Sight:
        """What explanations for this caller are made from."""
        return self.aftermath.sight(caller)

    def tick(self) -> None:
        """Look at deadlines now; the timers do so by themselves."""
        self.aftermath.tick()

    def stop(self) -> None:
        """End no lease any more; for the end of the server."""
        self.aftermath.stop()

    # Inside.

    def _came(self, pool: Pool) -> None:
        self.holdings.came(pool)
        for lease in pool.leases():
            if not lease.holder.session and not lease.borrowed_until_us:
                valid_for = lease.valid_for_us * _US
                self.aftermath.holds.hold(pool, lease.id, valid_for, heard=False)
        self.aftermath.polls.came(pool)

        for came in self.heard:
            came(pool)

    def _gone(self, pool: Pool) -> None:
        self.aftermath.outlooks.forget(pool)

    def _submit(self, pool: Pool, operation: Operation) -> None:
        if (
            self.pools.has(pool) or pool.retired
        ):  # a retired one has no seats, and refuses by itself
            self._committer.submit(operation)
        else:
            operation.refuse(elsewhere(pool.account))

    async def _ended(
        self, operation: Callable[[Callable[[_T | KeypegError], None]], Operation]
    ) -> _T:
        return await settled(lambda done: self._committer.submit(operation(done)))
