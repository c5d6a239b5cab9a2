"""Clients that wait until somebody approves the code that they show.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "device_sign_in",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("user_code", sa.String(), nullable=False),
        sa.Column("client_name", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("create_time_us", sa.BigInteger(), nullable=False),
        sa.Column("expire_time_us", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.Integer(), nullable=False),
        sa.Column("user", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user"], ["user.id"], name=op.f("fk_device_sign_in_user_user"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_device_sign_in")),
        sa.UniqueConstraint("user_code", name=op.f("uq_device_sign_in_user_code")),
    )
    for column in ("expire_time_us", "user"):
        op.create_index(op.f(f"ix_device_sign_in_{column}"), "device_sign_in", [column])


def downgrade() -> None:
    op.drop_table("device_sign_in")
