"""Accounts that require a second factor of their people.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    required: sa.Column[bool] = sa.Column(
        "second_factor_required", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column("account", required)


def downgrade() -> None:
    op.drop_column("account", "second_factor_required")
