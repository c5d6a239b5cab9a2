"""The committer on real databases: order, repeats, and disks that fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlmodel import Session

from keypeg.errors import Busy, KeypegError, PoolExhausted, RequestIdReused, StorageUnavailable
from keypeg_server.clock import SystemClock
from keypeg_server.domain.decision import Ask, Change
from keypeg_server.domain.lease import Holder, Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.service.commits import Operation, RequestKey
from keypeg_server.storage import requests
from keypeg_server.storage.committer import BatchCommitter
from keypeg_server.storage.database import Database
from keypeg_server.storage.pool_store import SqlPoolStore
from keypeg_server.storage.tables_seat import PoolRow
from tests.server import databases
from tests.server.databases import SqlitePlace, open_at

HOLDER = Holder("s", "accounts/a/users/u", "dev", "host", "app", 1)


def make_pool(capacity: int = 1_000) -> Pool:
    return Pool(
        "p",
        account="accounts/a",
        product="publishers/x/products/y",
        activation="accounts/a/licenses/l/activations/n",
        capacity=capacity,
        feature_capacity={"mesh": 2},
    )


class Take(Operation):
    """Acquires; keeps how it ended."""

    def __init__(
        self,
        pool: Pool,
        id: str,
        log: list[str],
        *,
        request: RequestKey | None = None,
        wait: bool = False,
        text: str = "app",
    ) -> None:
        super().__init__(request)
        self.pool, self.id, self.log, self.wait, self.text = pool, id, log, wait, text
        self.ended: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def decide(self) -> list[Change]:
        holder = Holder("s", "accounts/a/users/u", "dev", "host", self.text, 1)
        self.decision = self.pool.acquire(Ask(self.id, holder, 1, (), self.wait, 0, 60), 1)
        return self.decision.changes

    def undo(self) -> None:
        self.log.append(f"undo {self.id}")
        self.pool.undo(self.decision.changes)

    def result(self) -> bytes:
        return self.id.encode()

    def answer(self) -> None:
        self.log.append(f"answer {self.id}")
        self.ended.set_result(self.decision.outcome)

    def repeat(self, result: bytes) -> None:
        self.log.append(f"repeat {result.decode()}")
        self.ended.set_result(result)

    def refuse(self, error: KeypegError) -> None:
        self.log.append(f"refuse {self.id}")
        self.ended.set_exception(error)
        self.ended.exception()  # looked at, or not, as the test likes


class Drop(Take):
    def decide(self) -> list[Change]:
        self.decision = self.pool.release(self.id, 1)
        return self.decision.changes


class Bench:
    def __init__(self, database: Database) -> None:
        self.database = database
        row = PoolRow(
            id="p",
            account="accounts/a",
            product="publishers/x/products/y",
            activation="accounts/a/licenses/l/activations/n",
            seat_count=1_000,
            features='{"mesh": 2}',
            create_time_us=1,
        )

        def once(connection: Connection) -> None:
            with Session(bind=connection) as session, session.begin():
                if session.get(PoolRow, "p") is None:
                    session.add(row)

        self.database.migrate(once)
        self.pool = make_pool()
        self.log: list[str] = []
        self.committer = BatchCommitter(self.database, SystemClock())

    def take(self, id: str, **options) -> Take:
        operation = Take(self.pool, id, self.log, **options)
        self.committer.submit(operation)
        return operation

    def drop(self, id: str) -> Take:
        operation = Drop(self.pool, id, self.log)
        self.committer.submit(operation)
        return operation

    async def on_disk(self) -> tuple[list[str], list[str]]:
        (stored,) = await SqlPoolStore(self.database).load("p")
        return sorted(one.id for one in stored.leases), [place.id for place in stored.places]

    def hold_the_disk(self) -> threading.Event:
        """Nothing is written until the event is set."""
        gate = threading.Event()
        self.database.submit(lambda _: gate.wait(10))
        return gate


@pytest.fixture
async def bench(place: databases.Place) -> AsyncIterator[Bench]:
    made = Bench(place.make())
    yield made
    await made.committer.close()
    made.database.close()


@pytest.fixture
async def file_bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """On SQLite alone."""
    made = Bench(SqlitePlace(tmp_path).make())
    yield made
    await made.committer.close()
    made.database.close()


async def test_an_answer_means_on_disk(bench: Bench):
    lease = await bench.take("a").ended
    assert isinstance(lease, Lease)
    assert await bench.on_disk() == (["a"], [])
    (stored,) = await SqlPoolStore(bench.database).load()
    assert stored.leases == (lease,)
    assert stored.fencing_number == 1
    await bench.drop("a").ended
    assert await bench.on_disk() == ([], [])


async def test_places_come_back_as_they_were(bench: Bench):
    bench.pool = make_pool(1)
    await bench.take("a").ended
    place = await bench.take("b", wait=True).ended
    assert isinstance(place, Place)
    (stored,) = await SqlPoolStore(bench.database).load()
    assert stored.places == (place,)
    await bench.drop("a").ended
    assert await bench.on_disk() == (["b"], [])


async def test_many_are_answered_in_order_and_share_transactions(bench: Bench):
    gate = bench.hold_the_disk()
    taken = [bench.take(f"{n:03}") for n in range(100)]
    dropped = [bench.drop(f"{n:03}") for n in range(50)]
    await asyncio.sleep(0)
    assert bench.log == []
    gate.set()
    await asyncio.gather(*(one.ended for one in taken + dropped))
    assert bench.log == [f"answer {one.id}" for one in taken + dropped]
    assert await bench.on_disk() == ([f"{n:03}" for n in range(50, 100)], [])


async def test_a_refusal_waits_for_what_it_was_decided_upon(bench: Bench):
    bench.pool = make_pool(1)
    gate = bench.hold_the_disk()
    first, second = bench.take("a"), bench.take("b")
    await asyncio.sleep(0)
    assert bench.log == []
    gate.set()
    await first.ended
    with pytest.raises(KeypegError):
        await second.ended
    assert bench.log == ["answer a", "refuse b"]


async def test_the_same_request_is_decided_once(bench: Bench):
    key = RequestKey("sessions/s", "r1", b"d" * 16)
    first = bench.take("a", request=key)
    again = bench.take("b", request=key)  # while the first is on its way
    assert isinstance(await first.ended, Lease)
    assert await again.ended == b"a"
    assert await bench.take("c", request=key).ended == b"a"
    other = bench.take("d", request=RequestKey("sessions/s", "r1", b"e" * 16))
    with pytest.raises(RequestIdReused):
        await other.ended
    assert await bench.on_disk() == (["a"], [])


async def test_a_request_of_an_earlier_process_is_answered_from_its_record(place: databases.Place):
    key = RequestKey("sessions/s", "r1", b"d" * 16)
    before = Bench(place.make())
    await before.take("a", request=key).ended
    before.database.close()
    after = Bench(place.make())
    (stored,) = await SqlPoolStore(after.database).load()
    after.pool.restore(stored.leases, stored.places)
    gate = after.hold_the_disk()
    ahead, again = after.take("x"), after.take("y", request=key)
    behind = after.take("z")
    reused = after.take("w", request=RequestKey("sessions/s", "r1", b"e" * 16))
    gate.set()
    assert await again.ended == b"a"
    assert isinstance(await ahead.ended, Lease)
    assert isinstance(await behind.ended, Lease)
    with pytest.raises(RequestIdReused):
        await reused.ended
    assert (await after.on_disk())[0] == ["a", "x", "z"]
    assert sorted(lease.id for lease in after.pool.leases()) == ["a", "x", "z"]
    await after.committer.close()
    after.database.close()


async def test_a_request_of_an_earlier_process_is_not_refused_for_what_it_holds_itself(
    place: databases.Place,
):
    key = RequestKey("sessions/s", "r1", b"d" * 16)
    before = Bench(place.make())
    await before.take("a", request=key).ended
    before.database.close()
    after = Bench(place.make())
    after.pool = make_pool(1)
    (stored,) = await SqlPoolStore(after.database).load()
    after.pool.restore(stored.leases, stored.places)
    assert await after.take("b", request=key).ended == b"a"
    with pytest.raises(RequestIdReused):
        await after.take("b", request=RequestKey("sessions/s", "r1", b"e" * 16)).ended
    with pytest.raises(PoolExhausted):
        await after.take("c", request=RequestKey("sessions/s", "r2", b"d" * 16)).ended
    await after.committer.close()
    after.database.close()


async def test_a_full_queue_refuses_early(bench: Bench):
    bench.committer = BatchCommitter(bench.database, SystemClock(), pending_limit=2)
    gate = bench.hold_the_disk()
    first = bench.take("a")
    await asyncio.sleep(0)  # on its way to the writer
    taken = [bench.take(id) for id in "bcd"]
    with pytest.raises(Busy) as caught:
        await taken[2].ended
    assert caught.value.retry_after is not None
    gate.set()
    await asyncio.gather(first.ended, taken[0].ended, taken[1].ended)
    assert bench.pool.held == 3


async def test_a_full_disk_undoes_all_newest_first_and_serves_again_when_there_is_room(
    file_bench: Bench,
):
    bench = file_bench
    await bench.take("kept").ended
    pages = await bench.database.read(
        lambda session: session.connection().execute(text("PRAGMA page_count")).scalar_one()
    )
    bench.database.migrate(lambda c: c.execute(text(f"PRAGMA max_page_count={pages}")))
    gate = bench.hold_the_disk()
    bench.log.clear()
    taken = [bench.take(f"{n:03}", text="x" * 3_000) for n in range(10)]
    await asyncio.sleep(0)
    late = bench.drop("kept")  # decided upon what will be undone; refused with it
    gate.set()
    for one in (*taken, late):
        with pytest.raises(StorageUnavailable):
            await one.ended
    assert bench.log[:11] == ["undo kept", *(f"undo {n:03}" for n in reversed(range(10)))]
    assert [lease.id for lease in bench.pool.leases()] == ["kept"]
    assert await bench.on_disk() == (["kept"], [])
    bench.database.migrate(lambda c: c.execute(text("PRAGMA max_page_count=100000")))
    lease = await bench.take("later").ended
    assert isinstance(lease, Lease)
    assert lease.fencing_number > 10  # numbers of what was undone are never given again


async def test_a_read_only_database_refuses_and_recovers(bench: Bench, place: databases.Place):
    await bench.take("kept").ended
    place.read_only(True)
    with pytest.raises(StorageUnavailable):
        await bench.take("a").ended
    with pytest.raises(StorageUnavailable):
        await bench.drop("kept").ended
    assert [lease.id for lease in bench.pool.leases()] == ["kept"]
    place.read_only(False)
    await bench.drop("kept").ended
    assert await bench.on_disk() == ([], [])


async def test_requests_are_swept_in_steps(bench: Bench):
    rows = [("c", str(n), b"d", b"r", n) for n in range(requests.SWEEP_ROWS + 20)]
    bench.database.migrate(lambda connection: requests.record(connection, rows))
    steps = [
        bench.database.submit(lambda c: requests.sweep(c, requests.SWEEP_ROWS + 10)).result()
        for _ in range(2)
    ]
    assert steps == [requests.SWEEP_ROWS, 10]


async def test_a_second_process_on_the_file_is_told_who_has_it(file_bench: Bench):
    with pytest.raises(StorageUnavailable) as caught:
        open_at(file_bench.database.place)
    assert "in use by another keypegd" in caught.value.sentence


async def test_once_runs_the_work_once(bench: Bench):
    ran = []

    def once(request_id: str, body: bytes) -> bytes:
        def work(_session) -> bytes:
            ran.append(body)
            return body.upper()

        return bench.database.submit(
            lambda connection: _once(connection, request_id, body, work)
        ).result()

    assert [once("1", b"a"), once("1", b"a"), once("2", b"b")] == [b"A", b"A", b"B"]
    assert ran == [b"a", b"b"]
    with pytest.raises(RequestIdReused):
        once("1", b"c")


def _once(connection, request_id, body, work) -> bytes:
    with Session(bind=connection) as session, session.begin():
        return requests.once(session, "users/u", request_id, body, 1, work)
