"""Many rows in few statements, for the one writer's hot path.

Promises: the statements are those of the tables' metadata, prepared once. A driver lets other threads run between
statements, and gets its turn back late when they are busy: sixty rows by six statements take a fraction of the
time of sixty by sixty. On SQLite there is a handful of sizes; on PostgreSQL rows go as one array for each column,
and are sent with the rest of the transaction (script.py).

Leaves to others: the transaction, and values that the driver takes as they are (texts, integers, bytes).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from sqlalchemy import Column, Connection, Table

from keypeg_server.storage.statements import Prepared, array, array_type, script_of

SIZES: Final = (64, 16, 4, 1)  # rows of one statement


class BulkInsert:
    """Rows into a table, as tuples of all columns in the table's order."""

    def __init__(self, table: Table) -> None:
        self._table: Final = table
        self._statements: dict[int, str] = {}
        self._types = tuple(array_type(column) for column in table.columns)
        self._columns: Final = ", ".join(_quoted(column.name) for column in table.columns)
        self._prepared = Prepared(
            f"keypeg_put_{table.name}",
            self._types,
            f"INSERT INTO {_quoted(table.name)} ({self._columns}) "  # noqa: S608 - names of our own tables
            f"SELECT * FROM unnest({_numbers(len(self._types))})",
        )

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert them all."""
        script = script_of(connection)
        if script is not None:
            columns = zip(*rows, strict=True)
            script.add(self._prepared, *map(array, self._types, columns))
            return
        for part in _parts(rows):
            statement = self._statements.get(len(part))
            if statement is None:
                statement = self._statements[len(part)] = self._text(connection, len(part))
            connection.exec_driver_sql(statement, tuple(chain.from_iterable(part)))

    def _text(self, connection: Connection, count: int) -> str:
        row = f"({_marks(connection, len(self._table.columns))})"
        rows = ", ".join([row] * count)
        return f"INSERT INTO {_quoted(self._table.name)} ({self._columns}) VALUES {rows}"  # noqa: S608 - names of our own tables


class BulkDelete:
    """Rows out of a table, by the values of one column."""

    def __init__(self, column: Column[Any]) -> None:
        self._column: Final = column
        self._statements: dict[int, str] = {}
        self._type = array_type(column)
        self._prepared = Prepared(
            f"keypeg_drop_{column.table.name}",
            (self._type,),
            f"DELETE FROM {_quoted(column.table.name)} WHERE {_quoted(column.name)} = ANY($1)",  # noqa: S608
        )

    def run(self, connection: Connection, values: Sequence[Any]) -> None:
        """Delete them all; those that are not there are none."""
        script = script_of(connection)
        if script is not None:
            script.add(self._prepared, array(self._type, values))
            return
        for part in _parts(values):
            statement = self._statements.get(len(part))
            if statement is None:
                statement = self._statements[len(part)] = self._text(connection, len(part))
            connection.exec_driver_sql(statement, tuple(part))

    def _text(self, connection: Connection, count: int) -> str:
        table, column = _quoted(self._column.table.name), _quoted(self._column.name)
        return f"DELETE FROM {table} WHERE {column} IN ({_marks(connection, count)})"  # noqa: S608 - as above


class BulkUpdate:
    """Some columns of rows of a table, found by one; each row once."""

    def __init__(self, key: Column[Any], *columns: Column[Any]) -> None:
        table = key.table
        self._types = tuple(array_type(column) for column in (*columns, key))
        sets = ", ".join(f"{_quoted(one.name)} = new.c{n}" for n, one in enumerate(columns))
        names = ", ".join(f"c{n}" for n in range(len(self._types)))
        self._prepared = Prepared(
            f"keypeg_set_{table.name}_{'_'.join(column.name for column in columns)}",
            self._types,
            f"UPDATE {_quoted(table.name)} SET {sets} FROM unnest({_numbers(len(self._types))}) "  # noqa: S608
            f"AS new({names}) WHERE {_quoted(table.name)}.{_quoted(key.name)} = new.c{len(columns)}",
        )
        sets = ", ".join(f'"{one.name}" = ?' for one in columns)
        self._text = f'UPDATE "{table.name}" SET {sets} WHERE "{key.name}" = ?'  # noqa: S608

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Set them; a row is the new values, and then the key's."""
        script = script_of(connection)
        if script is not None:
            columns = zip(*rows, strict=True)
            script.add(self._prepared, *map(array, self._types, columns))
            return
        for row in rows:  # mostly one
            connection.exec_driver_sql(self._text, row)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _numbers(count: int) -> str:
    return ", ".join(f"${number}" for number in range(1, count + 1))


def _marks(connection: Connection, count: int) -> str:
    return ", ".join(["?" if connection.dialect.paramstyle == "qmark" else "%s"] * count)


def _parts(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    begin = 0
    for size in SIZES:
        while len(rows) - begin >= size:
            yield rows[begin : begin + size]
            begin += size
