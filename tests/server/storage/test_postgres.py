"""PostgreSQL when it fails: connections lost in commits, servers killed, retries, homes that moved, passwords."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from keypeg.errors import Elsewhere, KeypegError, StorageUnavailable
from keypeg.settings_reading import SettingsError
from keypeg_server.address import AddressError, PostgresUrl
from keypeg_server.clock import SystemClock
from keypeg_server.domain.home import SELF
from keypeg_server.service import homes_port
from keypeg_server.service.homes_port import HomesLost
from keypeg_server.settings_reading import load, with_database
from keypeg_server.storage import lane as module
from keypeg_server.storage import tables
from keypeg_server.storage.committer import BatchCommitter
from keypeg_server.storage.fence import Fence
from keypeg_server.storage.marks import MARK_PREFIX
from keypeg_server.storage.pool_store import SqlPoolStore
from keypeg_server.storage.postgres import PostgresDatabase
from keypeg_server.storage.statements import array, literal, script_of
from keypeg_server.storage.unit import SqlStore
from lab.postgres import Postgres
from tests.server.databases import PostgresPlace
from tests.server.storage.test_committer import Bench, Take
from tests.server.storage.wire import Wire

SECONDS = 20


@pytest.fixture
async def bench(postgres: PostgresPlace) -> AsyncIterator[Bench]:
    made = Bench(postgres.make())
    yield made
    await made.committer.close()
    made.database.close()


@pytest.fixture
def wire(postgres: PostgresPlace) -> Iterator[Wire]:
    made = Wire(_port(postgres.where))
    yield made
    made.close()


@pytest.fixture
async def wired(postgres: PostgresPlace, wire: Wire) -> AsyncIterator[Bench]:
    """A bench whose connections go over a wire."""
    where = postgres.where.replace(f":{_port(postgres.where)}/", f":{wire.port}/")
    made = Bench(PostgresDatabase.open(PostgresUrl.read(where)))
    await made.take("first").ended
    yield made
    wire.down = False
    await made.committer.close()
    made.database.close()


def _port(url: str) -> int:
    return int(url.rpartition("/")[0].rpartition(":")[2])


def put(key: str, value: str = "1"):
    def work(connection: Connection) -> None:
        connection.execute(
            text("INSERT INTO meta VALUES (:key, :value)"), {"key": key, "value": value}
        )

    return work


async def rows(bench: Bench, prefix: str = "") -> dict[str, str]:
    wanted = text("SELECT key, value FROM meta")
    found = await bench.database.read(lambda session: session.connection().execute(wanted).all())
    return {key: value for key, value in found if not key.startswith(MARK_PREFIX)}


async def held(bench: Bench) -> list[str]:
    return sorted((await bench.on_disk())[0])


# A connection that is lost while a transaction commits.


@pytest.mark.behaviour("SEAT-1")
async def test_a_commit_whose_answer_was_lost_is_answered_as_done(wired: Bench, wire: Wire):
    wire.lose_reply()
    taken = wired.take("a")
    await asyncio.wait_for(taken.ended, SECONDS)
    assert wire.cut.is_set()
    assert wired.log == ["answer first", "answer a"]
    assert await held(wired) == ["a", "first"]


async def test_a_commit_that_never_arrived_is_made_again(wired: Bench, wire: Wire):
    wire.lose_request()
    taken = wired.take("a")
    await asyncio.wait_for(taken.ended, SECONDS)
    assert wire.cut.is_set()
    assert wired.log == ["answer first", "answer a"]
    assert await held(wired) == ["a", "first"]


@pytest.mark.behaviour("SEAT-1")
async def test_nobody_is_answered_until_it_is_known_what_became_of_a_commit(
    wired: Bench, wire: Wire
):
    wire.lose_reply(stay_down=True)
    taken, later = wired.take("a"), wired.take("b")
    await asyncio.to_thread(wire.cut.wait, SECONDS)
    for _ in range(20):
        await asyncio.sleep(0)
    assert wired.log == ["answer first"]
    wire.down = False
    await asyncio.wait_for(asyncio.gather(taken.ended, later.ended), SECONDS)
    assert wired.log == ["answer first", "answer a", "answer b"]
    assert await held(wired) == ["a", "b", "first"]


async def test_a_transaction_that_is_still_running_when_its_connection_is_lost_is_waited_for(
    wired: Bench, wire: Wire, postgres: PostgresPlace
):
    """The database goes on with what it was sent; whoever asks meanwhile must not take it for undone."""
    slow = "SELECT pg_sleep(0.5)"

    def work(connection: Connection) -> None:
        put("slow")(connection)
        sending = script_of(connection)
        assert sending is not None
        sending._kept.append(slow)

    wire.lose_reply()
    await asyncio.wrap_future(wired.database.submit(put("before")))
    wire.lose_reply()
    done = wired.database.submit(work)
    await asyncio.to_thread(done.result, SECONDS)
    assert set(await rows(wired)) == {"before", "slow"}


async def test_a_server_that_stops_does_not_wait_for_a_database_that_is_away(
    wired: Bench, wire: Wire
):
    wire.lose_reply(stay_down=True)
    taken = wired.take("a")
    await asyncio.to_thread(wire.cut.wait, SECONDS)
    await asyncio.to_thread(wired.database.close)
    with pytest.raises(StorageUnavailable, match="the same request id"):
        await asyncio.wait_for(taken.ended, SECONDS)


async def test_a_server_that_stops_does_not_wait_for_a_database_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "CLOSE_PATIENCE", 0.2)
    with Postgres.start(durable=False) as server:
        database = PostgresDatabase.open(PostgresUrl.read(server.url()))
        database.migrate(lambda c: c.execute(text("CREATE TABLE meta (key TEXT, value TEXT)")))
        server.pause()
        late = database.submit(put("a"))
        await asyncio.wait_for(asyncio.to_thread(database.close), SECONDS)
        assert isinstance(late.exception(), StorageUnavailable)
        server.resume()


# A database that is killed, or ends connections, under load.


class Crowd:
    """Many who take and give back at once, for as long as it goes on."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.answered: set[str] = set()  # taken, and not asked to be given back
        self.refused: set[str] = set()
        self.going = True

    async def one(self, name: str) -> None:
        for number in range(10_000):
            if not self.going:
                return
            id = f"{name}-{number}"
            if not await self.ended(self.bench.take(id)):
                self.refused.add(id)
                await asyncio.sleep(0.01)
            elif number % 2 and await self.ended(self.bench.drop(id)):
                self.refused.add(id)
            else:
                self.answered.add(id)

    async def ended(self, operation: Take) -> bool:
        try:
            await asyncio.wait_for(operation.ended, SECONDS)
        except StorageUnavailable:
            return False
        return True

    async def judge(self) -> None:
        """All that was answered is on disk, and what was refused is not."""
        on_disk = set((await self.bench.on_disk())[0])
        assert on_disk == self.answered
        assert {lease.id for lease in self.bench.pool.leases()} == on_disk


async def _under_load(bench: Bench, fault: Callable[[], object]) -> None:
    bench.pool.capacity = 10**9
    crowd = Crowd(bench)
    async with asyncio.TaskGroup() as group:
        for number in range(16):
            group.create_task(crowd.one(f"w{number}"))
        for _ in range(3):
            before = len(crowd.answered)
            while len(crowd.answered) < before + 50:  # noqa: ASYNC110 - some way into the load
                await asyncio.sleep(0.005)
            await asyncio.to_thread(fault)
        crowd.going = False
    await crowd.judge()


@pytest.mark.behaviour("SEAT-1")
async def test_a_database_that_is_killed_loses_nothing_and_takes_nothing_back():
    with Postgres.start(durable=False) as server:
        database = PostgresDatabase.open(PostgresUrl.read(server.create("one")))
        database.migrate(tables.metadata.create_all)
        bench = Bench(database)

        def fault() -> None:
            server.kill()
            server.restart()

        await _under_load(bench, fault)
        await bench.committer.close()
        database.close()


async def test_connections_that_are_ended_lose_nothing_and_take_nothing_back(
    bench: Bench, postgres: PostgresPlace
):
    await _under_load(bench, postgres.cut)


async def test_what_the_database_wants_to_be_run_again_is(bench: Bench):
    runs: list[int] = []

    def work(connection: Connection) -> int:
        put("a", str(len(runs)))(connection)
        runs.append(1)
        if len(runs) < 4:
            state = "40001" if len(runs) % 2 else "40P01"
            connection.execute(
                text(f"DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '{state}'; END $$")
            )
        return len(runs)

    assert await asyncio.wrap_future(bench.database.submit(work)) == 4
    assert await rows(bench) == {"a": "3"}


async def test_a_writer_whose_mark_was_taken_away_makes_another(bench: Bench):
    await bench.take("a").ended
    assert isinstance(bench.database, PostgresDatabase)
    await asyncio.wrap_future(
        aside(bench)(lambda c: c.execute(text(f"DELETE FROM meta WHERE key LIKE '{MARK_PREFIX}%'")))
    )
    await bench.take("b").ended
    assert await held(bench) == ["a", "b"]


async def test_a_transaction_that_writes_nothing_is_none(bench: Bench):
    """And what comes after it runs once."""
    runs: list[int] = []

    def work(connection: Connection) -> None:
        runs.append(1)
        put("a")(connection)

    await asyncio.wrap_future(bench.database.submit(lambda _: None))
    await asyncio.wrap_future(bench.database.submit(work))
    assert runs == [1]


async def test_a_writer_leaves_no_mark(bench: Bench, postgres: PostgresPlace):
    other = postgres.make()
    await asyncio.wrap_future(other.submit(put("a")))
    other.close()
    marks = text(f"SELECT count(*) FROM meta WHERE key LIKE '{MARK_PREFIX}%'")
    assert await bench.database.read(lambda s: s.connection().execute(marks).scalar()) == 0


async def test_statements_run_in_the_order_in_which_they_came(bench: Bench):
    """What is kept to be sent together is there for the next statement that is run by itself."""
    await bench.take("a").ended

    def work(connection: Connection) -> int:
        sending = script_of(connection)
        assert sending is not None
        sending._kept.append("INSERT INTO meta VALUES ('x', '1')")
        return connection.execute(text("UPDATE meta SET value = '2' WHERE key = 'x'")).rowcount

    assert await asyncio.wrap_future(bench.database.submit(work)) == 1
    assert await rows(bench) == {"x": "2"}


# Homes.


class Homes:
    """Believes what a test says."""

    node = "n1"

    def __init__(self) -> None:
        self.epochs = {"accounts/a": 3, "accounts/b": 5}
        self.was_lost: list[frozenset[str]] = []

    def epoch(self, parent: str) -> int | None:
        return self.epochs.get(parent)

    def lost(self, believed: Mapping[str, int | None]) -> KeypegError:
        self.was_lost.append(frozenset(believed))
        return Elsewhere("It is served elsewhere.")


@pytest.fixture
def homes(bench: Bench) -> Homes:
    made = Homes()
    bench.database.fence = Fence(made)
    bench.database.migrate(
        lambda c: c.execute(
            text(
                "INSERT INTO home (parent, node, epoch) VALUES ('accounts/a', 'n1', 3), ('accounts/b', 'n1', 5)"
            )
        )
    )
    return made


def move(bench: Bench, parent: str) -> None:
    bench.database.migrate(
        lambda c: c.execute(
            text("UPDATE home SET node = 'n2', epoch = epoch + 1 WHERE parent = :of"),
            {"of": parent},
        )
    )


async def test_a_home_writes_until_another_server_takes_it(bench: Bench, homes: Homes):
    def write(*parents: str) -> Future[None]:
        return bench.database.submit(put("/".join(parents)), parents=parents)

    write("accounts/a").result(SECONDS)
    write("accounts/b", "accounts/a").result(SECONDS)
    move(bench, "accounts/a")
    with pytest.raises(HomesLost) as caught:
        write("accounts/b", "accounts/a").result(SECONDS)
    assert caught.value.lost == {"accounts/a"}
    write("accounts/b").result(SECONDS)
    with pytest.raises(HomesLost):
        write("accounts/unknown").result(SECONDS)
    assert set(await rows(bench)) == {"accounts/a", "accounts/b", "accounts/b/accounts/a"}


async def test_a_home_is_not_taken_while_a_transaction_of_it_commits(
    bench: Bench, homes: Homes, postgres: PostgresPlace
):
    """Who takes it waits for the transaction that looked first, and the next one finds out."""
    taking = threading.Event()
    other = postgres.make()

    def take() -> None:
        taking.set()
        other.migrate(
            lambda c: c.execute(text("UPDATE home SET epoch = 4 WHERE parent = 'accounts/a'"))
        )

    def work(connection: Connection) -> None:
        Fence(homes).check(connection, ["accounts/a"])
        thread.start()
        taking.wait(SECONDS)
        put("first")(connection)

    thread = threading.Thread(target=take)
    bench.database.submit(work, parents=["accounts/a"]).result(SECONDS)
    thread.join(SECONDS)
    with pytest.raises(HomesLost):
        bench.database.submit(put("second"), parents=["accounts/a"]).result(SECONDS)
    other.close()
    assert set(await rows(bench)) == {"first"}


class TakeFor(Take):
    def parents(self) -> tuple[str, ...]:
        return ("accounts/a",) if self.id.startswith("a") else ("accounts/b",)


async def test_a_batch_with_a_lost_home_is_undone_and_the_others_are_decided_again(
    bench: Bench, homes: Homes
):
    def take(id: str) -> TakeFor:
        operation = TakeFor(bench.pool, id, bench.log)
        bench.committer.submit(operation)
        return operation

    await take("a1").ended
    move(bench, "accounts/a")
    gate = bench.hold_the_disk()
    taken = [take(id) for id in ("b2", "a2", "b3")]
    await asyncio.sleep(0)
    late = take("b4")
    gate.set()
    with pytest.raises(Elsewhere):
        await asyncio.wait_for(taken[1].ended, SECONDS)
    await asyncio.wait_for(asyncio.gather(taken[0].ended, taken[2].ended, late.ended), SECONDS)
    assert homes.was_lost == [{"accounts/a"}]
    assert bench.log[1:5] == ["undo b4", "undo b3", "undo a2", "undo b2"]
    assert bench.log[5:] == ["refuse a2", "answer b2", "answer b3", "answer b4"]
    assert await held(bench) == ["a1", "b2", "b3", "b4"]


def aside(bench: Bench) -> Callable[[Callable[[Connection], Any]], Future[Any]]:
    """The connection of beats."""
    assert isinstance(bench.database, PostgresDatabase)
    return bench.database.aside


async def test_what_was_decided_before_a_home_was_lost_and_taken_again_is_not_written(
    bench: Bench, homes: Homes
):
    def take(id: str) -> TakeFor:
        operation = TakeFor(bench.pool, id, bench.log)
        bench.committer.submit(operation)
        return operation

    gate = bench.hold_the_disk()
    early = take("a1")
    await asyncio.sleep(0)
    later, other = take("a2"), take("b3")
    retake = text("UPDATE home SET epoch = epoch + 2 WHERE parent = 'accounts/a'")
    await asyncio.wrap_future(aside(bench)(lambda c: c.execute(retake)))
    homes.epochs["accounts/a"] += 2
    gate.set()
    for stale in (early, later):
        with pytest.raises(Elsewhere):
            await asyncio.wait_for(stale.ended, SECONDS)
    await asyncio.wait_for(other.ended, SECONDS)
    await take("a4").ended
    assert await held(bench) == ["a4", "b3"]


async def test_beats_wait_for_no_lock_that_a_stopped_server_holds(
    bench: Bench, homes: Homes, postgres: PostgresPlace
):
    """No longer than a server acts by one beat: it would not beat meanwhile."""
    held_up, go_on = threading.Event(), threading.Event()
    other = postgres.make()
    touch = text("UPDATE home SET node = node WHERE parent = 'accounts/a'")

    def hold(connection: Connection) -> None:
        connection.execute(touch)
        held_up.set()
        go_on.wait(SECONDS)

    holding = other.submit(hold)
    held_up.wait(SECONDS)
    waiting = aside(bench)(lambda c: c.execute(touch).rowcount)
    with pytest.raises(StorageUnavailable):
        waiting.result(SELF)
    go_on.set()
    holding.result(SECONDS)
    other.close()
    assert aside(bench)(lambda c: c.execute(touch).rowcount).result(SECONDS) == 1


async def test_a_unit_of_work_for_a_lost_home_is_refused(bench: Bench, homes: Homes):
    store = SqlStore(bench.database, SystemClock(), lambda _: None)
    move(bench, "accounts/a")
    with homes_port.acting_for("accounts/b"):
        await store.write(lambda _: None)
    with homes_port.acting_for("accounts/a"), pytest.raises(Elsewhere):
        await store.change(lambda _: None)


async def test_what_is_recorded_of_another_than_the_fence_was_asked_for_is_not_written(
    bench: Bench, homes: Homes
):
    """It would fork the log of whoever is the home."""
    store = SqlStore(bench.database, SystemClock(), lambda _: None)
    with homes_port.acting_for("accounts/b"), pytest.raises(AssertionError, match="accounts/a"):
        await store.write(lambda unit: unit.record("accounts/a", "tried"))
    assert await rows(bench) == {}


# Values and addresses.


@pytest.mark.parametrize(
    "value", ["", "plain", 'a "b" \\c\\', "it's", "{a,b}", "NULL", "é\u2028\t\n\x01"]
)
async def test_texts_come_back_as_they_were(bench: Bench, value: str):
    values = [value, "other", value]
    found = await bench.database.read(
        lambda s: (
            s.connection()
            .exec_driver_sql(
                f"SELECT {array('text[]', values)}::text[], {literal(value)}".replace("%", "%%")
            )
            .one()
        )
    )
    assert (found[0], found[1]) == (values, value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:s3cret@h:5/d", "postgresql://u@h:5/d"),
        ("postgres://u:p%40s3cret@h/d?sslmode=require", "postgres://u@h/d?sslmode=require"),
        ("postgresql:///d?host=/run/x&password=s3cret", "postgresql:///d?host=/run/x"),
        ("postgresql://u@h1:1,h2:2/d", "postgresql://u@h1:1,h2:2/d"),
    ],
)
def test_an_address_shows_no_password(url: str, shown: str):
    address = PostgresUrl.read(url)
    assert str(address) == shown
    assert "s3cret" not in repr(address)
    assert address.secret == url


@pytest.mark.parametrize(
    "url", ["mysql://u:s3cret@h/d", "/var/lib/x", "postgresql://u:s3cret@h", "x"]
)
def test_what_is_no_address_is_refused_without_showing_it(url: str):
    with pytest.raises(AddressError) as caught:
        PostgresUrl.read(url)
    assert "s3cret" not in str(caught.value)


def test_settings_show_no_password():
    url = "postgresql://u:s3cret@h/d"
    settings = load(Path("nowhere.toml"), {"KEYPEGD_STORAGE__DATABASE": url})
    assert settings.storage.database == url
    assert "s3cret" not in repr(settings)
    with pytest.raises(SettingsError, match="is named by a URL") as caught:
        load(Path("nowhere.toml"), {"KEYPEGD_STORAGE__DATABASE": "mysql://u:s3cret@h/d"})
    assert "s3cret" not in str(caught.value)
    with pytest.raises(SettingsError, match="--database: ") as caught:
        with_database(settings, "x://s3cret")
    assert "s3cret" not in str(caught.value)


def test_a_wrong_password_is_told_and_not_shown(
    postgres: PostgresPlace, caplog: pytest.LogCaptureFixture
):
    right = postgres.where.partition("://")[2].partition(":")[2].partition("@")[0]
    with pytest.raises(StorageUnavailable, match="can not be reached") as caught:
        PostgresDatabase.open(PostgresUrl.read(postgres.where.replace(right, "s3cret-and-wrong")))
    said = f"{caught.value!r} {caught.value.sentence} {caught.value.__cause__} {caplog.text}"
    assert "s3cret" not in said
    assert right not in said


def test_the_password_may_come_from_the_environment(
    postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch
):
    right = postgres.where.partition("://")[2].partition(":")[2].partition("@")[0]
    without = postgres.where.replace(f":{right}@", "@")
    monkeypatch.setenv("PGPASSWORD", right)
    PostgresDatabase.open(PostgresUrl.read(without)).close()
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(StorageUnavailable):
        PostgresDatabase.open(PostgresUrl.read(without))


async def test_readers_can_not_write(bench: Bench):
    with pytest.raises(StorageUnavailable):
        await bench.database.read(
            lambda s: s.connection().execute(text("INSERT INTO meta VALUES ('x', 'y')"))
        )


async def test_a_reader_sees_one_state(bench: Bench):
    """What is written while it looks, it does not see."""
    await bench.take("a").ended
    count = text("SELECT count(*) FROM lease")

    def look(session) -> tuple[int, int]:
        first = session.connection().execute(count).scalar()
        bench.database.submit(lambda c: c.execute(text("DELETE FROM lease"))).result(SECONDS)
        return first, session.connection().execute(count).scalar()

    assert await bench.database.read(look) == (1, 1)
    assert await SqlPoolStore(bench.database).load() != []


async def test_the_committer_asks_for_homes_only_where_there_are_several(bench: Bench):
    """Without a fence, operations of whatever account are written."""
    committer = BatchCommitter(bench.database, SystemClock())
    operation = TakeFor(bench.pool, "a1", bench.log)
    committer.submit(operation)
    await asyncio.wait_for(operation.ended, SECONDS)
