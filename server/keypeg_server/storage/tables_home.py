"""The tables that several servers of one database share: who serves what, who is there, what all must hear.

Promises: plain columns and primary keys only, so that every database that speaks PostgreSQL takes them. A server
alone on its database leaves them empty.

Leaves to others: reading and writing them (home_store.py, news_store.py, fence.py), what they mean
(domain/home.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import BigInteger, PrimaryKeyConstraint, Text
from sqlmodel import Field, SQLModel

from keypeg_server.storage import tables_seat  # its naming convention comes first

__all__ = ["HomeRow", "NodeRow", "OutboxRow", "tables_seat"]

_CLUSTERED: dict[str, Any] = {"sqlite_with_rowid": False}  # one tree, not a table and an index


class HomeRow(SQLModel, table=True):
    """By which server an account or publisher is served."""

    __tablename__: ClassVar[str] = "home"
    parent: str = Field(primary_key=True)  # the account's or publisher's name
    node: str | None = Field(default=None, nullable=True)  # None when it was given back
    epoch: int = Field(sa_type=BigInteger)  # grows whenever another server takes it


class NodeRow(SQLModel, table=True):
    """A server process that is there. Who removes its row has declared it dead, for ever."""

    __tablename__: ClassVar[str] = "node"
    id: str = Field(primary_key=True)  # new for every process, and for one that was declared dead
    address: str  # where other servers and clients reach it
    process: str  # which process of which computer; empty when that can not be said
    beat: int = Field(sa_type=BigInteger)
    start_time_us: int = Field(sa_type=BigInteger)  # for people


class OutboxRow(SQLModel, table=True):
    """What a server tells the others; written with what it is about."""

    __tablename__: ClassVar[str] = "outbox"
    __table_args__ = (PrimaryKeyConstraint("node", "number"), _CLUSTERED)
    node: str = Field(primary_key=True)
    number: int = Field(primary_key=True, sa_type=BigInteger)
    kind: str
    payload: str = Field(sa_type=Text)  # JSON
    time_us: int = Field(sa_type=BigInteger)  # for people
