"""Certificates by which bridges and sites call.

Revision ID: 0020
Revises: 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "client_certificate",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("role", sa.Integer(), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("valid_for_us", sa.BigInteger(), nullable=False),
        sa.Column("create_time_us", sa.BigInteger(), nullable=False),
        sa.Column("expire_time_us", sa.BigInteger(), nullable=False),
        sa.Column("revoke_time_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account"], ["account.id"], name=op.f("fk_client_certificate_account_account")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_client_certificate")),
    )
    op.create_index(op.f("ix_client_certificate_account"), "client_certificate", ["account"])


def downgrade() -> None:
    op.drop_index(op.f("ix_client_certificate_account"), "client_certificate")
    op.drop_table("client_certificate")
