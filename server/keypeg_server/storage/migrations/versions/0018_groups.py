"""Kinds of accounts, and the cloud session of each member of a group.

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("account", sa.Column("kind", sa.Integer(), nullable=False, server_default="1"))
    op.create_table(
        "member_cloud",
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("member", sa.String(), nullable=False),
        sa.Column("cloud_mode", sa.Integer(), nullable=False),
        sa.Column("cloud_state", sa.Integer(), nullable=False),
        sa.Column("cloud_device", sa.String(), nullable=False),
        sa.Column("cloud_host_name", sa.String(), nullable=False),
        sa.Column("cloud_open_time_us", sa.BigInteger(), nullable=True),
        sa.Column("cloud_user", sa.String(), nullable=False),
        sa.Column("cloud_generation", sa.BigInteger(), nullable=False),
        sa.Column("suspended", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account"], ["account.id"], name=op.f("fk_member_cloud_account_account")
        ),
        sa.ForeignKeyConstraint(
            ["member"], ["user.id"], name=op.f("fk_member_cloud_member_user"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account", "member", name=op.f("pk_member_cloud")),
    )


def downgrade() -> None:
    op.drop_table("member_cloud")
    with op.batch_alter_table("account") as batch:
        batch.drop_column("kind")
