"""Credentials and their devices in tables; see service/credential_ports.py for what is promised."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, delete, select

from keypeg_server.clock import from_us, to_us
from keypeg_server.domain.credential import Credential, CredentialDevice
from keypeg_server.storage.tables_credential import (
    CredentialDeviceRow,
    CredentialRow,
    DeviceLimitRow,
)


class SqlCredentials:
    """`Credentials` on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def find(self, account: str, id: str) -> Credential | None:
        row = self._session.get(CredentialRow, id)
        there = [row] if row is not None and row.account == account else []
        # Devices are looked for in any case: not there takes as long as not the caller's.
        found = self._credentials(there, (id,))
        return found[0] if found else None

    def list_of(
        self, account: str, user: str | None = None, after: str = "", limit: int | None = None
    ) -> list[Credential]:
        wanted = select(CredentialRow).where(
            col(CredentialRow.account) == account, col(CredentialRow.id) > after
        )
        if user is not None:
            wanted = wanted.where(col(CredentialRow.user) == user)
        wanted = wanted.order_by(col(CredentialRow.id)).limit(limit)
        return self._credentials(self._session.exec(wanted).all())

    def save(self, credential: Credential) -> None:
        overlap = credential.overlap_end
        row = CredentialRow(
            id=credential.id,
            account=credential.account,
            user=credential.user,
            display_name=credential.display_name,
            document=credential.document,
            scopes=list(credential.scopes),
            device_limit=credential.device_limit,
            generation=credential.generation,
            create_time_us=to_us(credential.create_time),
            not_before_us=to_us(credential.not_before),
            not_after_us=to_us(credential.not_after),
            overlap_end_us=None if overlap is None else to_us(overlap),
        )
        self._session.merge(row)
        self._session.flush()
        kept = [one.device for one in credential.devices]
        gone = delete(CredentialDeviceRow).where(
            col(CredentialDeviceRow.credential) == credential.id,
            col(CredentialDeviceRow.device).not_in(kept),
        )
        self._session.exec(gone)
        for one in credential.devices:
            self._session.merge(
                CredentialDeviceRow(
                    credential=credential.id,
                    device=one.device,
                    host_name=one.host_name,
                    first_time_us=to_us(one.first_time),
                    last_time_us=to_us(one.last_time),
                    generation=one.generation,
                    active_until_us=to_us(one.active_until),
                )
            )
        self._session.flush()

    def delete(self, credential: Credential) -> None:
        of = CredentialDeviceRow.credential
        self._session.exec(delete(CredentialDeviceRow).where(col(of) == credential.id))
        self._session.exec(delete(CredentialRow).where(col(CredentialRow.id) == credential.id))

    def device_limit(self, account: str) -> int | None:
        row = self._session.get(DeviceLimitRow, account)
        return None if row is None else row.active_devices

    def set_device_limit(self, account: str, limit: int | None) -> None:
        if limit is None:
            self._session.exec(delete(DeviceLimitRow).where(col(DeviceLimitRow.account) == account))
        else:
            self._session.merge(DeviceLimitRow(account=account, active_devices=limit))
        self._session.flush()

    def _credentials(
        self, rows: Sequence[CredentialRow], ids: Sequence[str] | None = None
    ) -> list[Credential]:
        if ids is None:
            ids = [row.id for row in rows]
        devices: dict[str, list[CredentialDevice]] = defaultdict(list)
        wanted = (
            select(CredentialDeviceRow)
            .where(col(CredentialDeviceRow.credential).in_(ids))
            .order_by(col(CredentialDeviceRow.last_time_us).desc(), col(CredentialDeviceRow.device))
        )
        if ids:
            for row in self._session.exec(wanted):
                devices[row.credential].append(_device(row))
        return [_credential(row, tuple(devices[row.id])) for row in rows]


def _device(row: CredentialDeviceRow) -> CredentialDevice:
    return CredentialDevice(
        row.device,
        row.host_name,
        from_us(row.first_time_us),
        from_us(row.last_time_us),
        row.generation,
        from_us(row.active_until_us),
    )


def _credential(row: CredentialRow, devices: tuple[CredentialDevice, ...]) -> Credential:
    return Credential(
        account=row.account,
        id=row.id,
        user=row.user,
        display_name=row.display_name,
        document=row.document,
        scopes=tuple(row.scopes),
        device_limit=row.device_limit,
        generation=row.generation,
        create_time=from_us(row.create_time_us),
        not_before=from_us(row.not_before_us),
        not_after=from_us(row.not_after_us),
        overlap_end=_moment(row.overlap_end_us),
        devices=devices,
    )


def _moment(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)
