"""Answers of requests are kept by the time that the database was served, no longer by the wall clock.

The count of served time begins where the newest answer was written, so that each keeps what is left of its time.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEPT_US = 24 * 3600 * 1_000_000
SERVED = "served_us"

_META = sa.table("meta", sa.column("key", sa.String()), sa.column("value", sa.String()))
_REQUEST = sa.table("request", sa.column("expire_time_us", sa.BigInteger()))


def upgrade() -> None:
    newest = op.get_bind().execute(sa.select(sa.func.max(_REQUEST.c.expire_time_us))).scalar()
    if newest is not None:
        op.execute(sa.insert(_META).values(key=SERVED, value=str(newest - KEPT_US)))


def downgrade() -> None:
    op.execute(sa.delete(_META).where(_META.c.key == SERVED))
