"""Seats that administrators freed, and until when their users stay away.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pool", sa.Column("freed", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("pool", "freed")
