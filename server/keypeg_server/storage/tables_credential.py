"""Tables of credentials and the devices that use them; tables.py collects them.

Promises: rows of the repository in credential_store.py; times are BIGINT microseconds UTC. A user who goes takes
their credentials along. No row holds a secret: tokens are sealed and kept nowhere.

Leaves to others: accounts and users themselves (tables.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Column, LargeBinary
from sqlmodel import Field, SQLModel


def _number(**options: Any) -> Any:
    return Field(sa_type=BigInteger, **options)


class CredentialRow(SQLModel, table=True):
    """What signs in for a user."""

    __tablename__: ClassVar[str] = "credential"
    id: str = Field(primary_key=True)
    account: str = Field(foreign_key="account.id", index=True)
    user: str = Field(foreign_key="user.id", index=True, ondelete="CASCADE")
    display_name: str
    document: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    scopes: list[int] = Field(sa_column=Column(JSON, nullable=False))
    device_limit: int
    generation: int = _number()
    create_time_us: int = _number()
    not_before_us: int = _number()
    not_after_us: int = _number()
    overlap_end_us: int | None = _number(nullable=True)


class CredentialDeviceRow(SQLModel, table=True):
    """A device on which a credential is."""

    __tablename__: ClassVar[str] = "credential_device"
    credential: str = Field(primary_key=True, foreign_key="credential.id", ondelete="CASCADE")
    device: str = Field(primary_key=True)
    host_name: str
    first_time_us: int = _number()
    last_time_us: int = _number()
    generation: int = _number()
    active_until_us: int = _number()


class DeviceLimitRow(SQLModel, table=True):
    """On how many devices an account may be in use, where that is not the server's setting."""

    __tablename__: ClassVar[str] = "device_limit"
    account: str = Field(primary_key=True, foreign_key="account.id")
    active_devices: int
