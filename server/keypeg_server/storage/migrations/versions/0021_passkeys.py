"""Passkeys, and which of their challenges were answered.

Revision ID: 0021
Revises: 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "passkey",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("create_time_us", sa.BigInteger(), nullable=False),
        sa.Column("use_time_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user"], ["user.id"], name=op.f("fk_passkey_user_user"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkey")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkey_credential_id")),
    )
    op.create_index(op.f("ix_passkey_user"), "passkey", ["user"])
    op.create_table(
        "passkey_use",
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("issue_time_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user"], ["user.id"], name=op.f("fk_passkey_use_user_user"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user", name=op.f("pk_passkey_use")),
    )


def downgrade() -> None:
    op.drop_table("passkey_use")
    op.drop_index(op.f("ix_passkey_user"), "passkey")
    op.drop_table("passkey")
