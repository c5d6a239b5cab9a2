"""Tables of invitations, API keys and resellers; tables.py collects them.

Promises: rows of the repository in people_store.py; times are BIGINT microseconds UTC; of secrets there are digests.

Leaves to others: accounts, users and tokens (tables.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Column, LargeBinary
from sqlmodel import Field, SQLModel

from keypeg_server.storage import tables_seat  # its naming convention comes first

assert tables_seat


def _time(**options: Any) -> Any:
    return Field(sa_type=BigInteger, **options)


def _digest() -> Any:
    return Field(sa_column=Column(LargeBinary, nullable=False, unique=True))


class InvitationRow(SQLModel, table=True):
    """Somebody may join an account, once."""

    __tablename__: ClassVar[str] = "invitation"
    id: str = Field(primary_key=True)
    account: str | None = Field(foreign_key="account.id", index=True)
    digest: bytes = _digest()  # SHA-256 of the ticket
    address: str
    role: int
    created_by: str  # name
    create_time_us: int = _time()
    expire_time_us: int = _time()


class ApiKeyRow(SQLModel, table=True):
    """A program may call as a user."""

    __tablename__: ClassVar[str] = "api_key"
    id: str = Field(primary_key=True)
    user: str = Field(foreign_key="user.id", index=True, ondelete="CASCADE")
    digest: bytes = _digest()  # SHA-256 of the key
    display_name: str
    scopes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    create_time_us: int = _time()
    expire_time_us: int = _time()
    last_use_time_us: int | None = _time(nullable=True)


class ResellerAccountRow(SQLModel, table=True):
    """A reseller acts for an account."""

    __tablename__: ClassVar[str] = "reseller_account"
    user: str = Field(primary_key=True, foreign_key="user.id", ondelete="CASCADE")
    account: str = Field(primary_key=True, foreign_key="account.id")
