"""Tables of groups: the cloud session of each member; tables.py collects them.

Promises: a member who has never used the cloud has no row; who goes takes theirs along. Times are BIGINT microseconds
UTC.

Leaves to others: accounts and users themselves, and the cloud session of an account that is no group (tables.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel


def _number(**options: Any) -> Any:
    return Field(sa_type=BigInteger, **options)


class MemberCloudRow(SQLModel, table=True):
    """The cloud session of a member of a group."""

    __tablename__: ClassVar[str] = "member_cloud"
    account: str = Field(primary_key=True, foreign_key="account.id")
    member: str = Field(primary_key=True, foreign_key="user.id", ondelete="CASCADE")
    cloud_mode: int
    cloud_state: int
    cloud_device: str
    cloud_host_name: str
    cloud_open_time_us: int | None = _number(nullable=True)
    cloud_user: str  # name
    cloud_generation: int = _number()
    suspended: str  # why; empty: may be opened
