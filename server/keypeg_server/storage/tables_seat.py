"""The tables of pools, leases, borrows, queue places and answered requests.

Promises: everything that a restart must find again about seats, and nothing that memory can rebuild. Times
are microseconds since 1970 UTC, ids are texts made by the application, names are whole resource names.

Leaves to others: reading and writing them (pool_store.py, requests.py, committer.py) and all other tables.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Text,
)
from sqlmodel import Field, SQLModel

# Every constraint has a name, so that a migration can change it on every database.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def _added(type_: Any, default: str = "") -> Any:
    """A column that older rows get by its default."""
    return Column(type_, nullable=False, server_default=default)


_CLUSTERED: dict[str, Any] = {"sqlite_with_rowid": False}  # one tree, not a table and an index


class PoolRow(SQLModel, table=True):
    """The seats of one activation and product."""

    __tablename__: ClassVar[str] = "pool"
    id: str = Field(primary_key=True)
    account: str = Field(index=True)
    product: str
    activation: str = Field(index=True)
    seat_count: int
    features: str = Field(default="", sa_type=Text)  # JSON: feature id to seats; empty for none
    fencing_number: int = Field(default=0, sa_type=BigInteger)  # the highest given out
    create_time_us: int = Field(sa_type=BigInteger)
    rules: str = Field(default="", sa_column=_added(Text))  # JSON; empty for none
    freed: str = Field(default="", sa_column=_added(Text))  # JSON; empty for none


class LeaseRow(SQLModel, table=True):
    """A hold on seats. The whole table is read at start and only written after that: no indexes."""

    __tablename__: ClassVar[str] = "lease"
    __table_args__ = _CLUSTERED
    id: str = Field(primary_key=True)
    pool: str = Field(foreign_key="pool.id")
    session: str  # the session's id; empty for a lease without a stream
    user: str
    device: str
    host_name: str
    app: str
    process_id: int
    units: int
    features: str = Field(default="", sa_type=Text)
    fencing_number: int = Field(sa_type=BigInteger)
    acquire_time_us: int = Field(sa_type=BigInteger)
    valid_for_us: int = Field(sa_type=BigInteger)  # the longest that its holder may believe in it
    address: str = Field(default="", sa_column=_added(String))
    subject: str = Field(
        default="", sa_column=_added(String)
    )  # what shares its seat; empty: nothing
    overdraft: int = Field(default=0, sa_column=_added(Integer, "0"))  # 1: above what the pool has


class PlaceRow(SQLModel, table=True):
    """A place in the queue of a pool; read at start, like leases."""

    __tablename__: ClassVar[str] = "place"
    __table_args__ = _CLUSTERED
    id: str = Field(primary_key=True)  # the lease that it becomes has the same id
    pool: str = Field(foreign_key="pool.id")
    session: str
    user: str
    device: str
    host_name: str
    app: str
    process_id: int
    units: int
    features: str = Field(default="", sa_type=Text)
    priority: int
    arrival: int = Field(sa_type=BigInteger)  # orders places of one priority
    create_time_us: int = Field(sa_type=BigInteger)
    valid_for_us: int = Field(sa_type=BigInteger)
    request_id: str  # of the request that waits
    address: str = Field(default="", sa_column=_added(String))
    clock_us: int = Field(default=0, sa_column=_added(BigInteger, "0"))  # on the pool's own clock


class BorrowRow(SQLModel, table=True):
    """A seat that was taken offline, until nobody can believe in it; read at start, like leases.

    While it is out it is a lease too, which has no row of its own.
    """

    __tablename__: ClassVar[str] = "borrow"
    id: str = Field(primary_key=True)
    pool: str = Field(foreign_key="pool.id")
    user: str
    device: str
    host_name: str
    app: str
    address: str
    units: int
    features: str = Field(sa_type=Text)
    fencing_number: int = Field(sa_type=BigInteger)
    create_time_us: int = Field(sa_type=BigInteger)
    end_us: int = Field(sa_type=BigInteger)  # of its newest document
    return_key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    fingerprint: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    serial: int
    document: bytes = Field(sa_column=Column(LargeBinary, nullable=False))  # an Envelope
    subject: str
    state: str
    state_time_us: int = Field(sa_type=BigInteger)
    state_by: str
    reason: str = Field(sa_type=Text)


class RequestRow(SQLModel, table=True):
    """What a request was answered with, in the transaction of what it did; kept for 24 h of served time.

    The id comes first in the key: ids that grow with time (UUID version 7, as the SDK makes them) end up side
    by side, and a batch touches a few pages of the file instead of one for each row.
    """

    __tablename__: ClassVar[str] = "request"
    __table_args__ = (PrimaryKeyConstraint("id", "caller"), _CLUSTERED)
    caller: str = Field(primary_key=True)  # a user, or a session on its stream
    id: str = Field(primary_key=True)
    digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))  # of the request's body
    result: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    expire_time_us: int = Field(sa_type=BigInteger, index=True)  # of served time (clock.py)
