"""The engine with its committer on real databases: requests that come again, disks that fail, restarts."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keypeg.errors import KeypegError, StorageUnavailable
from keypeg_server.clock import SystemClock
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.domain.lease import Holder, Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.service.commits import RequestKey
from keypeg_server.service.events import EventHub
from keypeg_server.service.pools import Engine
from keypeg_server.storage.committer import BatchCommitter
from keypeg_server.storage.pool_store import SqlPoolStore
from keypeg_server.storage.tables_seat import PoolRow
from tests.server import databases

CAPACITY = 3
SESSIONS = ["s1", "s2", "s3"]
CALLER = Caller("accounts/a/users/u", "u", "accounts/a", Role.MEMBER, "t")
Outcome = Lease | Place | KeypegError | None


class EngineMachine(RuleBasedStateMachine):
    """What was answered must stay true, whatever fails in between."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.place = self.new_place()
        self.held: dict[str, Lease] = {}  # by id: answered, and not answered to be released
        self.waiting: dict[str, Place] = {}
        self.answered: dict[tuple[str, str], str] = {}  # what a request got: an id
        self.numbers = 0
        self.fenced = 0
        self.failing = False
        self.open(create=True)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.close()
            self.loop.close()
            self.place.clear()

    def new_place(self) -> databases.Place:
        return databases.SqlitePlace(Path(tempfile.mkdtemp(prefix="keypeg-engine-")))

    def open(self, *, create: bool = False) -> None:
        self.database = self.place.make()
        if create:
            row = PoolRow(
                id="p",
                account="accounts/a",
                product="publishers/x/products/y",
                activation="accounts/a/licenses/l/activations/n",
                seat_count=CAPACITY,
                create_time_us=1,
            )
            self.run(self.database.write(lambda session: session.add(row)))
        clock = SystemClock()
        self.committer = BatchCommitter(self.database, clock)
        self.engine = Engine(self.committer, SqlPoolStore(self.database), clock, EventHub())
        self.engine.audience = self
        self.run(self.engine.adopt())

    def close(self) -> None:
        self.engine.stop()
        self.run(self.committer.close())
        self.database.close()

    @property
    def pool(self) -> Pool:
        pool = self.engine.pool("pools/p")
        assert pool is not None
        return pool

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    # What the engine tells of those who waited.

    def served(self, pool, lease: Lease) -> None:
        assert lease.id in self.waiting
        del self.waiting[lease.id]
        self.learn(lease)

    def refused(self, pool, place, error) -> None:
        """An `Audience`'s: nobody's place is refused here, for nobody is recalled."""
        raise AssertionError(f"{place} was refused: {error}")

    def ends_at(self, session) -> float | None:
        return None

    def seen_at(self, session) -> float | None:
        return None

    def recalled(self, pool, lease, error) -> None:
        raise AssertionError("nobody is denied here")

    def moved(self, pool, place, position, *, again) -> None:
        assert 1 <= position <= pool.waiting

    def learn(self, lease: Lease) -> None:
        assert lease.fencing_number > self.fenced
        self.fenced = lease.fencing_number
        self.held[lease.id] = lease

    # What can happen.

    def acquire(self, session: str, request: str, units: int, wait: bool) -> Outcome:
        async def ask() -> Outcome:
            future = asyncio.get_running_loop().create_future()
            self.engine.acquire(
                self.pool,
                Holder(session, CALLER.user, "dev", "host", "app", 0),
                CALLER,
                units,
                (),
                wait=wait,
                priority=0,
                valid_for_us=1,
                request=RequestKey(f"sessions/{session}", request, bytes([units, wait])),
                done=future.set_result,
            )
            return await future

        return self.run(ask())

    @rule(
        session=st.sampled_from(SESSIONS),
        units=st.integers(1, CAPACITY),
        wait=st.booleans(),
        times=st.integers(1, 3),
    )
    def ask(self, session: str, units: int, wait: bool, times: int) -> None:
        """A request, sent once or more as an impatient client does."""
        self.numbers += 1
        request = f"r{self.numbers}"
        for _ in range(times):
            outcome = self.acquire(session, request, units, wait)
            if isinstance(outcome, KeypegError):
                assert not self.failing or isinstance(outcome, StorageUnavailable) or not wait
                continue
            assert outcome is not None
            key = (session, request)
            assert not self.failing or key in self.answered
            if key in self.answered:
                assert outcome.id == self.answered[key]
                continue
            self.answered[key] = outcome.id
            if isinstance(outcome, Lease):
                self.learn(outcome)
            else:
                self.waiting[outcome.id] = outcome
            self.asked = (session, request, units, wait)

    @precondition(lambda self: getattr(self, "asked", None) is not None)
    @rule()
    def ask_again(self) -> None:
        """The last request that was answered, much later."""
        session, request, units, wait = self.asked
        outcome = self.acquire(session, request, units, wait)
        id = self.answered[session, request]
        if isinstance(outcome, Lease):
            assert outcome == self.held[id]
        elif isinstance(outcome, Place):
            assert outcome == self.waiting[id]
        elif not isinstance(outcome, StorageUnavailable):
            assert id not in self.held
            assert id not in self.waiting

    @precondition(lambda self: self.held or self.waiting)
    @rule(data=st.data())
    def release(self, data) -> None:
        id = data.draw(st.sampled_from([*self.held, *self.waiting]))

        async def give_back() -> Outcome:
            future = asyncio.get_running_loop().create_future()

            def done(outcome: Outcome) -> None:
                if not isinstance(outcome, KeypegError):
                    self.held.pop(id, None)
                    self.waiting.pop(id, None)
                future.set_result(outcome)

            self.engine.release(self.pool, id, done)
            outcome = await future
            await self.told()
            return outcome

        outcome = self.run(give_back())
        assert isinstance(outcome, KeypegError) == self.failing

    @rule(session=st.sampled_from(SESSIONS))
    def gone(self, session: str) -> None:
        async def end() -> KeypegError | None:
            future = asyncio.get_running_loop().create_future()

            def done(error: KeypegError | None) -> None:
                if error is None:
                    for items in (self.held, self.waiting):
                        for id in [id for id, it in items.items() if it.holder.session == session]:
                            del items[id]
                future.set_result(error)

            self.engine.gone(session, done)
            error = await future
            await self.told()
            return error

        error = self.run(end())
        assert error is None or self.failing

    async def told(self) -> None:
        """Whoever was served has heard of it."""
        await self.engine.looked(lambda: None)

    @rule()
    def disk_fails_or_is_back(self) -> None:
        self.failing = not self.failing
        self.place.read_only(self.failing)

    @rule()
    def restart(self) -> None:
        if self.failing:
            self.place.read_only(False)
        self.close()
        self.failing = False
        self.open()

    # What must hold.

    @invariant()
    def what_was_answered_is_in_memory_and_on_disk(self) -> None:
        if not hasattr(self, "engine"):
            return
        (stored,) = self.run(SqlPoolStore(self.database).load())
        pool = self.pool
        assert {lease.id: lease for lease in stored.leases} == self.held
        assert {lease.id: lease for lease in pool.leases()} == self.held
        assert {place.id: place for place in stored.places} == self.waiting
        assert sum(lease.units for lease in stored.leases) <= CAPACITY
        assert [place.id for place in pool.queue()] == sorted(
            self.waiting, key=lambda id: self.waiting[id].arrival
        )


class PostgresEngineMachine(EngineMachine):
    """The same on PostgreSQL, which also loses connections."""

    def new_place(self) -> databases.Place:
        return databases.PostgresPlace(databases.server())

    @rule()
    def connections_are_lost(self) -> None:
        assert isinstance(self.place, databases.PostgresPlace)
        self.place.cut()


COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}

TestEngineMachine = EngineMachine.TestCase
TestEngineMachine.settings = settings(max_examples=25, stateful_step_count=25, **COMMON)
TestEngineOnPostgres = PostgresEngineMachine.TestCase
TestEngineOnPostgres.settings = settings(max_examples=3, stateful_step_count=25, **COMMON)


class LongPostgresEngineMachine(PostgresEngineMachine):
    """With more examples: a test case of its own."""


TestEngineOnPostgresForLonger = pytest.mark.long(LongPostgresEngineMachine.TestCase)
TestEngineOnPostgresForLonger.settings = settings(max_examples=60, stateful_step_count=40, **COMMON)
