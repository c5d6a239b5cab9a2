"""What is in a database, to be put back as often as a test likes: quicker than making it anew.

Promises: afterwards the rows of all tables but `meta` are those that were there; on SQLite and on PostgreSQL.

Leaves to others: what is kept in memory beside it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from sqlalchemy import Connection, Table, insert, select

from keypeg_server.storage import tables
from keypeg_server.storage.database import Database

# Those that others point at come first. In `meta` writers have marks of their own (storage/marks.py).
TABLES: Final = [one for one in tables.metadata.sorted_tables if one.name != "meta"]
FILLED: Final = " UNION ALL ".join(
    f"SELECT '{one.name}' WHERE EXISTS (SELECT 1 FROM \"{one.name}\")" for one in TABLES
)


class Snapshot:
    """The rows of all tables that have any."""

    def __init__(self, rows: dict[Table, list[dict[str, Any]]]) -> None:
        self._rows = rows

    @classmethod
    async def take(cls, database: Database) -> Snapshot:
        def read(connection: Connection) -> dict[Table, list[dict[str, Any]]]:
            return {
                table: [dict(row._mapping) for row in connection.execute(select(table))]
                for table in _filled(connection)
            }

        return cls(await asyncio.wrap_future(database.submit(read)))

    async def put_back(self, database: Database) -> None:
        def write(connection: Connection) -> None:
            for table in reversed(_filled(connection)):
                connection.exec_driver_sql(f'DELETE FROM "{table.name}"')
            for table, rows in self._rows.items():
                connection.execute(insert(table), rows)

        await asyncio.wrap_future(database.submit(write))


def _filled(connection: Connection) -> list[Table]:
    names = set(connection.exec_driver_sql(FILLED).scalars())
    return [table for table in TABLES if table.name in names]
