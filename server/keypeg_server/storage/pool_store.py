"""Pools, leases, borrows and queue places as rows: read at start, written by the committer.

Promises: `write` applies the changes of many decisions with a handful of statements made once, in the
transaction of its caller; `load` gives back exactly what was written.

Leaves to others: the transaction and its failures (committer.py), creating and deleting pools
(license_store.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, select
from sqlmodel import Session

from keypeg_server.domain import freed, pool_rules
from keypeg_server.domain.borrow import Borrow
from keypeg_server.domain.decision import (
    Change,
    DropBorrow,
    DropLease,
    DropLinger,
    DropPlace,
    PutBorrow,
    PutCapacity,
    PutFreed,
    PutLease,
    PutLinger,
    PutPlace,
    PutRules,
)
from keypeg_server.domain.lease import Features, Holder, Lease, Place
from keypeg_server.service.commits import StoredPool
from keypeg_server.storage import borrow_store
from keypeg_server.storage.bulk import BulkDelete, BulkInsert, BulkUpdate
from keypeg_server.storage.database import Database
from keypeg_server.storage.tables_seat import LeaseRow, PlaceRow, PoolRow

# sqlmodel does not declare __table__
_POOL: Final = PoolRow.__table__  # type: ignore[attr-defined]
_LEASE: Final = LeaseRow.__table__  # type: ignore[attr-defined]
_PLACE: Final = PlaceRow.__table__  # type: ignore[attr-defined]

_PUT_LEASES: Final = BulkInsert(_LEASE)
_EXTEND_LEASES: Final = BulkUpdate(_LEASE.c.id, _LEASE.c.valid_for_us)
_DROP_LEASES: Final = BulkDelete(_LEASE.c.id)
_PUT_PLACES: Final = BulkInsert(_PLACE)
_DROP_PLACES: Final = BulkDelete(_PLACE.c.id)
_SET_RULES: Final = BulkUpdate(_POOL.c.id, _POOL.c.rules)
_SET_FREED: Final = BulkUpdate(_POOL.c.id, _POOL.c.freed)
_FENCE: Final = BulkUpdate(_POOL.c.id, _POOL.c.fencing_number)


def write(connection: Connection, changes: Iterable[Change]) -> None:
    """Put these changes into the tables.

    Order within one kind does not matter: an id is put once and dropped once.
    """
    put_leases: list[tuple[Any, ...]] = []
    extended: dict[str, int] = {}  # the last one counts
    dropped_leases: list[str] = []
    put_places: list[tuple[Any, ...]] = []
    dropped_places: list[str] = []
    fences: dict[str, int] = {}
    borrows: list[PutBorrow | DropBorrow] = []
    for change in changes:
        kind = type(change)
        if kind is PutLease:
            lease = change.lease  # type: ignore[union-attr]  # told by its type above
            if lease.borrowed_until_us:  # the row of the borrow has it
                if change.before is None:  # type: ignore[union-attr]
                    fences[lease.pool] = max(fences.get(lease.pool, 0), lease.fencing_number)
            elif change.before is None:  # type: ignore[union-attr]
                put_leases.append(_lease_row(lease))
                fences[lease.pool] = max(fences.get(lease.pool, 0), lease.fencing_number)
            else:
                extended[lease.id] = lease.valid_for_us
        elif kind is DropLease:
            if not change.lease.borrowed_until_us:  # type: ignore[union-attr]
                dropped_leases.append(change.lease.id)  # type: ignore[union-attr]
        elif kind is PutPlace:
            put_places.append(_place_row(change.place))  # type: ignore[union-attr]
        elif kind is DropPlace:
            dropped_places.append(change.place.id)  # type: ignore[union-attr]
        elif kind is PutRules:
            _SET_RULES.run(connection, [(change.rules.to_json(), change.pool)])  # type: ignore[union-attr]
        elif kind is PutFreed:
            _SET_FREED.run(connection, [(freed.to_json(change.freed), change.pool)])  # type: ignore[union-attr]
        elif kind is PutBorrow or kind is DropBorrow:
            borrows.append(change)  # type: ignore[arg-type]
        else:
            assert kind in (PutLinger, DropLinger, PutCapacity)  # memory's alone
    if put_leases:
        _PUT_LEASES.run(connection, put_leases)
    if fences:
        _FENCE.run(connection, [(number, id) for id, number in fences.items()])
    if extended:
        _EXTEND_LEASES.run(connection, [(us, id) for id, us in extended.items()])
    if dropped_leases:
        _DROP_LEASES.run(connection, dropped_leases)
    if put_places:
        _PUT_PLACES.run(connection, put_places)
    if dropped_places:
        _DROP_PLACES.run(connection, dropped_places)
    if borrows:
        borrow_store.write(connection, borrows)


class SqlPoolStore:
    """`PoolStore` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, pool: str | None = None, account: str | None = None) -> list[StoredPool]:
        """All pools, those of an account, or the one with this id; with who holds and waits."""
        return await self._database.read(lambda session: _load(session, pool, account))


def _load(session: Session, pool: str | None, account: str | None) -> list[StoredPool]:
    def rows(table: Any, column: Any) -> Iterable[Any]:
        wanted = select(table)
        if pool is not None:
            wanted = wanted.where(column == pool)
        elif account is not None:
            own = select(_POOL.c.id).where(_POOL.c.account == account)
            wanted = wanted.where(column.in_(own))
        return session.connection().execute(wanted)

    leases: dict[str, list[Lease]] = {}
    for row in rows(_LEASE, _LEASE.c.pool):
        leases.setdefault(row.pool, []).append(_lease(row))
    places: dict[str, list[Place]] = {}
    for row in rows(_PLACE, _PLACE.c.pool):
        places.setdefault(row.pool, []).append(_place(row))
    borrows: dict[str, list[Borrow]] = {}
    for row in rows(borrow_store.BORROW, borrow_store.BORROW.c.pool):
        borrows.setdefault(row.pool, []).append(borrow_store.read(row))
    return [
        StoredPool(
            id=row.id,
            account=row.account,
            product=row.product,
            activation=row.activation,
            seat_count=row.seat_count,
            features=dict(_features(row.features)),
            fencing_number=row.fencing_number,
            leases=tuple(leases.get(row.id, ())),
            places=tuple(places.get(row.id, ())),
            rules=pool_rules.from_json(row.rules),
            freed=freed.from_json(row.freed),
            borrows=tuple(borrows.get(row.id, ())),
        )
        for row in rows(_POOL, _POOL.c.id)
    ]


def _lease_row(lease: Lease) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    holder = lease.holder
    return (
        lease.id,
        lease.pool,
        holder.session,
        holder.user,
        holder.device,
        holder.host_name,
        holder.app,
        holder.process_id,
        lease.units,
        json.dumps(dict(lease.features)) if lease.features else "",
        lease.fencing_number,
        lease.acquire_time_us,
        lease.valid_for_us,
        holder.address,
        lease.subject,
        int(lease.overdraft),
    )


def _place_row(place: Place) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    holder = place.holder
    return (
        place.id,
        place.pool,
        holder.session,
        holder.user,
        holder.device,
        holder.host_name,
        holder.app,
        holder.process_id,
        place.units,
        json.dumps(dict(place.features)) if place.features else "",
        place.priority,
        place.arrival,
        place.create_time_us,
        place.valid_for_us,
        place.request_id,
        holder.address,
        place.clock_us,
    )


def _features(text: str) -> Features:
    return tuple(sorted(json.loads(text).items())) if text else ()


def _holder(row: Any) -> Holder:
    return Holder(
        row.session, row.user, row.device, row.host_name, row.app, row.process_id, row.address
    )


def _lease(row: Any) -> Lease:
    return Lease(
        id=row.id,
        pool=row.pool,
        holder=_holder(row),
        units=row.units,
        features=_features(row.features),
        fencing_number=row.fencing_number,
        acquire_time_us=row.acquire_time_us,
        valid_for_us=row.valid_for_us,
        subject=row.subject,
        overdraft=bool(row.overdraft),
    )


def _place(row: Any) -> Place:
    return Place(
        id=row.id,
        pool=row.pool,
        holder=_holder(row),
        units=row.units,
        features=_features(row.features),
        priority=row.priority,
        arrival=row.arrival,
        create_time_us=row.create_time_us,
        valid_for_us=row.valid_for_us,
        request_id=row.request_id,
        clock_us=row.clock_us,
    )
