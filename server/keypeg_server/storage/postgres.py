"""PostgreSQL, or what speaks as it: one connection writes for this server, a few others read.

Promises: beside those of database.py, for a database that other servers write, too, and that may go away and
come back at any time:
- a transaction is run again when the database asks for that (40001, 40P01);
- when the connection is lost while a transaction commits, what became of it is settled before anything is answered
  (lane.py);
- nothing waits for ever for a server that stopped in the middle: locks and idle transactions have limits;
- no password is in a log, a repr or an error.

Leaves to others: the schema (tables.py, migrations), which SQL is used: no more than docs/operations.md says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any, Final, TypeVar
from weakref import WeakSet

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool
from sqlmodel import Session

from keypeg.errors import StorageUnavailable
from keypeg_server.address import PostgresUrl
from keypeg_server.storage.connections import after, cut
from keypeg_server.storage.database import READERS, RETRY_AFTER, Database, unavailable
from keypeg_server.storage.lane import CLOSE_PATIENCE, Lane

_T = TypeVar("_T")

CONNECT: Final = {
    "connect_timeout": 5,  # seconds
    # A peer that is gone without a word is noticed in some six seconds.
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 4,
    "tcp_user_timeout": 6_000,  # milliseconds
    "application_name": "keypegd",
    "client_encoding": "UTF8",
}

# Beats are made there. What another server's transaction holds, that was stopped in its midst, is not waited for as
# long as a server acts by one beat (domain/home.py).
ASIDE: Final = ("SET lock_timeout = '1s'",)


def connect(url: PostgresUrl, *, reads: bool = False) -> psycopg.Connection[Any]:
    """A connection that sees one state in each transaction and can not write, or one that writes; psycopg's errors."""
    given = conninfo_to_dict(url.secret)
    wanted: dict[str, Any] = {k: v for k, v in CONNECT.items() if k not in given}
    connection = psycopg.connect(url.secret, **wanted)
    connection.prepare_threshold = 3 if reads else None
    if reads:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
    return connection


class PostgresDatabase(Database):
    """An open PostgreSQL database. `open` is the way to one."""

    def __init__(self, url: PostgresUrl) -> None:
        self.url: Final = url
        self._closing = threading.Event()
        self._read: WeakSet[psycopg.Connection[Any]] = WeakSet()
        super().__init__(self._engine(reads=True))
        self._main = Lane("keypeg-writer", self._engine(), self._closing, marks=True)
        self._beside = Lane(
            "keypeg-aside", self._engine(), self._closing, marks=False, settings=ASIDE
        )

    @classmethod
    def open(cls, url: PostgresUrl) -> PostgresDatabase:
        """Connect; StorageUnavailable when that can not be."""
        database = cls(url)
        try:
            database._main.connect()
        except (SQLAlchemyError, psycopg.Error) as error:
            database.close()
            said = _first_line(getattr(error, "orig", None) or error)
            raise StorageUnavailable(
                f"The database {url} can not be reached ({said}); check its address, its user and "
                "password, and that it runs.",
                retry_after=RETRY_AFTER,
            ) from error
        return database

    @property
    def place(self) -> str:
        return str(self.url)

    def submit(
        self,
        work: Callable[[Connection], _T],
        *,
        parents: Collection[str] = (),
        committed: Callable[[], None] | None = None,
    ) -> Future[_T]:
        return self._main.submit(work, self.fence if parents else None, parents, committed)

    def aside(self, work: Callable[[Connection], _T]) -> Future[_T]:
        """As `submit`, on a connection of its own, so that it waits for nothing else.

        When StorageUnavailable says that the connection was lost, it may have been done nevertheless.
        """
        return self._beside.submit(work, None, (), None)

    def migrate(self, work: Callable[[Connection], _T]) -> _T:
        """As `submit`, also where there are no tables yet; when the connection is lost, it may have been done."""
        return self._main.submit(work, None, (), None, marked=False).result()

    def close(self) -> None:
        if self._closing.is_set():
            return
        self._closing.set()
        self._main.close()
        self._beside.close()
        watch = after(CLOSE_PATIENCE, lambda: cut(*self._read))
        self._reading.shutdown()
        watch.cancel()
        self._reader.dispose()

    def _look(self, work: Callable[[Session], _T]) -> _T:
        for last in (False, True):
            try:
                with Session(bind=self._reader, expire_on_commit=False) as session:
                    return work(session)
            except DBAPIError as error:
                # The connections of before the database was restarted; looking changes nothing.
                if last or not error.connection_invalidated:
                    raise unavailable(error) from error
            except SQLAlchemyError as error:
                raise unavailable(error) from error
        raise AssertionError

    def _engine(self, *, reads: bool = False) -> Engine:
        def creator() -> psycopg.Connection[Any]:
            connection = connect(self.url, reads=reads)
            if reads:
                self._read.add(connection)
            return connection

        pool: dict[str, Any] = {"poolclass": NullPool}
        if reads:
            pool = {"poolclass": QueuePool, "pool_size": READERS}
        return create_engine(
            "postgresql+psycopg://",
            creator=creator,
            hide_parameters=True,
            use_native_hstore=False,
            **pool,
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0].rstrip(".")
