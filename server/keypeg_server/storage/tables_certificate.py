"""Tables of certificates by which bridges and sites call; tables.py collects them.

Promises: rows of the repository in certificate_store.py; times are BIGINT microseconds UTC; nothing in them is a secret.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from keypeg_server.storage import tables_seat  # its naming convention comes first

assert tables_seat


def _time(**options: Any) -> Any:
    return Field(sa_type=BigInteger, **options)


class ClientCertificateRow(SQLModel, table=True):
    """A bridge or site may call."""

    __tablename__: ClassVar[str] = "client_certificate"
    id: str = Field(primary_key=True)
    account: str = Field(foreign_key="account.id", index=True)
    role: int
    display_name: str
    serial: str  # of the newest
    valid_for_us: int = _time()
    create_time_us: int = _time()
    expire_time_us: int = _time()
    revoke_time_us: int | None = _time(nullable=True)
