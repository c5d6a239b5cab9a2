"""The mark of a writer of PostgreSQL: a row of its own, which each of its transactions moves on by one.

Promises: `MOVE` fails by itself when the mark is not where it was believed to be. After `move_away`, either the mark was
moved by the transaction, which is there, or it never can be.

Leaves to others: when to move it, and to settle what became of a transaction (lane.py).
"""

from __future__ import annotations

import uuid
from typing import Final

from sqlalchemy import Connection, text

from keypeg.errors import StorageUnavailable
from keypeg_server.storage.database import RETRY_AFTER
from keypeg_server.storage.statements import Prepared

MOVE: Final = Prepared(
    "keypeg_mark",
    ("text", "text", "text"),
    "WITH moved AS (UPDATE meta SET value = $2 WHERE key = $1 AND value = $3 RETURNING key) "
    "SELECT 1 / count(*) FROM moved",
)
MARK_PREFIX: Final = "writer/"  # of keys in table meta: one row for each writer


def make(connection: Connection) -> str:
    """A new mark, at 0; its key."""
    mark = f"{MARK_PREFIX}{uuid.uuid4().hex}"
    with connection.begin():
        connection.execute(text("INSERT INTO meta (key, value) VALUES (:key, '0')"), {"key": mark})
    return mark


def move_away(connection: Connection, mark: str, old: int, new: int) -> tuple[bool, str | None]:
    """Whether it was at `old` and is at `new` now; and where it is, None when it is not there."""
    with connection.begin():
        connection.execute(text("SET TRANSACTION READ WRITE"))  # whatever the default
        moved = connection.execute(
            text("UPDATE meta SET value = :new WHERE key = :key AND value = :old"),
            {"new": str(new), "key": mark, "old": str(old)},
        ).rowcount
        found = connection.execute(
            text("SELECT value FROM meta WHERE key = :key"), {"key": mark}
        ).scalar()
    return bool(moved), found


def remove(connection: Connection, mark: str) -> None:
    """Take it away."""
    with connection.begin():
        connection.execute(text("DELETE FROM meta WHERE key = :key"), {"key": mark})


def unsettled() -> StorageUnavailable:
    """The refusal of whoever can not be told what became of it."""
    return StorageUnavailable(
        "The database went away while it was committing, and this server stops before it is back. Ask again, with "
        "the same request id: the answer tells what became of it.",
        retry_after=RETRY_AFTER,
    )
