"""Carrying a whole database from PostgreSQL into a SQLite file, and from a file into PostgreSQL.

Promises: every row arrives as it was, all of one state, or nothing does; what is of running servers alone (homes,
nodes, news, the marks of writers) stays behind. Both ends have this keypegd's schema.

Leaves to others: backups (snapshot.py, backing_up.py) and what a restored database needs (restored.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, NullPool, Table, create_engine, insert, select
from sqlalchemy.exc import SQLAlchemyError

from keypeg_server.address import PostgresUrl
from keypeg_server.storage import schema, sqlite
from keypeg_server.storage.marks import MARK_PREFIX
from keypeg_server.storage.snapshot import (
    Contents,
    SnapshotError,
    View,
    contents_of,
    schema_of,
    snapshot,
)
from keypeg_server.storage.tables import MetaRow, metadata
from keypeg_server.storage.tables_home import HomeRow, NodeRow, OutboxRow

ROWS_AT_ONCE: Final = 1_000
RUNNING: Final = frozenset(str(row.__tablename__) for row in (HomeRow, NodeRow, OutboxRow))
_META: Final = MetaRow.__table__  # type: ignore[attr-defined]  # sqlmodel does not declare it


def to_file(source: PostgresUrl, target: Path) -> Contents:
    """Make a new SQLite file of a PostgreSQL database, whole and on disk; what it holds."""
    with snapshot(source) as view:
        found = schema_of(view)
        if found != schema.HEAD:
            raise SnapshotError(
                f"The database {source} has the schema {found or 'of no server'}, and this keypegd's is "
                f"{schema.HEAD}; use the keypegd that serves it."
            )
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            contents = _fill(view, target)
        except SQLAlchemyError as error:
            raise SnapshotError(
                f"The database {source} can not be copied to {target.parent} "
                f"({getattr(error, 'orig', None) or error}); a full disk?"
            ) from error
    with target.open("rb") as handle:
        os.fsync(handle.fileno())
    return contents


def _fill(view: View, target: Path) -> Contents:
    engine = create_engine(
        f"sqlite+pysqlite:///{target}", module=sqlite.driver(), poolclass=NullPool
    )
    with view.engine().connect() as origin, engine.connect() as copied:
        copied.exec_driver_sql("PRAGMA synchronous=OFF")  # it is synced as a whole
        copied.rollback()
        with copied.begin():
            schema.upgrade(copied)
            carry(origin, copied)
        raw = copied.connection.driver_connection
        return contents_of(View(raw, "sqlite"))


def carry(origin: Connection, target: Connection) -> None:
    """Copy all rows, in the transactions that both connections are in; the target has empty tables."""
    for table in metadata.sorted_tables:
        if table.name in RUNNING:
            continue
        for rows in _rows(origin, table):
            target.execute(insert(table), rows)


def _rows(origin: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    wanted = select(table)
    if table is _META:
        wanted = wanted.where(~_META.c.key.startswith(MARK_PREFIX, autoescape=True))
    found = origin.execution_options(yield_per=ROWS_AT_ONCE).execute(wanted)
    for part in found.mappings().partitions():
        yield [dict(row) for row in part]


def from_file(source: Path, target: Connection) -> None:
    """Carry a SQLite file into an empty PostgreSQL database, in the transaction that the connection is in."""
    if schema.version(target) is not None:
        raise SnapshotError(
            "The database to restore into holds a server already; a restore replaces nothing, make a new database."
        )
    schema.upgrade(target)
    with snapshot(source) as view, view.engine().connect() as origin:
        carry(origin, target)
