"""Certificates of bridges and sites in a table; see service/certificate_ports.py for what is promised."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session, col, delete, select

from keypeg_server.clock import from_us, to_us
from keypeg_server.domain.client_certificate import KEPT, CertificateRole, ClientCertificate
from keypeg_server.storage.tables_certificate import ClientCertificateRow

_US = timedelta(microseconds=1)


class SqlCertificates:
    """`Certificates` on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def certificate(self, account: str, id: str) -> ClientCertificate | None:
        row = self._session.get(ClientCertificateRow, id)
        return None if row is None or row.account != account else _certificate(row)

    def certificates_of(self, account: str) -> list[ClientCertificate]:
        mine = col(ClientCertificateRow.account) == account
        wanted = select(ClientCertificateRow).where(mine).order_by(col(ClientCertificateRow.id))
        return [_certificate(row) for row in self._session.exec(wanted)]

    def add_certificate(self, certificate: ClientCertificate) -> None:
        self._session.add(
            ClientCertificateRow(
                id=certificate.id,
                account=certificate.account,
                role=certificate.role,
                display_name=certificate.display_name,
                serial=certificate.serial,
                valid_for_us=certificate.valid_for // _US,
                create_time_us=to_us(certificate.create_time),
                expire_time_us=to_us(certificate.expire_time),
                revoke_time_us=None,
            )
        )
        self._session.flush()

    def update_certificate(self, certificate: ClientCertificate) -> None:
        row = self._session.get_one(ClientCertificateRow, certificate.id)
        revoked = certificate.revoke_time
        row.serial = certificate.serial
        row.expire_time_us = to_us(certificate.expire_time)
        row.revoke_time_us = None if revoked is None else to_us(revoked)
        self._session.add(row)

    def delete_forgotten(self, account: str, now: datetime) -> None:
        mine = col(ClientCertificateRow.account) == account
        over = col(ClientCertificateRow.expire_time_us) <= to_us(now - KEPT)
        self._session.exec(delete(ClientCertificateRow).where(mine, over))


def _certificate(row: ClientCertificateRow) -> ClientCertificate:
    return ClientCertificate(
        row.account,
        row.id,
        CertificateRole(row.role),
        row.display_name,
        row.serial,
        row.valid_for_us * _US,
        from_us(row.create_time_us),
        from_us(row.expire_time_us),
        None if row.revoke_time_us is None else from_us(row.revoke_time_us),
    )
