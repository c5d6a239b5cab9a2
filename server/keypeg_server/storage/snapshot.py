"""Reading a database beside the servers that write it: for backups and checks.

Promises: reads one consistent state, and writes nothing. A SQLite file is opened with `mode=ro`, so that this
process can neither write nor checkpoint it, whatever the SQLite at hand does (two that write or checkpoint at
once can corrupt a write-ahead log before SQLite 3.51.3); the owner's lock is left alone. PostgreSQL is read in one
transaction, REPEATABLE READ and READ ONLY. While a snapshot is open servers go on, and what they replace is kept
for it. What can not be read is a SnapshotError of one sentence.

Leaves to others: what is read (integrity.py), copying PostgreSQL (carrying.py), where a copy goes (backing_up.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, StaticPool, create_engine

from keypeg_server.address import PostgresUrl
from keypeg_server.storage import sqlite

BUSY_TIMEOUT: Final = 10.0  # seconds, for a server that is just starting
PAGES_AT_ONCE: Final = 4_096  # of 4 KiB: 16 MiB between two reports of progress
PROBLEMS_SHOWN: Final = 5

Progress = Callable[[str, int, int], None]  # what, and how much of how much, in bytes

# What is counted in a manifest, so that people see what a backup holds, and a restore finds the same.
COUNTED: Final = {
    "accounts": "account",
    "users": "user",
    "licenses": "license",
    "activations": "activation",
    "pools": "pool",
    "leases": "lease",
    "places": "place",
}


_HAS_VERSION: Final = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'",
    "postgresql": "SELECT 1 FROM information_schema.tables "
    "WHERE table_schema = current_schema() AND table_name = 'alembic_version'",
}


class SnapshotError(Exception):
    """Which database can not be read, and why: one sentence."""


@dataclass(frozen=True)
class Contents:
    """What a database holds, in numbers."""

    schema: str
    counts: dict[str, int]
    publishers: tuple[str, ...]  # ids


class View:
    """One state of a database. Statements are those that both kinds of database take, with ? for values."""

    def __init__(self, connection: Any, kind: str) -> None:
        self.connection: Final = connection  # of the driver's
        self.kind: Final = kind  # as sqlalchemy calls it

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """A cursor with the rows."""
        if self.kind == "postgresql":
            statement = statement.replace("?", "%s")
        return self.connection.execute(statement, parameters)

    def engine(self) -> Engine:
        """For sqlalchemy; it ends the snapshot."""
        options = {"use_native_hstore": False} if self.kind == "postgresql" else {}
        driver = "postgresql+psycopg" if self.kind == "postgresql" else "sqlite"
        return create_engine(
            f"{driver}://", creator=lambda: self.connection, poolclass=StaticPool, **options
        )


@contextmanager
def snapshot(place: Path | PostgresUrl) -> Iterator[View]:
    """One state of a database, until this is left."""
    if isinstance(place, Path):
        with _of_file(place) as connection:
            yield View(connection, "sqlite")
    else:
        with _of_postgres(place) as connection:
            yield View(connection, "postgresql")


@contextmanager
def _of_postgres(url: PostgresUrl) -> Iterator[Any]:
    import psycopg  # that the driver is there is known only where PostgreSQL is used

    from keypeg_server.storage.postgres import connect

    try:
        with connect(url, reads=True) as connection:
            yield connection
    except psycopg.Error as error:
        said = (str(error).strip().splitlines() or ["no answer"])[0].rstrip(".")
        raise SnapshotError(f"The database {url} can not be read ({said}).") from error


@contextmanager
def _of_file(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise SnapshotError(f"There is no database {path}; --data names the directory of a server.")
    driver = sqlite.driver()
    try:
        connection = driver.connect(
            f"{path.resolve().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
        )
        try:
            connection.execute("PRAGMA query_only=ON")
            connection.execute("PRAGMA mmap_size=0")
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            yield connection
        finally:
            connection.close()
    except driver.Error as error:
        raise SnapshotError(
            f"The database {path} can not be read ({error}); if it is damaged, restore a backup."
        ) from error


def copy(source: Path, target: Path, progress: Progress) -> Contents:
    """Copy a database into a new file, which then stands by itself, whole and on disk; what it holds.

    All pages are of one snapshot, so that the copy ends however much is written meanwhile. The copy is checked:
    a damaged one is refused.
    """
    driver = sqlite.driver()
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with _of_file(source) as connection:
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        copied = driver.connect(str(target), isolation_level=None)
        try:
            copied.execute("PRAGMA synchronous=OFF")  # it is synced as a whole below

            def report(_status: int, remaining: int, total: int) -> None:
                progress("database", (total - remaining) * page_bytes, total * page_bytes)

            try:
                connection.backup(copied, pages=PAGES_AT_ONCE, progress=report)
                copied.execute("PRAGMA journal_mode=DELETE")  # one file: no log beside it
                found = problems(View(copied, "sqlite"))
            except driver.Error as error:
                raise SnapshotError(
                    f"The database {source} can not be copied to {target.parent} ({error}); a full disk, "
                    "or a damaged database? `keypegd check` tells."
                ) from error
            if found:
                raise SnapshotError(
                    f"The database {source} is damaged ({found[0]}); restore an earlier backup."
                )
            contents = contents_of(View(copied, "sqlite"))
        finally:
            copied.close()
    with target.open("rb") as handle:
        os.fsync(handle.fileno())
    return contents


def problems(view: View) -> list[str]:
    """What SQLite itself finds wrong with a database, and rows that refer to none; a few of them.

    PostgreSQL looks at both by itself, whenever it reads and writes.
    """
    if view.kind != "sqlite":
        return []
    rows = view.execute(f"PRAGMA integrity_check({PROBLEMS_SHOWN})").fetchall()
    found = [str(row[0]).splitlines()[0] for row in rows if row[0] != "ok"]
    if not found:
        for table, row, parent, _ in view.execute("PRAGMA foreign_key_check").fetchall():
            found.append(f"row {row} of {table} refers to no {parent}")
    return found[:PROBLEMS_SHOWN]


def contents_of(view: View) -> Contents:
    """The numbers of a database; SnapshotError when it is not one of keypegd."""
    schema = schema_of(view)
    if schema is None:
        raise SnapshotError("The database is not one of keypegd: it has no schema version.")
    counts = {}
    for name, table in COUNTED.items():
        (counts[name],) = view.execute(f'SELECT count(*) FROM "{table}"').fetchone()  # noqa: S608
    publishers = view.execute("SELECT id FROM publisher ORDER BY id").fetchall()
    return Contents(schema, counts, tuple(id for (id,) in publishers))


def schema_of(view: View) -> str | None:
    """The migration that a database is at; None when it is at none."""
    if not view.execute(_HAS_VERSION[view.kind]).fetchone():
        return None
    row = view.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])
