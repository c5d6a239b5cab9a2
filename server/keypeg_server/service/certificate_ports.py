"""What certificates of bridges and sites need: a repository in a unit of work, and who signs them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from keypeg_server.domain.client_certificate import ClientCertificate


class Certificates(Protocol):
    """Certificates of an account (id)."""

    def certificate(self, account: str, id: str) -> ClientCertificate | None: ...
    def certificates_of(self, account: str) -> list[ClientCertificate]:
        """Oldest first."""
        ...

    def add_certificate(self, certificate: ClientCertificate) -> None: ...
    def update_certificate(self, certificate: ClientCertificate) -> None:
        """Its serial number, end and revocation."""
        ...

    def delete_forgotten(self, account: str, now: datetime) -> None: ...


@dataclass(frozen=True)
class Wanted:
    """The public key of a certificate request that holds together."""

    public_key: bytes  # SubjectPublicKeyInfo, DER


@dataclass(frozen=True)
class Shown:
    """What a certificate says that somebody shows."""

    role: str
    name: str  # of the certificate
    serial: str
    starts: datetime
    ends: datetime


class Authority(Protocol):
    """Who signs certificates, and reads them."""

    def wanted(self, request: bytes) -> Wanted:
        """What a request asks for; ValueError says in words what is wrong with it."""
        ...

    def serial(self) -> str:
        """A new one, hexadecimal."""
        ...

    def issue(self, wanted: Wanted, certificate: ClientCertificate, now: datetime) -> str:
        """What a certificate of ours is shown as from now on, PEM."""
        ...

    def shown(self, pem: str) -> Shown:
        """What a certificate of this authority says; ValueError says what it is instead."""
        ...
