"""Statements for PostgreSQL that are sent together and run in order: a whole transaction in one round trip.

Promises: `add` keeps a prepared statement with its values; `flush` runs what was kept, in the transaction that the
connection is in or begins now; `commit` does so and commits in the same sending. An error of the database is
raised as sqlalchemy's, and the transaction is undone by whoever runs it. `CommitUnknown`: the connection was lost
after COMMIT was sent, and whether the transaction is there has to be looked up.

A thread that waits for the network gives way to the event loop, and gets its turn back late when that is busy.
So a batch waits once, however many statements it takes; values go as texts of arrays, which are quicker to make
than parameters (docs/performance.md).

Leaves to others: what is written (bulk.py and its users), retrying and settling (postgres.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import errors, pq
from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

KEY: Final = "keypeg_script"  # in Connection.info
_FATAL: Final = frozenset({b"FATAL", b"PANIC"})
_UNSURE: Final = "40003"  # statement_completion_unknown, as some engines say it
_CONTROL: Final = re.compile(r"[\x00-\x1f]")
_DONE: Final = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)


class CommitUnknown(Exception):
    """The connection was lost after COMMIT was sent."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A statement of this module's users: its name on every connection, its types and its text."""

    name: str
    types: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        types = f" ({', '.join(self.types)})" if self.types else ""
        return f"PREPARE {self.name}{types} AS {self.text}"


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


def script_of(connection: Connection) -> Script | None:
    """What a connection sends together; None on SQLite, and where nothing is written."""
    found: Script | None = connection.info.get(KEY)
    return found


# Values, as texts of SQL. `standard_conforming_strings` is on (postgres.py sees to that).


def array_type(column: Column[Any]) -> str:
    """The type of an array of a column's values."""
    if isinstance(column.type, Integer | BigInteger):
        return "bigint[]"
    return "bytea[]" if isinstance(column.type, LargeBinary) else "text[]"


def array(type: str, values: Sequence[Any]) -> str:
    """Values of a column as a literal of `array_type`; none of them is None, or a text with NUL in it."""
    if type == "bigint[]":
        return "'{" + ",".join(map(str, values)) + "}'"
    if type == "bytea[]":
        return "'{" + ",".join([f'"\\\\x{value.hex()}"' for value in values]) + "}'"
    if _CONTROL.search("".join(values)):  # JSON writes these in a way of its own
        body = ",".join([_element(value) for value in values])
    else:
        body = json.dumps(values, ensure_ascii=False, separators=(",", ":"))[1:-1]
    return "'{" + body.replace("'", "''") + "}'"


def literal(value: str | int) -> str:
    """One value as a literal."""
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def _element(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
