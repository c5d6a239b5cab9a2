"""Reading the usage and audit log, and its upkeep: heads in time, records past their time.

Promises: what is read is as it was hashed; reading takes short steps, so that it holds up nobody. What is
removed is removed up to a signed head, and the log says so.

Leaves to others: appending (log_writer.py), who may read (rpc), when upkeep is due (app.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, bindparam, delete, func, select, update

from keypeg.log import Record
from keypeg.v1 import log_pb2
from keypeg.v1.document_pb2 import Envelope
from keypeg.v1.log_pb2 import LogHead, LogOccasion
from keypeg_server.clock import Clock, to_us
from keypeg_server.domain import record
from keypeg_server.service.homes_port import HomesLost
from keypeg_server.service.reports import Snapshot
from keypeg_server.storage import log_blocks
from keypeg_server.storage.database import Database
from keypeg_server.storage.log_blocks import as_bytes
from keypeg_server.storage.log_writer import LogWriter
from keypeg_server.storage.tables_log import LogBlockRow, LogHeadRow, LogRow

_T = TypeVar("_T")

REMOVED_AT_ONCE: Final = 2_000  # records of one step: some milliseconds of the one writer
BLOCKS_AT_ONCE: Final = 500  # read in one step
RECORDS_AT_ONCE: Final = 1_000
LOOKED_AT: Final = 50_000  # records: above any batch, and so above what stands between two heads
SIGNED_AT_ONCE: Final = 100  # logs: some milliseconds of signing
STEP_PAUSE: Final = 0.05  # seconds, for others to write between two steps

_ROW: Final = LogRow.__table__  # type: ignore[attr-defined]  # sqlmodel does not declare it
_BLOCK: Final = LogBlockRow.__table__  # type: ignore[attr-defined]
_HEAD: Final = LogHeadRow.__table__  # type: ignore[attr-defined]
_PART: Final = (
    select(_BLOCK)
    .where(
        _BLOCK.c.log == bindparam("log"),
        _BLOCK.c.sequence > bindparam("after"),
        _BLOCK.c.sequence <= bindparam("through"),
    )
    .order_by(_BLOCK.c.sequence)
    .limit(BLOCKS_AT_ONCE)
)
_LAST: Final = select(_BLOCK.c.hash).where(
    _BLOCK.c.log == bindparam("log"), _BLOCK.c.sequence == bindparam("after")
)
_LOGS: Final = select(_ROW.c.id, _ROW.c.parent)
_UNSIGNED: Final = select(_ROW.c.parent).where(_ROW.c.sequence > _ROW.c.head_sequence)
_REMOVED: Final = select(_ROW.c.removed_hash).where(_ROW.c.id == bindparam("log"))
_HEADS: Final = (
    select(_HEAD.c.sequence, _HEAD.c.envelope)
    .where(
        _HEAD.c.log == bindparam("log"),
        _HEAD.c.sequence > bindparam("after"),
        _HEAD.c.sequence <= bindparam("through"),
    )
    .order_by(_HEAD.c.sequence)
)


class SqlLogStore:
    """`LogStore` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def logs(self, parent: str) -> list[Snapshot]:
        """The logs of an account or publisher, as they are now."""

        def look(session: Any) -> list[Snapshot]:
            found = session.connection().execute(
                select(_ROW).where(_ROW.c.parent == parent).order_by(_ROW.c.id)
            )
            return [
                Snapshot(
                    row.id,
                    row.sequence,
                    as_bytes(row.hash),
                    row.removed_sequence,
                    as_bytes(row.removed_hash),
                )
                for row in found
            ]

        return await self._database.read(look)

    async def part(
        self, log: str, after: int, through: int
    ) -> tuple[list[Record], list[tuple[int, bytes]]]:
        """Some records after one that ended a commit, up to another, and the heads among them."""
        wanted = {"log": log, "after": after, "through": through}

        def look(session: Any) -> tuple[list[Record], list[tuple[int, bytes]]]:
            connection = session.connection()
            hash = connection.execute(_LAST, {"log": log, "after": after}).scalar()
            if hash is None:  # the first that is there
                hash = connection.execute(_REMOVED, {"log": log}).scalar_one()
            found: list[Record] = []
            with closing(connection.execute(_PART, wanted)) as rows:
                for row in rows:
                    found += log_blocks.records(row, as_bytes(hash))
                    hash = row.hash
                    if len(found) >= RECORDS_AT_ONCE:
                        break
            last = found[-1].sequence if found else after
            heads = connection.execute(_HEADS, {**wanted, "through": last})
            return found, [(row.sequence, as_bytes(row.envelope)) for row in heads]

        return await self._database.read(look)


@dataclass(frozen=True)
class Keeping:
    """For how long records are kept."""

    time: timedelta
    records: int  # of one log


async def check(
    database: Database, log: LogWriter, clock: Clock, parents: Collection[str] | None = None
) -> list[str]:
    """Look whether logs (of these parents) were changed while no server ran, and sign what is not; those that were."""
    return await _written(
        database, lambda c: log.check(c, to_us(clock.wall()), parents), parents or ()
    )


async def sign_heads(
    database: Database,
    log: LogWriter,
    clock: Clock,
    occasion: LogOccasion.ValueType,
    parents: Collection[str] | None = None,
) -> int:
    """Sign for every record (of these parents) that no head covers; how many logs."""

    def sign(connection: Connection, some: Collection[str] | None = None) -> int:
        return log.sign_heads(connection, to_us(clock.wall()), occasion, some)

    if parents is None:
        return await _written(database, sign)
    unsigned: Sequence[str] = await database.read(
        lambda session: list(session.connection().execute(_UNSIGNED).scalars())
    )
    mine = sorted(set(unsigned).intersection(parents))
    signed = 0
    for begin in range(0, len(mine), SIGNED_AT_ONCE):
        some = mine[begin : begin + SIGNED_AT_ONCE]
        with suppress(HomesLost):  # whose they are now signs them
            signed += await _written(database, partial(sign, some=some), some)
    return signed


async def remove_old(
    database: Database,
    log: LogWriter,
    clock: Clock,
    keeping: Keeping,
    parents: Collection[str] | None = None,
) -> int:
    """Remove records (of these parents) past their time, in short steps; how many."""
    total = 0
    rows: Sequence[tuple[str, str]] = await database.read(
        lambda session: [(one.id, one.parent) for one in session.connection().execute(_LOGS)]
    )
    for name, parent in rows:
        if parents is not None and parent not in parents:
            continue
        removed = REMOVED_AT_ONCE
        while removed >= REMOVED_AT_ONCE // 2:  # what the log says of it is a record, too
            now_us = to_us(clock.wall())
            removed = 0
            with suppress(HomesLost):
                work = partial(_remove, log, name, now_us, keeping)
                removed = await _written(database, work, () if parents is None else [parent])
            total += removed
            if removed:
                await asyncio.sleep(STEP_PAUSE)
    return total


def _remove(log: LogWriter, name: str, now_us: int, keep: Keeping, connection: Connection) -> int:
    row = connection.execute(select(_ROW).where(_ROW.c.id == name)).one()
    before_us = now_us - keep.time // timedelta(microseconds=1)
    beyond = row.sequence - keep.records
    first = row.removed_sequence
    last = min(first + LOOKED_AT, row.head_sequence)
    # The records that may go: those before the first that must stay.
    stays = connection.execute(
        select(func.min(_BLOCK.c.first_sequence)).where(
            _BLOCK.c.log == name,
            _BLOCK.c.sequence > max(first, beyond),
            _BLOCK.c.sequence <= last,
            _BLOCK.c.time_us >= before_us,
        )
    ).scalar()
    through = last if stays is None else stays - 1
    # Only up to a signed head, so that what stays can be verified from there.
    heads = connection.execute(_HEADS, {"log": name, "after": first, "through": through}).all()
    if not heads:
        return 0
    head = heads[0]
    for one in heads:
        if one.sequence <= first + REMOVED_AT_ONCE:
            head = one
    signed = LogHead.FromString(Envelope.FromString(as_bytes(head.envelope)).payload)
    connection.execute(
        delete(_BLOCK).where(_BLOCK.c.log == name, _BLOCK.c.sequence <= head.sequence)
    )
    connection.execute(delete(_HEAD).where(_HEAD.c.log == name, _HEAD.c.sequence < head.sequence))
    connection.execute(
        update(_ROW)
        .where(_ROW.c.id == name)
        .values(removed_sequence=head.sequence, removed_hash=signed.hash)
    )
    log.append(
        connection,
        [record.about(row.parent, "log_removed", now_us, through=head.sequence)],
    )
    return int(head.sequence - first)


async def _written(
    database: Database, work: Callable[[Connection], _T], parents: Collection[str] = ()
) -> _T:
    return await asyncio.wrap_future(database.submit(work, parents=parents))


PERIOD: Final = log_pb2.LOG_OCCASION_PERIOD
STOP: Final = log_pb2.LOG_OCCASION_STOP
