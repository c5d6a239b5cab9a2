"""Rules of pools, and what they tell of leases and places.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Table, column, type and default. Added without making the tables anew: they may be large.
ADDED = (
    ("pool", "rules", sa.Text(), ""),
    ("lease", "address", sa.String(), ""),
    ("lease", "subject", sa.String(), ""),
    ("lease", "overdraft", sa.Integer(), "0"),
    ("place", "address", sa.String(), ""),
    ("place", "clock_us", sa.BigInteger(), "0"),
)


def upgrade() -> None:
    for table, name, type_, default in ADDED:
        op.add_column(table, sa.Column(name, type_, nullable=False, server_default=default))


def downgrade() -> None:
    for table, name, _, _ in reversed(ADDED):
        op.drop_column(table, name)
