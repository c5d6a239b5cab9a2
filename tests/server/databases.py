"""Both kinds of database for the tests of storage: one contract, the same tests.

Promises: `place` (a fixture of these tests) is run for each kind; a place is a database of the test's own, opened
as often as the test likes. PostgreSQL is a real one: pip's, started once for a run of pytest, or that of
KEYPEG_TEST_POSTGRES (a URL of someone who may create databases). `read_only` makes every writing fail, as a
full disk does, until it is taken back.

Leaves to others: what is in a database.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from keypeg_server.address import PostgresUrl
from keypeg_server.storage import tables
from keypeg_server.storage.database import Database
from keypeg_server.storage.postgres import PostgresDatabase
from keypeg_server.storage.sqlite import SqliteDatabase

GIVEN = "KEYPEG_TEST_POSTGRES"
ON = "KEYPEG_TEST_ON"


def open_at(where: str) -> Database:
    """Open the database that a place names."""
    if where.startswith("postgresql://"):
        return PostgresDatabase.open(PostgresUrl.read(where))
    return SqliteDatabase.open(Path(where))


class Place(Protocol):
    """A test's own database. What it holds is there as long as the test runs."""

    where: str  # for `open_at`

    def make(self) -> Database:
        """Open it, with empty tables the first time."""
        ...

    def read_only(self, on: bool) -> None:
        """Let nothing be written, or again everything; to what is open, too."""
        ...

    def clear(self) -> None:
        """Leave nothing of the test."""
        ...


class SqlitePlace:
    """A file, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.where = str(folder / "a.db")
        self._database: SqliteDatabase | None = None

    def make(self) -> Database:
        self._database = SqliteDatabase.open(Path(self.where))
        self._database.migrate(tables.metadata.create_all)
        return self._database

    def read_only(self, on: bool) -> None:
        assert self._database is not None
        self._database.pragma("query_only=" + ("ON" if on else "OFF"))

    def clear(self) -> None:
        shutil.rmtree(self._folder)


class PostgresPlace:
    """A database of a server: the one that is emptied after each test, or one of its own without tables."""

    def __init__(self, server: Server, *, own: bool = False) -> None:
        self.server = server
        self._own = own
        self.name = server.create() if own else server.shared()
        self.where = server.url(self.name)

    def make(self) -> Database:
        return open_at(self.where)

    def read_only(self, on: bool) -> None:
        self.server.run(f"ALTER DATABASE {self.name} SET default_transaction_read_only = {on}")
        self.cut()  # sessions keep what they began with

    def cut(self) -> None:
        """End all its connections."""
        self.server.run(
            f"SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE datname = '{self.name}'"
        )

    def clear(self) -> None:
        """Leave nothing of the test."""
        self.server.run(f"ALTER DATABASE {self.name} RESET default_transaction_read_only")
        self.cut()
        if self._own:
            self.server.run(f"DROP DATABASE {self.name}")
            return
        rows = reversed(tables.metadata.sorted_tables)
        self.server.run(";".join(f'DELETE FROM "{table.name}"' for table in rows), self.name)


class Server:
    """A PostgreSQL on which databases are made, and removed with it."""

    def __init__(self) -> None:
        self._given = os.environ.get(GIVEN, "")
        self.own: Any = None
        if not self._given:
            from lab.postgres import (
                Postgres,
            )  # not on the path of programs that only open a database

            self.own = Postgres.start(durable=False)
        self._shared: str | None = None
        self._template: str | None = None
        self._made: list[str] = []

    def url(self, database: str) -> str:
        if self.own is not None:
            return str(self.own.url(database))
        parts = urlsplit(self._given)
        return urlunsplit(parts._replace(path=f"/{database}"))

    def run(self, statement: str, database: str | None = None) -> list[Any]:
        """Run one statement by itself; its rows."""
        where = self.url(database or (self._admin if self.own is None else "postgres"))
        with psycopg.connect(where, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def _admin(self) -> str:
        return urlsplit(self._given).path.strip("/")

    def create(self, template: str = "template0") -> str:
        """A new database, as another one that nobody uses; its name."""
        name = f"keypeg_test_{uuid.uuid4().hex}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        self._made.append(name)
        return name

    def template(self) -> str:
        """A database with empty tables that nobody opens: others are made as it is."""
        if self._template is None:
            name = self.create()
            database = open_at(self.url(name))
            database.migrate(tables.metadata.create_all)
            database.close()
            self._template = name
        return self._template

    def shared(self) -> str:
        """A database with empty tables, of one test after the other."""
        if self._shared is None:
            self._shared = self.create()
            database = open_at(self.url(self._shared))
            database.migrate(tables.metadata.create_all)
            database.close()
        return self._shared

    def close(self) -> None:
        if self.own is not None:
            self.own.close()
            return
        for name in self._made:
            self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@cache
def server() -> Server:
    """The one of this run."""
    return Server()


def open_in(folder: Path) -> Database:
    """The database that belongs to a folder, with its tables: a file in it, or as KEYPEG_TEST_ON says `postgres`.

    For tests of what stands above storage: they run on SQLite, and in continuous integration on both.
    """
    if os.environ.get(ON) == "postgres":
        if folder not in _OF_FOLDERS:
            _OF_FOLDERS[folder] = server().url(server().create(server().template()))
        return open_at(_OF_FOLDERS[folder])
    return SqlitePlace(folder).make()


_OF_FOLDERS: dict[Path, str] = {}


@pytest.fixture(scope="session", autouse=True)
def _server_ends() -> Iterator[None]:
    yield
    if server.cache_info().currsize:
        server().close()


BOTH = ["sqlite", "postgres"]


@pytest.fixture(params=BOTH)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A database of the test's own; the test runs once for each kind."""
    if request.param == "sqlite":
        yield SqlitePlace(tmp_path)
        return
    made = PostgresPlace(server())
    yield made
    made.clear()


@pytest.fixture(params=BOTH)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """As `place`, without tables."""
    if request.param == "sqlite":
        yield SqlitePlace(tmp_path)
        return
    made = PostgresPlace(server(), own=True)
    yield made
    made.clear()


@pytest.fixture
def postgres() -> Iterator[PostgresPlace]:
    """A database on PostgreSQL, for what only that does."""
    made = PostgresPlace(server())
    yield made
    made.clear()


@pytest.fixture
def empty_postgres() -> Iterator[PostgresPlace]:
    """As `postgres`, without tables."""
    made = PostgresPlace(server(), own=True)
    yield made
    made.clear()
