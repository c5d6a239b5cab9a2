"""A request that comes again gets its first answer: kept beside what it did, in the same transaction.

Promises: `once` runs the work at most once per caller and request id within 24 h; the same id with another
body is refused. Rows past their time are swept in small steps. The 24 h are of the time for which the database was
served (clock.py): a wall clock that is stepped forward by a day forgets no answer.

Leaves to others: transactions (database.py), requests for seats (committer.py, on the same table).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select, tuple_
from sqlmodel import Session

from keypeg.errors import RequestIdReused, StorageUnavailable
from keypeg_server.clock import Clock
from keypeg_server.storage.bulk import BulkInsert
from keypeg_server.storage.database import Database
from keypeg_server.storage.tables_seat import RequestRow

KEPT_US: Final = 24 * 3600 * 1_000_000  # microseconds that an answer is kept
SWEEP_ROWS: Final = 500  # rows of one step of sweeping: a few milliseconds of the one writer
SWEEP_PAUSE: Final = 60.0  # seconds
STEP_PAUSE: Final = 0.05  # seconds, for others to write between two steps
_REQUEST: Final = RequestRow.__table__  # type: ignore[attr-defined]  # sqlmodel does not declare it
_INSERT: Final = BulkInsert(_REQUEST)
_FIND: Final = select(_REQUEST.c.digest, _REQUEST.c.result).where(
    _REQUEST.c.caller == bindparam("caller"), _REQUEST.c.id == bindparam("id")
)
_FIND_MANY: Final = select(_REQUEST).where(
    tuple_(_REQUEST.c.caller, _REQUEST.c.id).in_(bindparam("keys", expanding=True))
)
_OLD: Final = (
    select(_REQUEST.c.caller, _REQUEST.c.id)
    .where(_REQUEST.c.expire_time_us < bindparam("now"))
    .order_by(_REQUEST.c.expire_time_us)
    .limit(SWEEP_ROWS)
)
_DELETE: Final = delete(_REQUEST).where(
    _REQUEST.c.caller == bindparam("old_caller"), _REQUEST.c.id == bindparam("old_id")
)


def digest_of(request: bytes) -> bytes:
    """What tells one request body from another: 16 bytes."""
    return hashlib.blake2b(request, digest_size=16).digest()


def reused(request_id: str) -> RequestIdReused:
    """The refusal of a request id that comes with another body."""
    return RequestIdReused(
        f"The request id {request_id} was used before with another request; make a new id for a new request.",
        request_id=request_id,
    )


def once(
    session: Session,
    caller: str,
    request_id: str,
    request: bytes,
    served_us: int,
    work: Callable[[Session], bytes],
) -> bytes:
    """The answer that this request had, or that `work` gives now; RequestIdReused for another body.

    `session` is inside its transaction; `request` is the body without what may differ between retries
    (the serialized request message will do); an answer is at most a few KiB.
    """
    digest = digest_of(request)
    found = session.execute(_FIND, {"caller": caller, "id": request_id}).one_or_none()
    if found is not None:
        if found.digest != digest:
            raise reused(request_id)
        return bytes(found.result)
    result = work(session)
    record(session.connection(), [(caller, request_id, digest, result, served_us + KEPT_US)])
    return result


def record(connection: Connection, rows: Sequence[tuple[str, str, bytes, bytes, int]]) -> None:
    """Keep the answers of many requests; IntegrityError when one of them has an answer already.

    A row is caller, id, digest, result and expire time (microseconds of served time), as the table's columns are.
    """
    _INSERT.run(connection, rows)


def recorded(
    connection: Connection, keys: list[tuple[str, str]]
) -> dict[tuple[str, str], tuple[bytes, bytes]]:
    """Digest and result of those of these requests (caller and id) that have an answer."""
    found = connection.execute(_FIND_MANY, {"keys": keys}) if keys else ()
    return {(one.caller, one.id): (bytes(one.digest), bytes(one.result)) for one in found}


def sweep(connection: Connection, served_us: int) -> int:
    """Delete one step's worth of answers past their time; how many. Fewer than SWEEP_ROWS: all done."""
    old = connection.execute(_OLD, {"now": served_us}).all()
    if old:
        connection.execute(_DELETE, [{"old_caller": one.caller, "old_id": one.id} for one in old])
    return len(old)


async def sweep_forever(database: Database, clock: Clock, pause: float = SWEEP_PAUSE) -> None:
    """Sweep now and whenever `pause` seconds have passed, one short step at a time; until canceled."""
    while True:
        try:
            step = database.submit(lambda connection: sweep(connection, clock.served_us()))
            swept = await asyncio.wrap_future(step)
        except StorageUnavailable:  # logged where it was found; the next time may be better
            swept = 0
        await asyncio.sleep(STEP_PAUSE if swept == SWEEP_ROWS else pause)
