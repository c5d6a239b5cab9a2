"""The SQLite file: one process owns it, one thread writes it, a few threads read it.

Promises: a second process is refused with a sentence; a transaction that returned is on disk (WAL,
synchronous=FULL); what the disk refuses becomes StorageUnavailable, and the next transaction is tried
afresh. Constraint violations pass through as sqlalchemy's IntegrityError, for the caller knows their meaning.

Leaves to others: the schema (tables.py, migrations) and what is in a transaction.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib
import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool
from sqlmodel import Session

from keypeg.errors import StorageUnavailable

_LOG: Final = logging.getLogger(__name__)
_T = TypeVar("_T")

READERS: Final = 3  # threads: administration reads rarely, and each costs a connection
SAFE_SQLITE: Final = (3, 51, 3)  # older ones may corrupt a WAL that two connections write at once
CHECKPOINT_PAGES: Final = 4_000  # of 4 KiB: 16 MiB of log between checkpoints
RETRY_AFTER: Final = timedelta(seconds=1)


def _driver() -> ModuleType:
    """The newest SQLite at hand: pysqlite3 carries its own, Python's is the system's."""
    try:
        return importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return importlib.import_module("sqlite3.dbapi2")


def unavailable(error: BaseException) -> StorageUnavailable:
    """The refusal for what the disk or the database said; the details go to the log alone."""
    _LOG.error("storage failed", extra={"error": str(getattr(error, "orig", None) or error)})
    return StorageUnavailable(
        "The server can not read or write its database at the moment; nothing was changed. Try again; "
        "the server's operator finds the cause (a full or read-only disk?) in its log.",
        retry_after=RETRY_AFTER,
    )


class Database:
    """An open SQLite file. `open` is the way to one."""

    def __init__(self, path: Path, lock: int, writer: Engine, reader: Engine) -> None:
        self.path: Final = path
        self._lock = lock
        self._engine = writer
        self._reader = reader
        self._connection: Connection | None = None
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="keypeg-writer")
        self._reading = ThreadPoolExecutor(READERS, thread_name_prefix="keypeg-reader")

    @classmethod
    def open(cls, path: Path) -> Database:
        """Own this file, made when it is not there; StorageUnavailable when that can not be."""
        driver = _driver()
        version: tuple[int, ...] = driver.sqlite_version_info
        if version < SAFE_SQLITE:
            _LOG.warning("old sqlite, install pysqlite3", extra={"version": driver.sqlite_version})
        lock = _take(path)
        url = f"sqlite+pysqlite:///{path}"
        arguments: dict[str, Any] = {"check_same_thread": False, "timeout": 10}
        writer = create_engine(url, module=driver, connect_args=arguments, poolclass=NullPool)
        reader = create_engine(
            url, module=driver, connect_args=arguments, poolclass=QueuePool, pool_size=READERS
        )
        _configure(writer, "BEGIN IMMEDIATE", ["PRAGMA journal_mode=WAL"])
        _configure(reader, "BEGIN", ["PRAGMA query_only=ON"])
        database = cls(path, lock, writer, reader)
        try:
            database.migrate(lambda _: None)  # the first connection makes the file a WAL one
        except StorageUnavailable:
            database.close()
            raise
        return database

    def migrate(self, work: Callable[[Connection], _T]) -> _T:
        """Run `work` in one transaction of the writer and wait for it; for start-up, before there is a loop."""
        return self.submit_batch(lambda connection: self._transaction(connection, work)).result()

    async def write(self, work: Callable[[Session], _T]) -> _T:
        """Run `work` in one transaction in the writer thread; committed when this returns.

        What `work` raises rolls back and is raised here. A caller that is canceled does not stop it.
        """

        def run(connection: Connection) -> _T:
            with Session(bind=connection, expire_on_commit=False) as session, session.begin():
                return work(session)

        return await asyncio.wrap_future(self.submit_batch(run))

    async def read(self, work: Callable[[Session], _T]) -> _T:
        """Run `work` in a reader thread on one consistent snapshot; it can not write."""

        def run() -> _T:
            try:
                with Session(bind=self._reader, expire_on_commit=False) as session:
                    return work(session)
            except SQLAlchemyError as error:
                raise unavailable(error) from error

        return await asyncio.get_running_loop().run_in_executor(self._reading, run)

    def submit_batch(self, work: Callable[[Connection], _T]) -> Future[_T]:
        """Run `work` in the writer thread, after all that was submitted before; it makes its own transactions."""
        return self._writing.submit(self._guarded, work)

    def close(self) -> None:
        """Finish what was submitted, and let go of the file."""
        self._writing.submit(self._disconnect)
        self._writing.shutdown()
        self._reading.shutdown()
        self._engine.dispose()
        self._reader.dispose()
        os.close(self._lock)

    def _guarded(self, work: Callable[[Connection], _T]) -> _T:
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            return work(self._connection)
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

    @staticmethod
    def _transaction(connection: Connection, work: Callable[[Connection], _T]) -> _T:
        with connection.begin():
            return work(connection)


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
