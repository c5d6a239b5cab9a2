"""Changes of licenses that are not applied yet, in their table; see service/change_ports.py for what is promised."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, delete, select

from keypeg_server.clock import from_us, to_us
from keypeg_server.domain.license import Feature
from keypeg_server.domain.license_change import ChangeKind, Edit, LicenseChange
from keypeg_server.domain.location import LocationKind
from keypeg_server.service.change_ports import Due
from keypeg_server.service.store import Page
from keypeg_server.storage.tables import LicenseRow
from keypeg_server.storage.tables_life import LicenseChangeRow


class SqlChanges:
    """`Changes` on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def change(self, account: str, license: str, id: str) -> LicenseChange | None:
        row = self._session.get(LicenseChangeRow, id)
        if row is None or (row.account, row.license) != (account, license):
            return None
        return _change(row)

    def list_changes(
        self, account: str, license: str | None = None, page: Page | None = None
    ) -> list[LicenseChange]:
        wanted = select(LicenseChangeRow).where(col(LicenseChangeRow.account) == account)
        wanted = wanted.order_by(col(LicenseChangeRow.id))
        if license is not None:
            wanted = wanted.where(col(LicenseChangeRow.license) == license)
        if page is not None:
            wanted = wanted.where(col(LicenseChangeRow.id) > page.after).limit(page.limit)
        return [_change(row) for row in self._session.exec(wanted)]

    def add_change(self, change: LicenseChange) -> None:
        row = LicenseChangeRow(
            id=change.id,
            account=change.account,
            license=change.license,
            kind=change.kind,
            reason=change.reason,
            user=change.user,
            by_publisher=change.by_publisher,
            create_time_us=to_us(change.create_time),
            apply_time_us=None if change.apply_time is None else to_us(change.apply_time),
            activation=change.activation,
            target=change.target,
            edit=_said(change.edit),
            waits_for=change.waits_for,
        )
        self._session.add(row)
        self._session.flush()

    def update_waits_for(self, change: LicenseChange) -> None:
        self._session.get_one(LicenseChangeRow, change.id).waits_for = change.waits_for
        self._session.flush()

    def delete_change(self, change: LicenseChange) -> None:
        self._session.exec(delete(LicenseChangeRow).where(col(LicenseChangeRow.id) == change.id))

    def due(self, now_us: int, limit: int) -> list[Due]:
        wanted = (
            select(LicenseRow.account, LicenseRow.id)
            .where(col(LicenseRow.next_change_time_us) <= now_us, col(LicenseRow.waits_for) == "")
            .order_by(col(LicenseRow.next_change_time_us))
            .limit(limit)
        )
        return [Due(account, license) for account, license in self._session.exec(wanted)]


def _said(edit: Edit) -> dict[str, Any]:
    said: dict[str, Any] = {
        "activation_count": edit.activation_count,
        "seat_count": edit.seat_count,
        "term_days": edit.term_days,
        "without_expire_time": edit.without_expire_time or None,
    }
    if edit.features is not None:
        said["features"] = [[one.id, one.seat_count] for one in edit.features]
    if edit.allowed_locations is not None:
        said["allowed_locations"] = sorted(edit.allowed_locations)
    if edit.expire_time is not None:
        said["expire_time_us"] = to_us(edit.expire_time)
    if edit.maintenance_end_time is not None:
        said["maintenance_end_time_us"] = to_us(edit.maintenance_end_time)
    return {key: value for key, value in said.items() if value is not None}


def _edit(said: dict[str, Any]) -> Edit:
    features, kinds = said.get("features"), said.get("allowed_locations")
    expire_us, maintenance_us = said.get("expire_time_us"), said.get("maintenance_end_time_us")
    return Edit(
        activation_count=said.get("activation_count"),
        seat_count=said.get("seat_count"),
        features=None if features is None else tuple(Feature(*one) for one in features),
        allowed_locations=None if kinds is None else frozenset(map(LocationKind, kinds)),
        expire_time=None if expire_us is None else from_us(expire_us),
        without_expire_time=said.get("without_expire_time", False),
        term_days=said.get("term_days"),
        maintenance_end_time=None if maintenance_us is None else from_us(maintenance_us),
    )


def _change(row: LicenseChangeRow) -> LicenseChange:
    return LicenseChange(
        account=row.account,
        license=row.license,
        id=row.id,
        kind=ChangeKind(row.kind),
        reason=row.reason,
        user=row.user,
        by_publisher=row.by_publisher,
        create_time=from_us(row.create_time_us),
        apply_time=None if row.apply_time_us is None else from_us(row.apply_time_us),
        activation=row.activation,
        target=row.target,
        edit=_edit(row.edit),
        waits_for=row.waits_for,
    )
