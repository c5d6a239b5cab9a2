"""Licenses, activations and their pools in tables; see service/store.py for what is promised."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import bindparam, func
from sqlmodel import Session, col, delete, select

from keypeg import names
from keypeg_server.clock import to_us
from keypeg_server.domain.license import (
    Activation,
    License,
    SeatPool,
)
from keypeg_server.domain.location import LocationKind
from keypeg_server.service.store import NewPool, Page, StaleDocument
from keypeg_server.storage.license_rows import (
    activation_of,
    activation_row,
    as_row,
    document_keys,
    license_of,
)
from keypeg_server.storage.tables import ActivationRow, LicenseRow
from keypeg_server.storage.tables_seat import BorrowRow, PoolRow

_ACTIVATION: Final = ActivationRow.__table__  # type: ignore[attr-defined]  # sqlmodel does not declare it
_LICENSE: Final = LicenseRow.__table__  # type: ignore[attr-defined]  # as above
# What is read in every change of a cloud session: as rows, without the ORM's bookkeeping.
_ALL_LICENSES: Final = (
    select(_LICENSE).where(_LICENSE.c.account == bindparam("account")).order_by(_LICENSE.c.id)
)
_ALL_ACTIVATIONS: Final = (
    select(_ACTIVATION)
    .where(_ACTIVATION.c.account == bindparam("account"))
    .order_by(_ACTIVATION.c.id)
)
_IN_CLOUD: Final = (
    select(_ACTIVATION.c.id, _ACTIVATION.c.license)
    .where(
        _ACTIVATION.c.account == bindparam("account"),
        _ACTIVATION.c.location == bindparam("place"),
    )
    .order_by(_ACTIVATION.c.id)
)

_WITH_PLANS: Final = select(_LICENSE).where(_LICENSE.c.capacity_change_us.is_not(None))


class SqlLicenses:
    """`Licenses` on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def license(self, account: str, id: str) -> License | None:
        row = self._session.get(LicenseRow, id)
        return None if row is None or row.account != account else license_of(row)

    def list_licenses(self, account: str, page: Page | None = None) -> list[License]:
        if page is None:
            rows = self._session.execute(_ALL_LICENSES, {"account": account})
            return [license_of(row) for row in rows]
        wanted = select(LicenseRow).where(col(LicenseRow.account) == account)
        wanted = wanted.where(col(LicenseRow.id) > page.after)
        wanted = wanted.order_by(col(LicenseRow.id)).limit(page.limit)
        return [license_of(row) for row in self._session.exec(wanted)]

    def add_license(self, license: License) -> None:
        self._session.add(LicenseRow(**as_row(license)))
        self._session.flush()

    def update_license(self, license: License) -> None:
        row = self._session.get_one(LicenseRow, license.id)
        for name, value in as_row(license).items():
            setattr(row, name, value)
        self._session.flush()

    def plan_capacities(self, license: License, next_change: int | None) -> None:
        self.update_license(license)
        self._session.get_one(LicenseRow, license.id).capacity_change_us = next_change
        self._session.flush()

    def licenses_with_plans(self) -> list[tuple[License, int]]:
        rows = self._session.execute(_WITH_PLANS)
        return [(license_of(row), row.capacity_change_us) for row in rows]

    def activation(self, account: str, license: str, id: str) -> Activation | None:
        row = self._session.get(ActivationRow, id)
        if row is None or (row.account, row.license) != (account, license):
            return None
        return self._activations([row])[0]

    def list_activations(
        self,
        account: str,
        license: str | None = None,
        page: Page | None = None,
        kind: LocationKind | None = None,
    ) -> list[Activation]:
        if license is None and page is None and kind is None:
            rows = self._session.execute(_ALL_ACTIVATIONS, {"account": account})
            return self._activations(rows)
        wanted = select(ActivationRow).where(col(ActivationRow.account) == account)
        wanted = wanted.order_by(col(ActivationRow.id))
        if license is not None:
            wanted = wanted.where(col(ActivationRow.license) == license)
        if kind is not None:
            wanted = wanted.where(col(ActivationRow.location_kind) == kind.value)
        if page is not None:
            wanted = wanted.where(col(ActivationRow.id) > page.after).limit(page.limit)
        return self._activations(self._session.exec(wanted).all())

    def stale_documents(
        self, fine: frozenset[str], after: tuple[str, str], limit: int
    ) -> list[StaleDocument]:
        found: list[StaleDocument] = []
        keys, id = after
        there = self._keys_from(keys)
        while there is not None and len(found) < limit:
            if there not in fine:
                row = _ACTIVATION.c
                wanted = (
                    select(row.document_keys, row.id, row.account)
                    .where(row.document_keys == there, row.id > (id if there == keys else ""))
                    .order_by(row.id)
                    .limit(limit - len(found))
                )
                found += [StaleDocument(*one) for one in self._session.execute(wanted)]
            there = self._keys_from(there, beyond=True)
        return found

    def still_stale(self, fine: frozenset[str], ids: Sequence[str]) -> list[Activation]:
        wanted = select(ActivationRow).where(col(ActivationRow.id).in_(ids))
        rows = self._session.exec(wanted.order_by(col(ActivationRow.id))).all()
        return self._activations([row for row in rows if row.document_keys not in fine])

    def _keys_from(self, keys: str, *, beyond: bool = False) -> str | None:
        """The first keys of documents from these on, or beyond them; of so many rows they are a handful."""
        column = col(ActivationRow.document_keys)
        wanted = select(func.min(column)).where(column > keys if beyond else column >= keys)
        return self._session.exec(wanted).one()

    def names_in_cloud(self, account: str, place: str) -> tuple[str, ...]:
        rows = self._session.execute(_IN_CLOUD, {"account": account, "place": place})
        return tuple(names.ACTIVATION.build(account, row.license, row.id) for row in rows)

    def used_counts(self, account: str, licenses: Sequence[str]) -> dict[str, int]:
        wanted = (
            select(ActivationRow.license, func.count())
            .where(col(ActivationRow.account) == account, col(ActivationRow.license).in_(licenses))
            .group_by(col(ActivationRow.license))
        )
        return dict(self._session.exec(wanted).all())

    def add_activation(self, activation: Activation) -> None:
        self._session.add(activation_row(activation))
        self._session.flush()

    def update_activation(self, activation: Activation) -> None:
        row = self._session.get_one(ActivationRow, activation.id)
        row.location = activation.location
        row.generation = activation.generation
        row.document = activation.document
        row.document_keys = document_keys(activation)
        row.return_nonce = activation.return_nonce or None
        self._session.flush()

    def delete_activation(self, activation: Activation) -> None:
        if activation.location_kind is LocationKind.SITE:
            pools = select(PoolRow.id).where(col(PoolRow.activation) == activation.name)
            borrows = delete(BorrowRow).where(col(BorrowRow.pool).in_(pools))  # all returned
            self._session.exec(borrows)
            self._session.exec(delete(PoolRow).where(col(PoolRow.activation) == activation.name))
        self._session.exec(delete(ActivationRow).where(col(ActivationRow.id) == activation.id))

    def add_pool(self, pool: NewPool) -> None:
        row = PoolRow(
            id=pool.id,
            account=pool.account,
            product=pool.product,
            activation=pool.activation,
            seat_count=pool.seat_count,
            features=json.dumps(dict(pool.features)) if pool.features else "",
            create_time_us=to_us(pool.create_time),
        )
        self._session.add(row)
        self._session.flush()

    def _activations(self, rows: Iterable[Any]) -> list[Activation]:
        """Rows with the names of their pools."""
        found = [activation_of(row) for row in rows]
        at_sites = [one.name for one in found if one.location_kind is LocationKind.SITE]
        if not at_sites:
            return found
        wanted = (
            select(PoolRow.activation, PoolRow.id, PoolRow.product)
            .where(col(PoolRow.activation).in_(at_sites))
            .order_by(col(PoolRow.id))
        )
        pools: dict[str, list[SeatPool]] = {}
        for activation, id, product in self._session.exec(wanted):
            pools.setdefault(activation, []).append(SeatPool(names.POOL.build(id), product))
        return [replace(one, pools=tuple(pools.get(one.name, ()))) for one in found]
