"""A database: one thread writes it, a few threads read it. What is the same on SQLite and on PostgreSQL.

Promises: a transaction that returned is on disk. What the disk or the server of the database refuses becomes
StorageUnavailable: then nothing of it is there, and the next transaction is tried afresh. Constraint violations
pass through as sqlalchemy's IntegrityError, for the caller knows their meaning.

Leaves to others: how each database is opened and written (sqlite.py, postgres.py), the schema (tables.py,
migrations), what is in a transaction.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from keypeg.errors import StorageUnavailable
from keypeg_server.storage.fence import Fence

_LOG: Final = logging.getLogger(__name__)
_T = TypeVar("_T")

READERS: Final = 3  # threads: administration reads rarely, and each costs a connection
RETRY_AFTER: Final = timedelta(seconds=1)


def unavailable(error: BaseException) -> StorageUnavailable:
    """The refusal for what the disk or the database said; the details go to the log alone."""
    _LOG.error("storage failed", extra={"error": str(getattr(error, "orig", None) or error)})
    return StorageUnavailable(
        "The server can not read or write its database at the moment; nothing was changed. Try again; "
        "the server's operator finds the cause (a full or read-only disk?) in its log.",
        retry_after=RETRY_AFTER,
    )


class Database(ABC):
    """An open database."""

    def __init__(self, reader: Engine) -> None:
        self.fence: Fence | None = None  # set where several servers write
        self._reader: Final = reader
        self._reading = ThreadPoolExecutor(READERS, thread_name_prefix="keypeg-reader")

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, for people; without secrets."""

    @abstractmethod
    def submit(
        self,
        work: Callable[[Connection], _T],
        *,
        parents: Collection[str] = (),
        committed: Callable[[], None] | None = None,
    ) -> Future[_T]:
        """Run `work` in one transaction in the writer's thread, after all that was submitted before.

        What `work` raises rolls back, and is what the future ends with. It may be run again from its start when
        the database asks for that. `parents` are whom it writes for (service/homes_port.py): HomesLost, and
        nothing is written, when another server is the home of one. `committed` is called in the writer's
        thread when it is on disk, before anything else is written.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish what was submitted, and let go of it."""

    def migrate(self, work: Callable[[Connection], _T]) -> _T:
        """Run `work` in one transaction of the writer and wait for it; for start-up, before there is a loop."""
        return self.submit(work).result()

    async def write(self, work: Callable[[Session], _T], *, parents: Collection[str] = ()) -> _T:
        """Run `work` in one transaction in the writer's thread; committed when this returns.

        A caller that is canceled does not stop it.
        """

        def run(connection: Connection) -> _T:
            with Session(bind=connection, expire_on_commit=False) as session, session.begin():
                return work(session)

        return await asyncio.wrap_future(self.submit(run, parents=parents))

    async def read(self, work: Callable[[Session], _T]) -> _T:
        """Run `work` in a reader's thread on one consistent snapshot; it can not write."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._look, work)

    def _look(self, work: Callable[[Session], _T]) -> _T:
        try:
            with Session(bind=self._reader, expire_on_commit=False) as session:
                return work(session)
        except SQLAlchemyError as error:
            raise unavailable(error) from error
