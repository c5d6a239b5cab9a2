"""Tables of what keys carry, gave back and lost; tables.py collects them.

Promises: rows of the repository in key_store.py; times are BIGINT microseconds UTC.

Leaves to others: the locations themselves (tables.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, LargeBinary
from sqlmodel import Field, SQLModel


def _number(**options: Any) -> Any:
    return Field(sa_type=BigInteger, **options)


class KeyContentsRow(SQLModel, table=True):
    """The versions of what one publisher has on one key."""

    __tablename__: ClassVar[str] = "key_contents"
    __table_args__ = (
        ForeignKeyConstraint(["account", "location"], ["location.account", "location.id"]),
    )
    account: str = Field(primary_key=True)
    location: str = Field(primary_key=True)
    publisher: str = Field(primary_key=True)
    version: int = _number()
    seen_version: int = _number()


class KeyReturnRow(SQLModel, table=True):
    """An activation that a key gave back by a receipt: the same receipt again changes nothing."""

    __tablename__: ClassVar[str] = "key_return"
    activation: str = Field(primary_key=True)  # id
    account: str = Field(foreign_key="account.id", index=True)
    location: str
    nonce: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    return_time_us: int = _number()


class KeyMoveRow(SQLModel, table=True):
    """An activation that left a lost key: what a publisher's policy counts."""

    __tablename__: ClassVar[str] = "key_move"
    id: str = Field(primary_key=True)
    account: str = Field(foreign_key="account.id", index=True)
    license: str = Field(index=True)
    activation: str
    from_location: str
    to_location: str  # empty when it was taken back
    move_time_us: int = _number()
