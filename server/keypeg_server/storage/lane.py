"""One connection that writes to PostgreSQL, and the one thread that uses it.

Promises: each work is one transaction, run again when the database asks for that, or when the connection was lost
and nothing of it is there. When it is lost while a transaction commits, what became of that is settled before
anything is answered: every transaction moves a mark of this writer's own, from the value it had before and no
other. So who moves the mark away afterwards either finds that it was moved, and the transaction is there, or has
made sure that it never will be. Until the database answers, the transaction and all after it wait.

Leaves to others: the mark (marks.py), what is sent together (script.py), how a connection is set up and ended
(connections.py), readers and other connections (postgres.py).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg import pq
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from keypeg_server.clock import SystemClock
from keypeg_server.storage import marks
from keypeg_server.storage.connections import after, cut, prepared, was_ended
from keypeg_server.storage.database import unavailable
from keypeg_server.storage.fence import GUARD, MISSED, Fence
from keypeg_server.storage.script import CommitUnknown, Script
from keypeg_server.storage.statements import KEY, literal, script_of

_LOG: Final = logging.getLogger(__name__)
_T = TypeVar("_T")

TRIES: Final = 8  # of a transaction that the database wants to be run again
AGAIN: Final = frozenset({"40001", "40P01"})  # serialization_failure, deadlock_detected
RETRY_PAUSE: Final = 0.005  # seconds, doubled with each try
SETTLE_PAUSE: Final = (0.05, 1.0)  # seconds between attempts to reach a database that went away
IDLE: Final = 0.2  # seconds, after which a connection is looked at before it is used
CLOSE_PATIENCE: Final = 10.0  # seconds for a database that does not answer, when the server stops


class Lane:
    """A connection that writes, and the one thread that uses it."""

    def __init__(
        self,
        name: str,
        engine: Engine,
        closing: threading.Event,
        *,
        marks: bool,
        settings: Sequence[str] = (),
    ) -> None:
        """`settings` are statements that set up each connection, beside what they all need."""
        self._engine = engine
        self._closing = closing
        self._marks = marks
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._connection: Connection | None = None
        self._driver: psycopg.Connection[Any] | None = None
        self._script: Script | None = None
        self._clock = SystemClock()
        self._used = 0.0  # when it was used last, on that clock
        self._mark = ""  # its key; empty when there is none yet
        self._number = 0  # its value
        event.listen(engine, "before_cursor_execute", _in_order)

    def connect(self) -> None:
        """Connect now, and wait for it; psycopg's errors."""
        self._thread.submit(self._connected).result()

    def submit(
        self,
        work: Callable[[Connection], _T],
        fence: Fence | None,
        parents: Collection[str],
        committed: Callable[[], None] | None,
        *,
        marked: bool = True,
    ) -> Future[_T]:
        def run() -> _T:
            result = self._guarded(work, fence, parents, marked and self._marks)
            if committed is not None:
                committed()
            return result

        return self._thread.submit(run)

    def close(self) -> None:
        """End when all is done; a database that does not answer is waited for only so long."""
        ended = self._thread.submit(self._leave)
        watch = after(CLOSE_PATIENCE, lambda: cut(*filter(None, [self._driver])))
        with suppress(Exception):
            ended.result()
        watch.cancel()
        self._thread.shutdown()
        self._engine.dispose()

    def _guarded(
        self,
        work: Callable[[Connection], _T],
        fence: Fence | None,
        parents: Collection[str],
        marked: bool,
    ) -> _T:
        for attempt in range(1, TRIES + 1):
            try:
                return self._transact(work, fence, parents, marked)
            except DBAPIError as error:
                lost = not self._is_open()  # and not in a commit, or that is settled
                self._undo()
                state = getattr(error.orig, "sqlstate", None)
                if state == MISSED and (marked or fence is not None):
                    self._missed(fence, parents)
                elif state not in AGAIN and not lost:
                    if isinstance(error, IntegrityError):
                        raise
                    raise unavailable(error) from error
                if attempt == TRIES or (lost and self._closing.is_set()):
                    raise unavailable(error) from error
                self._closing.wait(RETRY_PAUSE * 2**attempt)
            except SQLAlchemyError as error:
                raise unavailable(error) from error
            finally:
                self._undo()
        raise AssertionError

    def _transact(
        self,
        work: Callable[[Connection], _T],
        fence: Fence | None,
        parents: Collection[str],
        marked: bool,
    ) -> _T:
        try:
            connection = self._connected()
        except (SQLAlchemyError, psycopg.Error) as error:
            raise unavailable(error) from error
        sending = self._script
        assert sending is not None
        opening = []
        fenced = False
        if marked:
            if not self._mark:
                self._mark, self._number = marks.make(connection), 0
            move = (self._mark, str(self._number + 1), str(self._number))
            opening.append(sending.call(marks.MOVE, *map(literal, move)))
        if fence is not None and (epochs := fence.epochs(parents)):
            opening.append(sending.call(GUARD, *fence.values(epochs)))
            fenced = True
        transaction = connection.begin()
        sending.begin(*opening, first=fenced)
        result = work(connection)
        try:
            moved = sending.commit()
        except CommitUnknown as unknown:
            cause = unknown.__cause__
            assert isinstance(cause, DBAPIError)
            self._drop()
            if not marked:
                raise unavailable(cause) from cause
            if not self._settled():
                self._drop()
                raise cause from unknown
            return result
        transaction.commit()  # in the driver's and in sqlalchemy's books
        if marked and moved:
            self._number += 1
        return result

    def _settled(self) -> bool:
        """Whether the transaction that moved the mark on by one is there; waits until that can be told."""
        _LOG.warning("connection lost in a commit, settling")
        pause = SETTLE_PAUSE[0]
        after = self._number + 2  # if the transaction is not there, and never will be
        while True:
            try:
                connection = self._connected()
                moved, found = marks.move_away(connection, self._mark, self._number, after)
            except (SQLAlchemyError, psycopg.Error) as error:
                # It may have been moved just now: `found` tells next time.
                self._drop()
                if self._closing.is_set():
                    raise marks.unsettled() from error
                self._closing.wait(pause)
                pause = min(pause * 2, SETTLE_PAUSE[1])
                continue
            there = not moved and found == str(self._number + 1)
            _LOG.warning("settled", extra={"committed": there})
            if found is None:
                self._mark = (
                    ""  # another database, as after a restore: what was written is not in it
                )
            else:
                self._number = int(found)
            return there

    def _missed(self, fence: Fence | None, parents: Collection[str]) -> None:
        """Why a transaction's opening failed: HomesLost, or else this writer makes a new mark."""
        if fence is not None:
            connection = self._connected()
            try:
                with connection.begin():
                    fence.check(connection, parents)
            except SQLAlchemyError as error:
                raise unavailable(error) from error
        self._mark = ""

    def _connected(self) -> Connection:
        now = self._clock.monotonic()
        if now - self._used > IDLE and self._driver is not None and was_ended(self._driver):
            self._drop()
        self._used = now
        if self._connection is not None and not self._is_open():
            self._drop()
        if self._connection is None:
            connection = self._engine.connect()
            driver = prepared(connection, *self._settings)
            self._script = connection.info[KEY] = Script(driver)
            self._connection, self._driver = connection, driver
        return self._connection

    def _is_open(self) -> bool:
        return (
            self._connection is not None
            and not self._connection.invalidated
            and self._driver is not None
            and self._driver.pgconn.status == pq.ConnStatus.OK
        )

    def _undo(self) -> None:
        """Leave no transaction open; a connection that can not roll back is given up."""
        if self._connection is None or self._driver is None:
            return
        if self._script is not None:
            self._script.begin()
        try:
            if self._connection.in_transaction():
                self._connection.rollback()
            if self._driver.pgconn.transaction_status != pq.TransactionStatus.IDLE:
                self._driver.rollback()
        except (SQLAlchemyError, psycopg.Error):
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._driver = self._script = None
        if connection is not None:
            with suppress(SQLAlchemyError, psycopg.Error):
                connection.invalidate()
            with suppress(SQLAlchemyError, psycopg.Error):
                connection.close()

    def _leave(self) -> None:
        """Take the mark away, and disconnect."""
        if self._connection is not None and self._mark and self._is_open():
            with suppress(SQLAlchemyError, psycopg.Error):
                marks.remove(self._connection, self._mark)
        self._drop()


def _in_order(connection: Connection, *_: object) -> None:
    """A statement that is run by itself comes after those that were kept to be sent together."""
    sending = script_of(connection)
    if sending is not None:
        sending.flush()
