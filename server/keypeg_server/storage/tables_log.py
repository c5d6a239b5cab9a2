"""The tables of the usage and audit log.

Promises: one log for each account and publisher, its records numbered from 1 without gaps; what was committed
together is one row, compressed, for records are like each other: a tenth of the bytes is written. Times are
microseconds since 1970 UTC.

Leaves to others: writing and reading them (log_writer.py, log_store.py), what records say (domain/record.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import BigInteger, Column, LargeBinary, PrimaryKeyConstraint
from sqlmodel import Field, SQLModel

from keypeg_server.storage import tables_seat  # its naming convention comes first

__all__ = ["LogBlockRow", "LogHeadRow", "LogRow", "tables_seat"]

_CLUSTERED: dict[str, Any] = {"sqlite_with_rowid": False}  # one tree, not a table and an index


class LogRow(SQLModel, table=True):
    """How far a log goes."""

    __tablename__: ClassVar[str] = "log"
    id: str = Field(primary_key=True)  # `{account or publisher}/logs/{log}`
    parent: str = Field(index=True)  # the account's or publisher's name
    sequence: int = Field(sa_type=BigInteger)  # of the last record
    hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))  # of the last record
    seal: bytes = Field(
        sa_column=Column(LargeBinary, nullable=False)
    )  # over both, under a secret of the server
    head_sequence: int = Field(sa_type=BigInteger)  # up to which a signed head covers it
    removed_sequence: int = Field(
        sa_type=BigInteger
    )  # up to which its records were kept long enough
    removed_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class LogBlockRow(SQLModel, table=True):
    """Records that were committed together."""

    __tablename__: ClassVar[str] = "log_block"
    __table_args__ = (PrimaryKeyConstraint("log", "sequence"), _CLUSTERED)
    log: str = Field(primary_key=True)
    sequence: int = Field(primary_key=True, sa_type=BigInteger)  # of the last of them
    first_sequence: int = Field(sa_type=BigInteger)
    time_us: int = Field(sa_type=BigInteger)  # of the last of them
    hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))  # of the last of them
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))  # see log_blocks.py


class LogHeadRow(SQLModel, table=True):
    """A signed head."""

    __tablename__: ClassVar[str] = "log_head"
    __table_args__ = (PrimaryKeyConstraint("log", "sequence"), _CLUSTERED)
    log: str = Field(primary_key=True)
    sequence: int = Field(primary_key=True, sa_type=BigInteger)  # of the last record it covers
    envelope: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
