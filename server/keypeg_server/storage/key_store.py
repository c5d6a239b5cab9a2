"""What keys carry, gave back and lost, in tables; see service/key_ports.py for what is promised."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select

from keypeg_server.clock import from_us, to_us
from keypeg_server.domain.key_contents import Versions
from keypeg_server.domain.key_loss import Move
from keypeg_server.domain.location import Location, LocationKind
from keypeg_server.service.key_ports import Returned
from keypeg_server.storage.place_store import location_of
from keypeg_server.storage.tables import LocationRow
from keypeg_server.storage.tables_key import KeyContentsRow, KeyMoveRow, KeyReturnRow


class SqlKeys:
    """`Keys` on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of_card(self, account: str, card_id: str) -> list[Location]:
        wanted = (
            select(LocationRow)
            .where(col(LocationRow.account) == account, col(LocationRow.card_id) == card_id)
            .where(col(LocationRow.kind) == int(LocationKind.KEY))
            .order_by(col(LocationRow.id))
        )
        return [location_of(row) for row in self._session.exec(wanted)]

    def versions(self, account: str, location: str) -> dict[str, Versions]:
        wanted = select(KeyContentsRow).where(
            col(KeyContentsRow.account) == account, col(KeyContentsRow.location) == location
        )
        return {
            row.publisher: Versions(row.version, row.seen_version)
            for row in self._session.exec(wanted)
        }

    def save_versions(
        self, account: str, location: str, publisher: str, versions: Versions
    ) -> None:
        row = KeyContentsRow(
            account=account,
            location=location,
            publisher=publisher,
            version=versions.version,
            seen_version=versions.seen_version,
        )
        self._session.merge(row)
        self._session.flush()

    def returned(self, account: str, activation: str) -> Returned | None:
        row = self._session.get(KeyReturnRow, activation)
        if row is None or row.account != account:
            return None
        return Returned(row.activation, row.location, row.nonce)

    def add_return(self, account: str, returned: Returned, now: datetime) -> None:
        row = KeyReturnRow(
            activation=returned.activation,
            account=account,
            location=returned.location,
            nonce=returned.nonce,
            return_time_us=to_us(now),
        )
        self._session.add(row)
        self._session.flush()

    def moves(self, account: str, license: str) -> list[datetime]:
        wanted = (
            select(KeyMoveRow.move_time_us)
            .where(col(KeyMoveRow.account) == account, col(KeyMoveRow.license) == license)
            .order_by(col(KeyMoveRow.move_time_us))
        )
        return [from_us(moved) for moved in self._session.exec(wanted)]

    def add_move(self, move: Move) -> None:
        row = KeyMoveRow(
            id=move.id,
            account=move.account,
            license=move.license,
            activation=move.activation,
            from_location=move.from_location,
            to_location=move.to_location,
            move_time_us=to_us(move.time),
        )
        self._session.add(row)
        self._session.flush()
