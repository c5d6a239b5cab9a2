"""Tables of outside providers; see tables.py for what holds of all tables.

Leaves to others: mapping to the domain (identity_store.py).
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, Column, Index, LargeBinary
from sqlmodel import Field, SQLModel

from keypeg_server.storage import tables_seat  # its naming convention comes first

__all__ = ["IdentityRow", "ProviderSignInRow", "tables_seat"]


class IdentityRow(SQLModel, table=True):
    """Who a user is at a provider."""

    __tablename__: ClassVar[str] = "identity"
    __table_args__: ClassVar[tuple[Index, ...]] = (
        Index("ix_identity_issuer_subject", "issuer", "subject"),
    )
    id: str = Field(primary_key=True)
    user: str = Field(foreign_key="user.id", index=True, ondelete="CASCADE")
    issuer: str
    subject: str
    creator: str  # name; the log has it as long as it is of interest
    create_time_us: int = Field(sa_type=BigInteger)
    proven: bool


class ProviderSignInRow(SQLModel, table=True):
    """A client whose user signs in at a provider; its secret is nowhere."""

    __tablename__: ClassVar[str] = "provider_sign_in"
    digest: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    provider: str
    redirect_uri: str
    wrapped_code: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    client_name: str
    address: str
    create_time_us: int = Field(sa_type=BigInteger)
    expire_time_us: int = Field(sa_type=BigInteger, index=True)
    ask_time_us: int = Field(sa_type=BigInteger)
    interval_us: int = Field(sa_type=BigInteger)
    asked: int
    issuer: str
    subject: str
    asks_code: bool
