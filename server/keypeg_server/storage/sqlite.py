"""The SQLite file: one process owns it, one thread writes it.

Promises: beside those of database.py, a second process is refused with a sentence, and what returned is on disk
also when the power fails (WAL, synchronous=FULL).

Leaves to others: the schema (tables.py, migrations) and what is in a transaction.
"""

from __future__ import annotations

import fcntl
import importlib
import logging
import os
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from keypeg.errors import StorageUnavailable
from keypeg_server.storage.database import READERS, Database, unavailable

_LOG: Final = logging.getLogger(__name__)
_T = TypeVar("_T")

SAFE_SQLITE: Final = (3, 51, 3)  # older ones may corrupt a WAL that two connections write at once
CHECKPOINT_PAGES: Final = 4_000  # of 4 KiB: 16 MiB of log between checkpoints


def driver() -> ModuleType:
    """The newest SQLite at hand: pysqlite3 carries its own, Python's is the system's."""
    try:
        return importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return importlib.import_module("sqlite3.dbapi2")


class SqliteDatabase(Database):
    """An open SQLite file. `open` is the way to one."""

    def __init__(self, path: Path, lock: int, writer: Engine, reader: Engine) -> None:
        super().__init__(reader)
        self.path: Final = path
        self._lock = lock
        self._engine = writer
        self._connection: Connection | None = None
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="keypeg-writer")

    @classmethod
    def open(cls, path: Path) -> SqliteDatabase:
        """Own this file, made when it is not there; StorageUnavailable when that can not be."""
        module = driver()
        version: tuple[int, ...] = module.sqlite_version_info
        if version < SAFE_SQLITE:
            _LOG.warning("old sqlite, install pysqlite3", extra={"version": module.sqlite_version})
        lock = _take(path)
        url = f"sqlite+pysqlite:///{path}"
        arguments: dict[str, Any] = {"check_same_thread": False, "timeout": 10}
        # Errors say the statement, and not what was to be written: secrets' hashes, people's names.
        options: dict[str, Any] = {
            "module": module,
            "connect_args": arguments,
            "hide_parameters": True,
        }
        writer = create_engine(url, poolclass=NullPool, **options)
        reader = create_engine(url, poolclass=QueuePool, pool_size=READERS, **options)
        _configure(writer, "BEGIN IMMEDIATE", ["PRAGMA journal_mode=WAL"])
        _configure(reader, "BEGIN", ["PRAGMA query_only=ON"])
        database = cls(path, lock, writer, reader)
        try:
            database.migrate(lambda _: None)  # the first connection makes the file a WAL one
        except StorageUnavailable:
            database.close()
            raise
        return database

    @property
    def place(self) -> str:
        return str(self.path)

    def submit(
        self,
        work: Callable[[Connection], _T],
        *,
        parents: Collection[str] = (),  # all are at home here: this process owns the file
        committed: Callable[[], None] | None = None,
    ) -> Future[_T]:
        return self._writing.submit(self._guarded, work, committed)

    def pragma(self, what: str) -> None:
        """Set a pragma of the writer's connection, after all that was submitted before; waits for it."""

        def run() -> None:
            assert self._connection is not None  # there since `open`
            self._connection.connection.cursor().execute(f"PRAGMA {what}")

        self._writing.submit(run).result()

    def close(self) -> None:
        self._writing.submit(self._disconnect)
        self._writing.shutdown()
        self._reading.shutdown()
        self._engine.dispose()
        self._reader.dispose()
        os.close(self._lock)

    def _guarded(
        self, work: Callable[[Connection], _T], committed: Callable[[], None] | None
    ) -> _T:
        try:
            connection = self._connection
            if connection is None:
                connection = self._connection = self._engine.connect()
            with connection.begin():
                result = work(connection)
            if committed is not None:
                committed()
            return result
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise unavailable(error) from error
        finally:
            self._settle()

    def _settle(self) -> None:
        """Leave no transaction open; a connection that can not roll back is given up."""
        if self._connection is not None and self._connection.in_transaction():
            try:
                self._connection.rollback()
            except DBAPIError:
                self._disconnect()
        if self._connection is not None and self._connection.invalidated:
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _take(path: Path) -> int:
    """Lock the file's own lock file for this process; the lock goes with the process, however it ends."""
    try:
        lock = os.open(
            path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise StorageUnavailable(
            f"The database {path} can not be opened ({error.strerror}); check the directory and its rights.",
            path=str(path),
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.read(lock, 20).decode("ascii", "replace").strip()
        os.close(lock)
        raise StorageUnavailable(
            f"The database {path} is in use by another keypegd (process {owner or 'unknown'}); "
            "stop that one first, or give this one its own data directory.",
            path=str(path),
            process=owner,
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _configure(engine: Engine, begin: str, pragmas: list[str]) -> None:
    common = [
        "PRAGMA synchronous=FULL",
        "PRAGMA foreign_keys=ON",
        "PRAGMA mmap_size=0",
        f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}",
    ]

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin when and how we say
        for pragma in (*pragmas, *common):
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)
