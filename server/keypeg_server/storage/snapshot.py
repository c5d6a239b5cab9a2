"""Reading the database beside the server that owns it: for backups and checks.

Promises: reads one consistent state, and writes nothing. The file is opened with `mode=ro`, so that this
process can neither write nor checkpoint it, whatever the SQLite at hand does (two that write or checkpoint at
once can corrupt a write-ahead log before SQLite 3.51.3); the owner's lock is left alone. While a snapshot is
open the server goes on, and its log grows by what it writes meanwhile. What can not be read is a
SnapshotError of one sentence.

Leaves to others: what is read (integrity.py), where a copy goes (backing_up.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

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


class SnapshotError(Exception):
    """Which database can not be read, and why: one sentence."""


@dataclass(frozen=True)
class Contents:
    """What a database holds, in numbers."""

    schema: str
    counts: dict[str, int]
    publishers: tuple[str, ...]  # ids


@contextmanager
def snapshot(path: Path) -> Iterator[Any]:
    """A connection of the driver's that sees one state until it is closed."""
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
    with snapshot(source) as connection:
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        copied = driver.connect(str(target), isolation_level=None)
        try:
            copied.execute("PRAGMA synchronous=OFF")  # it is synced as a whole below

            def report(_status: int, remaining: int, total: int) -> None:
                progress("database", (total - remaining) * page_bytes, total * page_bytes)

            try:
                connection.backup(copied, pages=PAGES_AT_ONCE, progress=report)
                copied.execute("PRAGMA journal_mode=DELETE")  # one file: no log beside it
                found = problems(copied)
            except driver.Error as error:
                raise SnapshotError(
                    f"The database {source} can not be copied to {target.parent} ({error}); a full disk, "
                    "or a damaged database? `keypegd check` tells."
                ) from error
            if found:
                raise SnapshotError(
                    f"The database {source} is damaged ({found[0]}); restore an earlier backup."
                )
            contents = contents_of(copied)
        finally:
            copied.close()
    with target.open("rb") as handle:
        os.fsync(handle.fileno())
    return contents


def problems(connection: Any) -> list[str]:
    """What SQLite itself finds wrong with a database, and rows that refer to none; a few of them."""
    rows = connection.execute(f"PRAGMA integrity_check({PROBLEMS_SHOWN})").fetchall()
    found = [str(row[0]).splitlines()[0] for row in rows if row[0] != "ok"]
    if not found:
        for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchall():
            found.append(f"row {row} of {table} refers to no {parent}")
    return found[:PROBLEMS_SHOWN]


def contents_of(connection: Any) -> Contents:
    """The numbers of a database; SnapshotError when it is not one of keypegd."""
    schema = schema_of(connection)
    if schema is None:
        raise SnapshotError("The database is not one of keypegd: it has no schema version.")
    counts = {}
    for name, table in COUNTED.items():
        (counts[name],) = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()  # noqa: S608
    publishers = connection.execute("SELECT id FROM publisher ORDER BY id").fetchall()
    return Contents(schema, counts, tuple(id for (id,) in publishers))


def schema_of(connection: Any) -> str | None:
    """The migration that a database is at; None when it is at none."""
    with suppress(sqlite.driver().OperationalError):  # no such table
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if row is None else str(row[0])
    return None
