"""Second factors that were taken away because they were lost, until whom it concerns has been told.

Revision ID: 0022
Revises: 0021
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "factor_reset",
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("reset_time_us", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("by_login", sa.String(), nullable=False),
        sa.Column("one_time_codes", sa.Boolean(), nullable=False),
        sa.Column("passkey_count", sa.Integer(), nullable=False),
        sa.Column("first_told_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user"], ["user.id"], name=op.f("fk_factor_reset_user_user"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user", name=op.f("pk_factor_reset")),
    )


def downgrade() -> None:
    op.drop_table("factor_reset")
