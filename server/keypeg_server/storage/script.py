"""Statements for PostgreSQL that are sent together and run in order: a whole transaction in one round trip.

Promises: `add` keeps a prepared statement with its values; `flush` runs what was kept, in the transaction that the
connection is in or begins now; `commit` does so and commits in the same sending. An error of the database is
raised as sqlalchemy's, and the transaction is undone by whoever runs it. `CommitUnknown`: the connection was lost
after COMMIT was sent, and whether the transaction is there has to be looked up.

A thread that waits for the network gives way to the event loop, and gets its turn back late when that is busy.
So a batch waits once, however many statements it takes; values go as texts of arrays, which are quicker to make
than parameters (docs/performance.md).

Leaves to others: the statements and their values (statements.py), what is written (bulk.py and its users), retrying and settling (postgres.py).
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import errors, pq
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from keypeg_server.storage.statements import Prepared

_FATAL: Final = frozenset({b"FATAL", b"PANIC"})
_UNSURE: Final = "40003"  # statement_completion_unknown, as some engines say it
_DONE: Final = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)


class CommitUnknown(Exception):
    """The connection was lost after COMMIT was sent."""


class Script:
    """What is to be sent on one connection of the driver's."""

    def __init__(self, driver: psycopg.Connection[Any]) -> None:
        self._driver = driver
        self._prepared: set[Prepared] = set()
        self._opening: list[str] = []  # of this transaction, not sent yet
        self._kept: list[str] = []
        self._first = False

    def begin(self, *opening: str, first: bool = False) -> None:
        """A new transaction with these statements; `first`: before anything else, and though nothing else is done."""
        self._opening = list(opening)
        self._first = first
        self._kept = []

    def call(self, statement: Prepared, *values: str) -> str:
        """A statement with its values (literals), as a text."""
        if statement not in self._prepared:
            self._run(str(statement))
            self._prepared.add(statement)
        return f"EXECUTE {statement.name}({', '.join(values)})" if values else statement.text

    def add(self, statement: Prepared, *values: str) -> None:
        """Keep a statement for the next sending."""
        self._kept.append(self.call(statement, *values))

    def flush(self) -> None:
        """Send what was kept."""
        if self._kept or (self._first and self._opening):
            self._run(";".join(self._parts()))

    def commit(self) -> bool:
        """Send what was kept, and commit; False when there was nothing to commit."""
        pgconn = self._driver.pgconn
        idle = pgconn.transaction_status == pq.TransactionStatus.IDLE
        if idle and not self._kept and not self._first:
            return False
        try:
            self._run(";".join([*self._parts(), "COMMIT"]))
        except DBAPIError as error:
            if _is_lost(self._driver, error):
                raise CommitUnknown from error
            raise
        return True

    def _parts(self) -> list[str]:
        begin = []
        if self._driver.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            begin.append("BEGIN")
        parts = [*begin, *self._opening, *self._kept]
        self._opening, self._kept = [], []
        return parts

    def _run(self, text: str) -> None:
        pgconn = self._driver.pgconn
        try:
            result = pgconn.exec_(text.encode())
        except psycopg.Error as error:  # the connection was lost before
            raise OperationalError("", None, error, connection_invalidated=True) from error
        if result.status not in _DONE:
            raise _raised(errors.error_from_result(result))


def _raised(error: psycopg.Error) -> DBAPIError:
    kind = IntegrityError if isinstance(error, psycopg.IntegrityError) else OperationalError
    return kind("", None, error)


def _is_lost(driver: psycopg.Connection[Any], error: DBAPIError) -> bool:
    """Whether an error leaves open what became of the transaction."""
    cause = error.orig
    if driver.pgconn.status != pq.ConnStatus.OK or not isinstance(cause, psycopg.Error):
        return True
    return cause.sqlstate is None or cause.sqlstate == _UNSURE or _severity(cause) in _FATAL


def _severity(error: psycopg.Error) -> bytes:
    return (error.diag.severity_nonlocalized or error.diag.severity or "FATAL").encode()
