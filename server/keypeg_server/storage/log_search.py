"""Looking for records in a log: where a time begins, and those that tell of something.

Promises: reads short parts, each on one snapshot; never more than BLOCKS_AT_ONCE rows at once.

Leaves to others: what records say (domain/pool_event.py), their chain (log_store.py).
"""

from __future__ import annotations

from contextlib import closing
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select

from keypeg_server.service.history import Found
from keypeg_server.storage.database import Database
from keypeg_server.storage.log_blocks import as_bytes, unpacked
from keypeg_server.storage.log_writer import log_name
from keypeg_server.storage.tables_log import LogBlockRow

BLOCKS_AT_ONCE: Final = 500  # rows read in one step
RECORDS_AT_ONCE: Final = 5_000  # looked at in one step: ten milliseconds of a reader's thread

_BLOCK: Final = LogBlockRow.__table__  # type: ignore[attr-defined]  # sqlmodel does not declare it
_OF_LOG: Final = _BLOCK.c.log == bindparam("log")
_ENDS: Final = select(func.min(_BLOCK.c.sequence), func.max(_BLOCK.c.sequence)).where(_OF_LOG)
_AT: Final = (
    select(_BLOCK.c.sequence, _BLOCK.c.first_sequence, _BLOCK.c.time_us)
    .where(_OF_LOG, _BLOCK.c.sequence >= bindparam("number"))
    .order_by(_BLOCK.c.sequence)
    .limit(1)
)
_AFTER: Final = (
    select(_BLOCK.c.sequence, _BLOCK.c.first_sequence, _BLOCK.c.body)
    .where(_OF_LOG, _BLOCK.c.sequence > bindparam("after"))
    .order_by(_BLOCK.c.sequence)
    .limit(BLOCKS_AT_ONCE)
)


class SqlLogSearch:
    """`LogSearch` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, parent: str, time_us: int) -> int:
        """The number of a record after which all of this time and later are."""

        def look(session: Any) -> int:
            return _begin(session.connection(), log_name(parent), time_us)

        return await self._database.read(look)

    async def find(self, parent: str, after: int, mark: bytes) -> Found:
        """Records after a number that contain `mark`, in a part of the log."""

        def look(session: Any) -> Found:
            return _find(session.connection(), log_name(parent), after, mark)

        return await self._database.read(look)


def _begin(connection: Connection, log: str, time_us: int) -> int:
    """By halves, for times are in the order of numbers: the server's clock never goes back."""
    low, high = connection.execute(_ENDS, {"log": log}).one()
    if low is None:
        return 0
    before = 0  # the first number of the first block that may be of this time, less one
    while low <= high:
        middle = (low + high) // 2
        block = connection.execute(_AT, {"log": log, "number": middle}).one()
        if block.time_us < time_us:
            before = block.sequence
            low = block.sequence + 1
        else:
            high = middle - 1
    return int(before)


def _find(connection: Connection, log: str, after: int, mark: bytes) -> Found:
    found: list[tuple[int, bytes]] = []
    looked_at, blocks, through = 0, 0, after
    with closing(connection.execute(_AFTER, {"log": log, "after": after})) as rows:
        for row in rows:
            blocks += 1
            bodies = unpacked(as_bytes(row.body))
            found += [
                (number, body)
                for number, body in enumerate(bodies, row.first_sequence)
                if number > after and mark in body
            ]
            looked_at += len(bodies)
            through = row.sequence
            if looked_at >= RECORDS_AT_ONCE:
                return Found(tuple(found), through, True)
    return Found(tuple(found), through, blocks == BLOCKS_AT_ONCE)
