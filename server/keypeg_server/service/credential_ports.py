"""What the use cases of credentials need from storage, and the values that come in and go out.

Promises: a repository that is called within a unit of work only (store.py); a secret is in no repr.

Leaves to others: how it is kept (storage/credential_store.py), and the rules (domain/credential.py, active_devices.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from keypeg.v1.document_pb2 import Envelope, PublicKey
from keypeg_server.domain.account import User
from keypeg_server.domain.cloud_session import Holder
from keypeg_server.domain.credential import Credential


@dataclass(frozen=True)
class NewCredential:
    """What a credential is to be."""

    user: str  # name; empty for who asks
    display_name: str
    public_key: PublicKey
    scopes: tuple[int, ...]
    not_before: datetime | None
    ttl: timedelta | None
    device_limit: int
    servers: tuple[str, ...]
    ca_certificates: str = field(repr=False)


@dataclass(frozen=True)
class Presented:
    """What somebody signs in with."""

    name: str
    document: Envelope
    device: Holder
    challenge: bytes
    host: str
    signature: bytes = field(repr=False)


@dataclass(frozen=True)
class SignedInBy:
    """A token of a credential: the only time that its text is there."""

    text: str = field(repr=False)
    user: User
    expire_time: datetime


class Credentials(Protocol):
    """Credentials with their devices, and how many devices an account may have in use."""

    def find(self, account: str, id: str) -> Credential | None: ...
    def list_of(
        self, account: str, user: str | None = None, after: str = "", limit: int | None = None
    ) -> list[Credential]:
        """Of an account or of one user (id) of it, by id; all when there is no limit."""
        ...

    def save(self, credential: Credential) -> None:
        """As it is now, its devices too; also one that was not there."""
        ...

    def delete(self, credential: Credential) -> None:
        """With its devices."""
        ...

    def device_limit(self, account: str) -> int | None:
        """None for the server's setting."""
        ...

    def set_device_limit(self, account: str, limit: int | None) -> None: ...
