"""Certificates by which bridges and sites call.

Promises: immutable values; whether one may still call is looked at with a time that is given.

Leaves to others: X.509 (client_authority.py), storing them (storage/certificate_store.py), what each role may call
(rpc/authorization.py).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from keypeg import names

from .account import User

CERTIFICATES_LIMIT: Final = 1_000  # of an account: its bridges and sites
KEPT: Final = timedelta(days=30)  # for so long one that has ended is listed


class CertificateRole(enum.IntEnum):
    """What calls by a certificate; numbers of keypeg.v1.CertificateRole."""

    BRIDGE = 1
    SITE = 2

    @property
    def word(self) -> str:
        """What people call it, and certificates say."""
        return self.name.lower()


@dataclass(frozen=True)
class ClientCertificate:
    """One bridge or site may call. What was issued last stands here; its name stays when it is renewed."""

    account: str  # id
    id: str
    role: CertificateRole
    display_name: str
    serial: str  # hexadecimal
    valid_for: timedelta  # of each that is issued
    create_time: datetime
    expire_time: datetime
    revoke_time: datetime | None = None

    @property
    def name(self) -> str:
        return names.CERTIFICATE.build(self.account, self.id)

    def renewed(self, serial: str, now: datetime) -> ClientCertificate:
        """With the next one that was issued."""
        return replace(self, serial=serial, expire_time=now + self.valid_for)

    def revoked(self, now: datetime) -> ClientCertificate:
        """Refused from now on; what was revoked before stays so."""
        return self if self.revoke_time is not None else replace(self, revoke_time=now)

    def is_forgotten(self, now: datetime) -> bool:
        """Whether it is listed no more."""
        return now >= self.expire_time + KEPT


class Machine(User):
    """What calls by a certificate, in the place of a user."""

    @property
    def name(self) -> str:
        return names.CERTIFICATE.build(self.account or "", self.id)
