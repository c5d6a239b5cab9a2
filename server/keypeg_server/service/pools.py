"""The pools of this server: every request for seats, whichever way it came, ends here.

Promises: what is answered is on disk, and what is shown (look) too; a seat goes to another holder only after a
release, the end of its session (`gone`) or the deadline of a lease without a stream. Pools come and go with
their events. One event loop.

Leaves to others: the rules (domain/pool.py), the disk (the committer), deadlines of sessions (sessions.py),
who may ask (sessions.py, seats.py).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Final, Protocol, TypeVar

from keypeg import names
from keypeg.errors import KeypegError, LeaseRecalled, NotFound, PoolRule
from keypeg.ids import RANDOM_BYTES, id_text, uuid7
from keypeg.v1 import error_pb2, explanation_pb2
from keypeg_server.clock import to_us
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.decision import Ask
from keypeg_server.domain.events import PoolCreated, PoolRemoved
from keypeg_server.domain.explain import Sight
from keypeg_server.domain.freed import Freed, recalled
from keypeg_server.domain.lease import Features, Holder, Lease, Place
from keypeg_server.domain.outlook import EXAMINED, Outlook
from keypeg_server.domain.pool import QUEUE_LIMIT, Pool
from keypeg_server.domain.pool_effects import Effect, cut
from keypeg_server.domain.pool_rules import PoolRules
from keypeg_server.domain.record import Ending, Entry
from keypeg_server.service import freeing
from keypeg_server.service import pool_operations as operations
from keypeg_server.service.commits import (
    Committer,
    Operation,
    PoolStore,
    RequestKey,
    StoredPool,
    settled,
)
from keypeg_server.service.deadlines import Deadlines
from keypeg_server.service.denials import Denials
from keypeg_server.service.events import EventHub
from keypeg_server.service.ports import Clock
from keypeg_server.service.recalls import Recalls, denied

_T = TypeVar("_T")

HOLDERS_NAMED: Final = 10  # in a refusal to retire a pool
POSITIONS_PAUSE: Final = (
    0.02  # seconds: a queue that moves often is told so at most 50 times a second
)
SPARE_BYTES: Final = 512 * RANDOM_BYTES
OUTLOOK_KEPT: Final = 0.1  # seconds for which a pool's outlook serves every refusal
RETRY_PAUSE: Final = 1.0  # seconds, after the disk refused to take an end


def server_deadline(now: float, valid_for: timedelta) -> float:
    """Until when the server keeps what it granted now.

    The holder counts `valid_for` from before it asked, on its own clock: 1 % for that clock's rate, 1 s for
    everything else.
    """
    return now + valid_for.total_seconds() * 1.01 + 1.0


class Audience(Protocol):
    """Who hears what befalls the sessions that hold and wait."""

    def ends_at(self, session: str) -> float | None:
        """When a session's time runs out unless it renews, on the monotonic clock; None when not known."""
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


class Hold:
    """The deadline of a lease without a stream."""

    __slots__ = ("deadline", "id", "pool")

    def __init__(self, pool: Pool, id: str, deadline: float) -> None:
        self.pool = pool
        self.id = id
        self.deadline = deadline


class Engine:
    """All pools, and what can be asked of them. `load` comes first."""

    def __init__(
        self,
        committer: Committer,
        store: PoolStore,
        clock: Clock,
        hub: EventHub,
        *,
        queue_limit: int = QUEUE_LIMIT,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._committer = committer
        self._store = store
        self._clock = clock
        self._queue_limit = queue_limit
        self._random = random
        self._spare = b""  # randomness for ids: asking the system each time costs more than the id
        self._spare_at = 0
        self._pools: dict[str, Pool] = {}
        self._pools_of: dict[str, set[Pool]] = {}  # by session
        self._holds: dict[str, Hold] = {}  # by lease
        self._deadlines: Deadlines[Hold] = Deadlines(clock, self._hold_due)
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._moved: set[Pool] = set()
        self._told_again: set[Pool] = set()  # whose rules have changed
        self._lingering: Deadlines[tuple[Pool, str]] = Deadlines(clock, self._linger_due)
        self._recalls = Recalls(clock, self._end_recalled)
        self._outlooks: dict[Pool, tuple[tuple[int, ...], Outlook]] = {}
        self._denials = Denials(self.note)
        self.audience: Audience | None = None
        hub.subscribe(PoolCreated, self._created)
        hub.subscribe(PoolRemoved, self._removed)

    # Pools that come and go.

    async def load(self) -> None:
        """Take over what is on disk; leases without a stream get their full time again."""
        for stored in await self._store.load():
            self._add(stored)

    async def present(self, pools: Iterable[str]) -> None:
        """See to it that pools that were just created are there."""
        for name in pools:
            (id,) = names.POOL.parse(name)
            if id not in self._pools:
                await self._fetch(id)

    async def retire(self, pools: Sequence[str]) -> None:
        """Give out no more seats of these pools; PoolRule, with who is in the way, when they are in use."""
        found = [pool for name in pools if (pool := self.pool(name)) is not None]

        def retire() -> None:
            for pool in found:
                if pool.in_use:
                    raise _in_use(pool)
            for pool in found:
                pool.retired = True

        def look(done: Callable[[KeypegError | None], None]) -> Operation:
            return operations.Look(retire, done, undo=lambda: self.restore(pools))

        await self._ended(look)

    def restore(self, pools: Sequence[str]) -> None:
        """Give out seats of retired pools again."""
        for name in pools:
            if (pool := self.pool(name)) is not None:
                pool.retired = False

    def pool(self, name: str) -> Pool | None:
        """The pool of this name; FieldInvalid when it is no pool's name."""
        return self._pools.get(names.POOL.parse(name)[0])

    def by_id(self, id: str) -> Pool | None:
        """The pool with this id."""
        return self._pools.get(id)

    def pools_of_account(self, account: str) -> list[Pool]:
        """All pools of an account, by id."""
        return sorted(
            (pool for pool in self._pools.values() if pool.account == account),
            key=lambda pool: pool.id,
        )

    # Sessions.

    def holders(self) -> dict[str, list[Lease | Place]]:
        """All that sessions hold and wait for, by session."""
        found: dict[str, list[Lease | Place]] = {}
        for session in self._pools_of:
            leases, places = self.holdings(session)
            if leases or places:
                found[session] = [*leases, *places]
        return found

    def holdings(self, session: str) -> tuple[list[Lease], list[Place]]:
        """What a session holds and waits for, as decided; through `look` what is on disk."""
        leases: list[Lease] = []
        places: list[Place] = []
        for pool in self._pools_of.get(session, ()):
            held, waiting = pool.of_session(session)
            leases += held
            places += waiting
        if self._recalls:
            leases = [lease for lease in leases if self._recalls.get(lease.id) is None]
        return leases, places

    def count(self, session: str) -> int:
        """How many leases and places a session has."""
        return sum(pool.count_of_session(session) for pool in self._pools_of.get(session, ()))

    def pools_of(self, session: str) -> tuple[str, ...]:
        """The pools (names) of which a session has seats or waits for some."""
        return tuple(
            pool.name for pool in self._pools_of.get(session, ()) if pool.count_of_session(session)
        )

    def knows(self, session: str) -> bool:
        """Whether a session ever asked for a seat: if not, it has none, on disk neither."""
        return session in self._pools_of

    def forget(self, session: str) -> None:
        """A session is gone, and nothing of it is left."""
        self._pools_of.pop(session, None)

    # Requests.

    def new_id(self) -> str:
        """An id for a lease or a place."""
        at = self._spare_at
        if at >= len(self._spare):
            self._spare, at = self._random(SPARE_BYTES), 0
        self._spare_at = at + RANDOM_BYTES
        return id_text(uuid7(self.now_us(), self._spare[at : at + RANDOM_BYTES]))

    def now_us(self) -> int:
        """The wall clock, for records."""
        return to_us(self._clock.wall())

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
        request_id = "" if request is None else request.id
        ask = Ask(
            self.new_id(),
            holder,
            units,
            features,
            wait,
            priority,
            valid_for_us,
            request_id,
            self.clock_us(),
        )
        session = holder.session
        if session:
            pools = self._pools_of.get(session)
            if pools is None:
                self._pools_of[session] = {pool}
            else:
                pools.add(pool)
        self._committer.submit(operations.Acquire(self, pool, ask, caller, request, done))

    def release(
        self,
        pool: Pool,
        id: str,
        done: Callable[[Lease | Place | KeypegError | None], None],
        how: Ending = Ending.RELEASED,
    ) -> None:
        """The end of a lease or place; `done` hears what it was, None when it was none."""
        self._committer.submit(operations.Release(self, pool, id, done, how))

    def extend(
        self, pool: Pool, id: str, valid_for_us: int, done: Callable[[Lease | KeypegError], None]
    ) -> None:
        """A lease whose holder may believe in it for longer."""
        self._committer.submit(operations.Extend(pool, id, valid_for_us, done))

    def gone(
        self,
        session: str,
        done: Callable[[KeypegError | None], None],
        how: Ending = Ending.CLOSED,
    ) -> None:
        """The end of all that a session has."""
        pools = tuple(self._pools_of.get(session, ()))
        self._committer.submit(operations.Gone(self, pools, session, done, how))

    async def set_rules(self, pool: Pool, rules: PoolRules, etag: str, by: str) -> list[Effect]:
        """Other rules for a pool, from now on; what they change for whom. ChangedMeanwhile by its etag."""
        return await self._ended(
            lambda done: operations.SetRules(self, pool, rules, etag, by, done)
        )

    async def free(self, pool: Pool, freed: Freed, request: RequestKey) -> int:
        """A seat is to be given back; until when its user stays away, 0 for no time."""
        return await self._ended(lambda done: freeing.Free(self, pool, freed, request, done))

    def note(self, entries: Sequence[Entry]) -> None:
        """Records for the log, of what changes no pool."""
        self._committer.submit(operations.Note(entries))

    def look(self, read: Callable[[], _T], done: Callable[[_T | KeypegError], None]) -> None:
        """What `read` finds now, told when it is on disk."""
        self._committer.submit(operations.Look(read, done))

    async def looked(self, read: Callable[[], _T]) -> _T:
        """What `read` finds now, when it is on disk."""
        return await self._ended(lambda done: operations.Look(read, done))

    # Explaining.

    def sight(self, caller: Caller) -> Sight:
        """What explanations for this caller are made from."""
        return Sight(caller, self.outlook)

    def outlook(self, pool: Pool) -> Outlook | None:
        """When its seats may come free; None for a pool with very many leases. As of a moment ago at most."""
        if pool.lease_count > EXAMINED:
            return None
        now, wall_us = self._clock.monotonic(), self.now_us()
        as_of = (int(now / OUTLOOK_KEPT), pool.fencing_number, pool.held, pool.lease_count)
        kept = self._outlooks.get(pool)
        if kept is not None and kept[0] == as_of:
            return kept[1]

        def ends_at(lease: Lease) -> int | None:
            session = lease.holder.session
            if session:
                deadline = self.audience.ends_at(session) if self.audience is not None else None
            else:
                hold = self._holds.get(lease.id)
                deadline = None if hold is None else hold.deadline
            return None if deadline is None else wall_us + round((deadline - now) * 1e6)

        made = Outlook(pool.leases(), ends_at)
        self._outlooks[pool] = as_of, made
        return made

    def clock_us(self) -> int:
        """The monotonic clock, for the order of queues."""
        return int(self._clock.monotonic() * 1e6)

    # Leases without a stream.

    def hold(self, pool: Pool, lease: Lease, valid_for: timedelta) -> None:
        """Its holder may believe in this lease for `valid_for` from now; never less than before."""
        deadline = server_deadline(self._clock.monotonic(), valid_for)
        hold = self._holds.get(lease.id)
        if hold is None:
            self._holds[lease.id] = hold = Hold(pool, lease.id, deadline)
            self._deadlines.watch(hold, deadline)
        hold.deadline = max(hold.deadline, deadline)

    def held(self, id: str) -> bool:
        """Whether a lease without a stream is within its deadline."""
        return id in self._holds and not self.overdue(id)

    def overdue(self, id: str) -> bool:
        """Whether a lease without a stream is past its deadline, though it may not have ended yet."""
        hold = self._holds.get(id)
        return hold is not None and self._clock.monotonic() >= hold.deadline

    def stop(self) -> None:
        """End no lease any more; for the end of the server."""
        self._deadlines.stop()
        self._lingering.stop()
        self._recalls.stop()
        self._denials.flush()

    def tick(self) -> None:
        """Look at deadlines now; the timer does so by itself."""
        self._deadlines.tick()
        self._lingering.tick()
        self._recalls.tick()

    def _hold_due(self, hold: Hold, now: float) -> float | None:
        if self._holds.get(hold.id) is not hold:
            return None  # released
        if now < hold.deadline:
            return hold.deadline

        def done(ended: Lease | Place | KeypegError | None) -> None:
            if isinstance(ended, KeypegError):
                self._deadlines.watch(hold, self._clock.monotonic() + RETRY_PAUSE)

        self.release(hold.pool, hold.id, done, Ending.DEADLINE)
        return None

    # What operations report.

    def released(self, id: str) -> None:
        """A lease has ended; that is on disk."""
        self._holds.pop(id, None)
        self._recalls.ended(id)

    def lingering(self, pool: Pool, leases: Sequence[Lease]) -> None:
        """Seats stay with their users from now on; that is on disk."""
        until = self._clock.monotonic() + pool.rules.linger_us / 1e6
        for lease in leases:
            self._lingering.watch((pool, lease.id), until)

    def ruled(self, pool: Pool) -> None:
        """A pool has other rules; that is on disk."""
        for lease, deny in cut(pool):
            self._recall(pool, lease, denied(pool, lease, deny))
        self._told_again.add(pool)
        self.queue_moved(pool)

    def recalled(self, id: str) -> LeaseRecalled | None:
        """Why a lease is on its way back; None when it is not."""
        return self._recalls.get(id)

    def recall_cut(self) -> None:
        """Recall what rules and administrators recall; after a start, when who holds is known."""
        for pool in self._pools.values():
            for lease, deny in cut(pool):
                self._recall(pool, lease, denied(pool, lease, deny))
            for freed in pool.freed:
                self.freed(pool, freed)

    def recalled_of(self, session: str) -> list[tuple[Pool, str, LeaseRecalled]]:
        """What a session has to give back, by the ids of leases, and why."""
        return self._recalls.of_session(session) if self._recalls else []

    def freed(self, pool: Pool, freed: Freed) -> None:
        """An administrator freed a seat; that is on disk."""
        lease = pool.lease(freed.lease)
        if lease is not None:
            self._recall(pool, lease, recalled(pool.name, pool.lease_prefix + lease.id, freed))

    def refused_place(self, pool: Pool, place: Place, error: KeypegError) -> None:
        """Who waited does so no more; that is on disk."""
        if self.audience is not None:
            self.audience.refused(pool, place, error)

    def _recall(self, pool: Pool, lease: Lease, error: LeaseRecalled) -> None:
        now = self._clock.monotonic()
        hold = self._holds.get(lease.id)
        if hold is not None:
            deadline: float | None = hold.deadline
        elif self.audience is not None:
            deadline = self.audience.ends_at(lease.holder.session)
        else:
            deadline = None
        if deadline is None:
            deadline = server_deadline(now, timedelta(microseconds=lease.valid_for_us))
        added = self._recalls.add(pool, lease, error, deadline)
        if added is not None and lease.holder.session and self.audience is not None:
            self.audience.recalled(pool, lease, added)

    def _end_recalled(
        self, pool: Pool, id: str, done: Callable[[KeypegError | None], None]
    ) -> None:
        self.release(
            pool,
            id,
            lambda ended: done(ended if isinstance(ended, KeypegError) else None),
            Ending.RECALLED,
        )

    def _linger_due(self, item: tuple[Pool, str], now: float) -> float | None:
        pool, id = item

        def done(error: KeypegError | None) -> None:
            if error is not None:
                self._lingering.watch(item, self._clock.monotonic() + RETRY_PAUSE)

        self._committer.submit(operations.Lingered(self, pool, id, done))
        return None

    def served(self, pool: Pool, leases: Sequence[Lease]) -> None:
        """Leases were given to who waited; that is on disk."""
        if self.audience is not None:
            for lease in leases:
                self.audience.served(pool, lease)

    def denied(self, pool: Pool, ask: Ask, error: KeypegError) -> None:
        """A request was refused."""
        self._denials.add(pool, ask.holder, ask.units, ask.features, error, self.now_us())

    def queue_moved(self, pool: Pool) -> None:
        """Positions of this queue have changed; whoever waits is told soon."""
        if not self._moved:
            asyncio.get_running_loop().call_later(POSITIONS_PAUSE, self._tell_positions)
        self._moved.add(pool)

    def _tell_positions(self) -> None:
        moved, self._moved = self._moved, set()
        again, self._told_again = self._told_again, set()
        if self.audience is not None:
            for pool in moved:
                for position, place in enumerate(pool.queue(), 1):
                    self.audience.moved(pool, place, position, again=pool in again)

    # Inside.

    def _add(self, stored: StoredPool) -> None:
        pool = Pool(
            stored.id,
            account=stored.account,
            product=stored.product,
            activation=stored.activation,
            capacity=stored.seat_count,
            feature_capacity=stored.features,
            fencing_number=stored.fencing_number,
            queue_limit=self._queue_limit,
            rules=stored.rules,
            freed=stored.freed,
        )
        pool.restore(stored.leases, stored.places)
        self._pools[pool.id] = pool
        for session in pool.sessions():
            self._pools_of.setdefault(session, set()).add(pool)
        for lease in stored.leases:
            if not lease.holder.session:
                self.hold(pool, lease, timedelta(microseconds=lease.valid_for_us))

    def _created(self, event: PoolCreated) -> None:
        (id,) = names.POOL.parse(event.pool)
        if id not in self._pools:
            self._fetch(id)

    def _removed(self, event: PoolRemoved) -> None:
        pool = self._pools.pop(names.POOL.parse(event.pool)[0], None)
        if pool is not None:
            pool.retired = True
            self._outlooks.pop(pool, None)

    def _fetch(self, id: str) -> asyncio.Task[None]:
        """Read a pool from disk; one reading at a time."""
        task = self._loading.get(id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._read(id))
            self._loading[id] = task
            task.add_done_callback(lambda _: self._loading.pop(id, None))
        return task

    async def _read(self, id: str) -> None:
        for stored in await self._store.load(id):
            if stored.id not in self._pools:
                self._add(stored)

    async def _ended(
        self, operation: Callable[[Callable[[_T | KeypegError], None]], Operation]
    ) -> _T:
        return await settled(lambda done: self._committer.submit(operation(done)))


def no_pool(name: str) -> NotFound:
    """The refusal for a pool that is not there, or not the caller's."""
    return NotFound(
        f"There is no pool {name} that you can use; list the pools of your account.", resource=name
    )


def _in_use(pool: Pool) -> PoolRule:
    held, waiting = pool.held, pool.waiting
    sentence = (
        f"{pool.name} is in use: {held} of its seats are held and {waiting} wait; "
        "end those sessions first."
    )
    explanation = explanation_pb2.Explanation(
        reason=error_pb2.REASON_POOL_RULE,
        sentence=sentence,
        metadata={
            "pool": pool.name,
            "rule": "in_use",
            "held_count": str(held),
            "waiting_count": str(waiting),
        },
    )
    for lease in pool.some_leases(HOLDERS_NAMED):
        shown = explanation.holders.add(
            user=lease.holder.user,
            host_name=lease.holder.host_name,
            app=lease.holder.app,
            units=lease.units,
            lease=pool.lease_prefix + lease.id,
        )
        shown.acquire_time.FromMicroseconds(lease.acquire_time_us)
    return PoolRule(sentence, explanation=explanation, pool=pool.name, rule="in_use")
