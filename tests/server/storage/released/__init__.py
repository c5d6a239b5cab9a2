"""What databases held under each schema that there was: data to upgrade from.

Promises: one file for each migration, `NNNN.json`: the columns of its tables with their types, and a few rows of each. A
file is made once, when its migration is new (`python -m tests.server.storage.released` makes those that lack), and
never changed after: it stands for the servers that run with it.

Leaves to others: upgrading from them (test_released.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alembic import command
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    insert,
)

from keypeg_server.storage import schema

FOLDER = Path(__file__).parent
ROWS = 3
# Where any value will not do: the server reads it.
VALUES: dict[str, list[Any]] = {
    "pool.features": ["", '{"mesh": 2}', ""],
    "lease.features": ["", '{"mesh": 1}', ""],
    "place.features": ["", "", ""],
    "pool.rules": ["", "", ""],
    "pool.freed": ["", "", ""],
    "borrow.features": ["", "", ""],
    "user.account": ["account0", "account1", None],
    "user.role": [1, 2, 3],
    "user.login": ["ada", "bob", "publisher"],
    "account.cloud_mode": [1, 1, 2],
    "account.cloud_state": [1, 1, 1],
    "account.kind": [1, 1, 2],
    "member_cloud.cloud_mode": [1, 1, 2],
    "member_cloud.cloud_state": [1, 1, 1],
    "location.kind": [1, 2, 2],
    "product.allowed_locations": [[1, 2], [], [2]],
    "license.allowed_locations": [[1, 2], [], [2]],
    "license.features": [[["mesh", 2]], [], []],
    "license.type": [1, 1, 1],
    "license.state": [1, 1, 1],
    "activation.location_kind": [1, 2, 2],
    "location.key_algorithm": [0, 0, 0],
    "sign_in.method": [1, 2, 5],
    "device_sign_in.decision": [0, 1, 2],
    "borrow.state": ["out", "returned", "out"],
    "license.capacities": ["", "", ""],
}


def file(revision: str) -> Path:
    return FOLDER / f"{revision}.json"


def migrate_to(connection: Connection, revision: str) -> None:
    """Bring an empty database to a schema of before."""
    command.upgrade(schema.configuration(connection), revision)


def tables_of(connection: Connection) -> MetaData:
    """The tables that there are, but for alembic's own."""
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name != "alembic_version")
    return found


def columns(found: MetaData) -> dict[str, dict[str, str]]:
    """Every column with its type, in words that are the same on every database."""
    return {
        table.name: {column.name: _kind(column) for column in table.columns}
        for table in sorted(found.sorted_tables, key=lambda table: table.name)
    }


def put(connection: Connection, found: MetaData, rows: dict[str, list[dict[str, Any]]]) -> None:
    for table in found.sorted_tables:
        connection.execute(
            insert(table), [{k: decoded(v) for k, v in row.items()} for row in rows[table.name]]
        )


def decoded(value: Any) -> Any:
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) and "hex" in value else value


def encoded(value: Any) -> Any:
    return {"hex": bytes(value).hex()} if isinstance(value, bytes | memoryview) else value


def _kind(column: Column[Any]) -> str:
    kinds = (
        (Boolean, "boolean"),
        (BigInteger, "bigint"),
        (Integer, "integer"),
        (LargeBinary, "bytes"),
        (JSON, "json"),
    )
    kind = next((name for type_, name in kinds if isinstance(column.type, type_)), "text")
    return kind + (" or nothing" if column.nullable else "")


def _rows(table: Table) -> list[dict[str, Any]]:
    return [
        {column.name: _value(table, column, number) for column in table.columns}
        for number in range(ROWS)
    ]


def _value(table: Table, column: Column[Any], number: int) -> Any:
    given = VALUES.get(f"{table.name}.{column.name}")
    if given is not None:
        return given[number]
    for key in column.foreign_keys:  # the row of the same number there
        of = key.column.table.name if key.column.name == "id" else key.column.name
        return f"{of}{number}"
    kind = _kind(column)
    if kind.endswith("or nothing") and number == ROWS - 1:
        return None
    kind = kind.partition(" ")[0]
    made: dict[str, Any] = {
        "boolean": number == 1,
        "bigint": 1_700_000_000_000_000 + number,
        "integer": number + 1,
        "bytes": {"hex": f"{number:02x}ff00"},
        "json": [f"{column.name}-{number}"],
        "text": f"{table.name}{number}" if column.primary_key else f"{column.name} ü'{number}",
    }
    return made[kind]


def make(connection: Connection, revision: str) -> None:
    """Write the file of a migration, that an empty SQLite database is brought to."""
    migrate_to(connection, revision)
    found = tables_of(connection)
    rows = {table.name: _rows(table) for table in found.sorted_tables}
    put(connection, found, rows)  # it holds together
    content = {"columns": columns(found), "rows": rows}
    file(revision).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
