"""Locations and enrollments in tables, with cloud sessions (cloud_store.py); see service/store.py for what is promised."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlmodel import col, delete, func, select

from keypeg_server.clock import from_us, to_us
from keypeg_server.domain.location import Location, LocationKind
from keypeg_server.service.store import Page
from keypeg_server.storage.cloud_store import SqlClouds
from keypeg_server.storage.tables import EnrollmentRow, LocationRow


class SqlPlaces(SqlClouds):
    """`Places` on a session."""

    def location(self, account: str, id: str) -> Location | None:
        row = self._session.get(LocationRow, (account, id))
        return None if row is None else location_of(row)

    def list_locations(self, account: str, page: Page) -> list[Location]:
        wanted = (
            select(LocationRow)
            .where(col(LocationRow.account) == account, col(LocationRow.id) > page.after)
            .order_by(col(LocationRow.id))
            .limit(page.limit)
        )
        return [location_of(row) for row in self._session.exec(wanted)]

    def key_location(self, account: str, card_id: str) -> Location | None:
        wanted = select(LocationRow).where(
            col(LocationRow.account) == account,
            col(LocationRow.card_id) == card_id,
            col(LocationRow.lost_time_us).is_(None),
        )
        row = self._session.exec(wanted).first()
        return None if row is None else location_of(row)

    def host_location(self, account: str, device: str) -> Location | None:
        wanted = select(LocationRow).where(
            col(LocationRow.account) == account,
            col(LocationRow.kind) == LocationKind.HOST,
            col(LocationRow.device) == device,
        )
        row = self._session.exec(wanted).first()
        return None if row is None else location_of(row)

    def host_count(self, account: str) -> int:
        wanted = select(func.count()).where(
            col(LocationRow.account) == account, col(LocationRow.kind) == LocationKind.HOST
        )
        return self._session.exec(wanted).one()

    def add_location(self, location: Location) -> None:
        row = LocationRow(account=location.account, id=location.id, **_columns(location))
        self._session.add(row)
        self._session.flush()

    def update_location(self, location: Location) -> None:
        row = self._session.get_one(LocationRow, (location.account, location.id))
        for name, value in _columns(location).items():
            setattr(row, name, value)
        self._session.flush()

    def add_enrollment(
        self, account: str, hand_id: str, digest: bytes, expire_time: datetime, now: datetime
    ) -> None:
        ended = delete(EnrollmentRow).where(col(EnrollmentRow.expire_time_us) <= to_us(now))
        self._session.exec(ended)
        row = EnrollmentRow(
            digest=digest, account=account, card_id=hand_id, expire_time_us=to_us(expire_time)
        )
        self._session.add(row)
        self._session.flush()

    def at_hand(self, account: str, hand_id: str, now: datetime) -> bool:
        wanted = select(EnrollmentRow.digest).where(
            col(EnrollmentRow.account) == account,
            col(EnrollmentRow.card_id) == hand_id,
            col(EnrollmentRow.expire_time_us) > to_us(now),
        )
        return self._session.exec(wanted.limit(1)).first() is not None

    def leave_hand(self, account: str, hand_id: str) -> None:
        there = delete(EnrollmentRow).where(
            col(EnrollmentRow.account) == account, col(EnrollmentRow.card_id) == hand_id
        )
        self._session.exec(there)

    def take_enrollment(self, account: str, card_id: str, digest: bytes) -> datetime | None:
        row = self._session.get(EnrollmentRow, digest)
        if row is None or (row.account, row.card_id) != (account, card_id):
            return None
        self._session.delete(row)
        self._session.flush()
        return from_us(row.expire_time_us)


def _columns(location: Location) -> dict[str, Any]:
    return {
        "kind": location.kind,
        "display_name": location.display_name,
        "create_time_us": _us(location.create_time),
        "serial": location.serial,
        "model": location.model,
        "emulated": location.emulated,
        "card_id": location.card_id,
        "key_algorithm": location.key_algorithm,
        "public_key": location.public_key,
        "lost_time_us": _us(location.lost_time),
        "lost_reason": location.lost_reason,
        "suspect_time_us": _us(location.suspect_time),
        "device": location.device,
        "fingerprint": location.fingerprint or None,
    }


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)


def _moment(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)


def location_of(row: LocationRow) -> Location:
    """From its row."""
    return Location(
        account=row.account,
        id=row.id,
        kind=LocationKind(row.kind),
        display_name=row.display_name,
        create_time=_moment(row.create_time_us),
        serial=row.serial,
        model=row.model,
        emulated=row.emulated,
        card_id=row.card_id,
        key_algorithm=row.key_algorithm,
        public_key=row.public_key,
        lost_time=_moment(row.lost_time_us),
        lost_reason=row.lost_reason,
        suspect_time=_moment(row.suspect_time_us),
        device=row.device,
        fingerprint=row.fingerprint or b"",
    )
