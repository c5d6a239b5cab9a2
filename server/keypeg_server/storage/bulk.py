"""Many rows in few statements, for the one writer's hot path.

Promises: the statements are those of the tables' metadata, in a handful of sizes, so that the driver prepares
each once. A driver lets other threads run between statements, and gets its turn back late when they are busy:
sixty rows by six statements take a fraction of the time of sixty by sixty.

Leaves to others: the transaction, and values that the driver takes as they are (texts, integers, bytes).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from sqlalchemy import Column, Connection, Table

SIZES: Final = (64, 16, 4, 1)  # rows of one statement


class BulkInsert:
    """Rows into a table, as tuples of all columns in the table's order."""

    def __init__(self, table: Table) -> None:
        self._table: Final = table
        self._statements: dict[int, str] = {}

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert them all."""
        for part in _parts(rows):
            statement = self._statements.get(len(part))
            if statement is None:
                statement = self._statements[len(part)] = self._text(connection, len(part))
            connection.exec_driver_sql(statement, tuple(chain.from_iterable(part)))

    def _text(self, connection: Connection, count: int) -> str:
        quote = connection.dialect.identifier_preparer.quote
        columns = ", ".join(quote(column.name) for column in self._table.columns)
        row = f"({_marks(connection, len(self._table.columns))})"
        rows = ", ".join([row] * count)
        return f"INSERT INTO {quote(self._table.name)} ({columns}) VALUES {rows}"  # noqa: S608 - names of our own tables


class BulkDelete:
    """Rows out of a table, by the values of one column."""

    def __init__(self, column: Column[Any]) -> None:
        self._column: Final = column
        self._statements: dict[int, str] = {}

    def run(self, connection: Connection, values: Sequence[Any]) -> None:
        """Delete them all; those that are not there are none."""
        for part in _parts(values):
            statement = self._statements.get(len(part))
            if statement is None:
                statement = self._statements[len(part)] = self._text(connection, len(part))
            connection.exec_driver_sql(statement, tuple(part))

    def _text(self, connection: Connection, count: int) -> str:
        quote = connection.dialect.identifier_preparer.quote
        table, column = quote(self._column.table.name), quote(self._column.name)
        return f"DELETE FROM {table} WHERE {column} IN ({_marks(connection, count)})"  # noqa: S608 - as above


def _marks(connection: Connection, count: int) -> str:
    return ", ".join(["?" if connection.dialect.paramstyle == "qmark" else "%s"] * count)


def _parts(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    begin = 0
    for size in SIZES:
        while len(rows) - begin >= size:
            yield rows[begin : begin + size]
            begin += size
