"""Borrows as rows: read at start, written with the other changes of their pools.

Promises: `write` puts what a batch leaves of each borrow, whatever happened to it within the batch; `read`
gives back exactly what was written.

Leaves to others: the transaction (committer.py), the pools that they belong to (pool_store.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection

from keypeg_server.domain.borrow import Borrow, State
from keypeg_server.domain.decision import DropBorrow, PutBorrow
from keypeg_server.domain.lease import Holder
from keypeg_server.storage.bulk import BulkDelete, BulkInsert
from keypeg_server.storage.tables_seat import BorrowRow

BORROW: Final = BorrowRow.__table__  # type: ignore[attr-defined]  # sqlmodel does not declare it
_PUT: Final = BulkInsert(BORROW)
_DROP: Final = BulkDelete(BORROW.c.id)


def write(connection: Connection, changes: Iterable[PutBorrow | DropBorrow]) -> None:
    """Put these changes into the table."""
    there: set[str] = set()  # before the batch
    left: dict[str, Borrow | None] = {}  # after it
    for change in changes:
        borrow = change.borrow
        if borrow.id not in left and (type(change) is DropBorrow or _replaces(change)):
            there.add(borrow.id)
        left[borrow.id] = None if type(change) is DropBorrow else borrow
    if there:
        _DROP.run(connection, sorted(there))
    rows = [_row(borrow) for borrow in left.values() if borrow is not None]
    if rows:
        _PUT.run(connection, rows)


def read(row: Any) -> Borrow:
    """The borrow that a row tells of."""
    return Borrow(
        id=row.id,
        pool=row.pool,
        holder=Holder("", row.user, row.device, row.host_name, row.app, 0, row.address),
        units=row.units,
        features=tuple(sorted(json.loads(row.features).items())) if row.features else (),
        fencing_number=row.fencing_number,
        create_time_us=row.create_time_us,
        end_us=row.end_us,
        return_key=row.return_key,
        fingerprint=row.fingerprint,
        serial=row.serial,
        document=row.document,
        subject=row.subject,
        state=State(row.state),
        state_time_us=row.state_time_us,
        state_by=row.state_by,
        reason=row.reason,
    )


def _replaces(change: PutBorrow | DropBorrow) -> bool:
    return isinstance(change, PutBorrow) and change.before is not None


def _row(borrow: Borrow) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    holder = borrow.holder
    return (
        borrow.id,
        borrow.pool,
        holder.user,
        holder.device,
        holder.host_name,
        holder.app,
        holder.address,
        borrow.units,
        json.dumps(dict(borrow.features)) if borrow.features else "",
        borrow.fencing_number,
        borrow.create_time_us,
        borrow.end_us,
        borrow.return_key,
        borrow.fingerprint,
        borrow.serial,
        borrow.document,
        borrow.subject,
        borrow.state.value,
        borrow.state_time_us,
        borrow.state_by,
        borrow.reason,
    )
