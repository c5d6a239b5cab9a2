"""Credentials, the devices that use them, and on how many devices an account may be in use.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "credential",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("device_limit", sa.Integer(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("create_time_us", sa.BigInteger(), nullable=False),
        sa.Column("not_before_us", sa.BigInteger(), nullable=False),
        sa.Column("not_after_us", sa.BigInteger(), nullable=False),
        sa.Column("overlap_end_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account"], ["account.id"], name=op.f("fk_credential_account_account")
        ),
        sa.ForeignKeyConstraint(
            ["user"], ["user.id"], name=op.f("fk_credential_user_user"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential")),
    )
    op.create_index(op.f("ix_credential_account"), "credential", ["account"])
    op.create_index(op.f("ix_credential_user"), "credential", ["user"])
    op.create_table(
        "credential_device",
        sa.Column("credential", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("host_name", sa.String(), nullable=False),
        sa.Column("first_time_us", sa.BigInteger(), nullable=False),
        sa.Column("last_time_us", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("active_until_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["credential"],
            ["credential.id"],
            name=op.f("fk_credential_device_credential_credential"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("credential", "device", name=op.f("pk_credential_device")),
    )
    op.create_table(
        "device_limit",
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("active_devices", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account"], ["account.id"], name=op.f("fk_device_limit_account_account")
        ),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_device_limit")),
    )


def downgrade() -> None:
    for table in ("device_limit", "credential_device", "credential"):
        op.drop_table(table)
