"""Homes, servers and news as rows: the same tests on memory, SQLite and PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, insert
from sqlmodel import Session

from keypeg_server.address import PostgresUrl
from keypeg_server.clock import SystemClock
from keypeg_server.domain.events import CatalogChanged, Event, PoolCreated, UserRemoved
from keypeg_server.service.homes import Directory, Here, Node, There
from keypeg_server.service.news import heard
from keypeg_server.storage import schema
from keypeg_server.storage.database import Database
from keypeg_server.storage.home_store import SqlHomes
from keypeg_server.storage.news_store import NewsWriter
from keypeg_server.storage.postgres import PostgresDatabase
from keypeg_server.storage.sqlite import SqliteDatabase
from keypeg_server.storage.tables_seat import LeaseRow, PlaceRow, PoolRow
from lab.postgres import Postgres
from tests.server.service.cluster_world import MemoryRows

_T = TypeVar("_T")
_numbers = itertools.count(1)
A, B = "accounts/a", "accounts/b"


class Beside:
    """A database whose one writer does what is done beside it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def aside(self, work: Callable[[Connection], _T], /) -> Future[_T]:
        return self.database.submit(work)

    async def read(self, work: Callable[[Session], _T], /) -> _T:
        return await self.database.read(work)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres.start(durable=False) as server:
        yield server


@contextmanager
def opened(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Database]:
    database: Database
    if kind == "sqlite":
        database = SqliteDatabase.open(folder / "k.sqlite3")
    else:
        server: Postgres = request.getfixturevalue("postgres")
        database = PostgresDatabase.open(PostgresUrl.read(server.create(f"d{next(_numbers)}")))
    database.migrate(schema.upgrade)
    yield database
    database.close()


def homes_on(database: Database) -> SqlHomes:
    shared: Any = database if isinstance(database, PostgresDatabase) else Beside(database)
    return SqlHomes(shared, SystemClock())


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with opened(request.param, request, tmp_path) as made:
        yield made


@pytest.fixture
def homes(database: Database) -> SqlHomes:
    return homes_on(database)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Directory]:
    if request.param == "memory":
        yield MemoryRows()
        return
    with opened(request.param, request, tmp_path) as made:
        yield homes_on(made)


def node(id: str, process: str = "") -> Node:
    return Node(id, f"{id}:1", process)


async def test_servers_join_and_beat_and_see_each_other(rows: Directory) -> None:
    await rows.join(node("n1", "process"))
    await rows.join(node("n2"))
    for _ in range(3):
        assert await rows.beat("n1") is not None
    beat = await rows.beat("n2")
    assert beat is not None
    assert dict(beat.nodes) == {
        "n1": Node("n1", "n1:1", "process", 3),
        "n2": Node("n2", "n2:1", "", 1),
    }
    assert await rows.nodes() == beat.nodes


async def test_who_has_moved_on_is_not_declared_dead(rows: Directory) -> None:
    await rows.join(node("n1"))
    await rows.beat("n1")
    assert not await rows.declare_dead("n1", 0)
    assert await rows.beat("n1") is not None
    assert await rows.declare_dead("n1", 2)
    assert not await rows.declare_dead("n1", 2)
    assert await rows.beat("n1") is None


async def test_a_home_is_taken_from_who_is_gone_and_from_nobody_else(rows: Directory) -> None:
    for id in ("n1", "n2"):
        await rows.join(node(id))
    assert await rows.look(A) is None
    assert await rows.take(A, "n1") == Here(1)
    assert await rows.take(A, "n1") == Here(2), "whatever was decided under the first is over"
    assert await rows.take(A, "n2") == There("n1", "n1:1") == await rows.look(A)
    assert await rows.declare_dead("n1", 0)
    assert await rows.look(A) is None
    assert await rows.take(A, "n2") == Here(3)


async def test_who_leaves_gives_back_all_it_had(rows: Directory) -> None:
    for id in ("n1", "n2"):
        await rows.join(node(id))
    await rows.take(A, "n1")
    await rows.take(B, "n2")
    await rows.leave("n1")
    assert list(await rows.nodes()) == ["n2"]
    assert await rows.take(A, "n2") == Here(2)
    assert await rows.take(B, "n2") == Here(2)


async def _put(database: Database, *things: tuple[Any, dict[str, Any]]) -> None:
    def work(connection: Connection) -> None:
        for row, values in things:
            connection.execute(insert(row.__table__), values)

    await database.write(lambda session: work(session.connection()))


def _pool(id: str, account: str) -> tuple[Any, dict[str, Any]]:
    return PoolRow, {
        "id": id,
        "account": account,
        "product": "publishers/x/products/y",
        "activation": f"{account}/licenses/l/activations/n",
        "seat_count": 1,
        "features": "",
        "fencing_number": 0,
        "create_time_us": 1,
    }


_HOLDER = {
    "user": "u",
    "device": "d",
    "host_name": "h",
    "app": "a",
    "process_id": 1,
    "units": 1,
    "features": "",
    "valid_for_us": 1,
}


async def test_what_has_seats_out_or_people_waiting_and_no_home_is_found(
    database: Database, homes: SqlHomes
) -> None:
    await homes.join(node("n1"))
    await homes.join(node("n2"))
    for parent in (A, B, "accounts/c", "accounts/d", "publishers/p"):
        await homes.take(parent, "n1")
    await homes.take("accounts/e", "n2")
    lease = _HOLDER | {"fencing_number": 1, "acquire_time_us": 1}
    place = _HOLDER | {"priority": 0, "arrival": 1, "create_time_us": 1, "request_id": ""}
    await _put(
        database,
        *(_pool(f"p-{one}", f"accounts/{one}") for one in "abcde"),
        (LeaseRow, {"id": "l1", "pool": "p-a", "session": "s1", **lease}),
        (LeaseRow, {"id": "l2", "pool": "p-e", "session": "", **lease}),
        (PlaceRow, {"id": "q1", "pool": "p-b", "session": "s2", **place}),
    )
    assert await homes.orphans(10) == []
    await homes.leave("n1")
    assert sorted(await homes.orphans(10)) == [A, B]
    assert len(await homes.orphans(1)) == 1
    assert await homes.holds("s1") == A
    assert await homes.holds("s2") == B
    assert await homes.holds("s3") is None
    assert await homes.account_of("p-c") == "accounts/c"
    assert await homes.account_of("p-z") is None
    assert await homes.counts() == {None: 5, "n2": 1}


async def test_news_are_written_with_what_they_are_about_and_read_by_the_others(
    database: Database, homes: SqlHomes
) -> None:
    for id in ("n1", "n2"):
        await homes.join(node(id))
    news = NewsWriter()
    news.node = "n1"
    told: list[Event] = [UserRemoved("accounts/a/users/u"), CatalogChanged("publishers/p")]

    def work(session: Session) -> None:
        news.append(session.connection(), [told[0], PoolCreated("pools/p"), told[1]], 1)

    await database.write(work)
    beat = await homes.beat("n2")
    assert beat is not None
    assert [one.number for one in beat.news] == [1, 2]
    assert [heard(one.kind, one.payload) for one in beat.news] == told
    own = await homes.beat("n1")
    assert own is not None
    assert own.news == []
    assert await homes.sweep({"n1": 1}, []) == []
    beat = await homes.beat("n2")
    assert beat is not None
    assert [one.number for one in beat.news] == [2]
    await homes.leave("n1")
    assert await homes.sweep({}, []) == ["n1"]
    assert await homes.sweep({}, ["n1"]) == []


def test_news_of_a_newer_server_are_passed_over() -> None:
    assert heard("unheard_of", "{}") is None
    assert heard("user_removed", '{"user": "accounts/a/users/u", "by": "new"}') == UserRemoved(
        "accounts/a/users/u"
    )
