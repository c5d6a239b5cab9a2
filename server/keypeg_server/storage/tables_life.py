"""The table of changes of licenses that are not applied yet; tables.py collects it.

Promises: rows of the repository in change_store.py; times are BIGINT microseconds UTC.

Leaves to others: what is marked at the license itself (tables.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Column
from sqlmodel import Field, SQLModel


class LicenseChangeRow(SQLModel, table=True):
    """A change that is planned, or waits for a key."""

    __tablename__: ClassVar[str] = "license_change"
    id: str = Field(primary_key=True)
    account: str = Field(foreign_key="account.id", index=True)
    license: str = Field(foreign_key="license.id", index=True)
    kind: int
    reason: str
    user: str  # name
    by_publisher: bool
    create_time_us: int = Field(sa_type=BigInteger)
    apply_time_us: int | None = Field(sa_type=BigInteger, nullable=True)
    activation: str  # id
    target: str  # location id
    edit: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    waits_for: str  # location id
