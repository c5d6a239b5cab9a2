"""The life of licenses: why one is suspended, what is planned for it, and what products let accounts do.

What was suspended or revoked before has no reason, and was the publisher's doing.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_ADDED: dict[str, dict[str, tuple[Any, Any]]] = {
    "product": {"switches": (sa.JSON(), "{}")},
    "license": {
        "state_reason": (sa.String(), ""),
        "state_by_publisher": (sa.Boolean(), sa.true()),
        "waits_for": (sa.String(), ""),
        "waiting_change": (sa.String(), ""),
        "next_change_time_us": (sa.BigInteger(), None),
    },
}
"""By table and column: its type, and what rows that are there get; None: nothing."""


def upgrade() -> None:
    for table, columns in _ADDED.items():
        for name, (kind, default) in columns.items():
            column = sa.Column(name, kind, nullable=default is None, server_default=default)
            op.add_column(table, column)
    op.create_index(op.f("ix_license_next_change_time_us"), "license", ["next_change_time_us"])
    op.create_table(
        "license_change",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("license", sa.String(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("by_publisher", sa.Boolean(), nullable=False),
        sa.Column("create_time_us", sa.BigInteger(), nullable=False),
        sa.Column("apply_time_us", sa.BigInteger(), nullable=True),
        sa.Column("activation", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("edit", sa.JSON(), nullable=False),
        sa.Column("waits_for", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account"], ["account.id"], name=op.f("fk_license_change_account_account")
        ),
        sa.ForeignKeyConstraint(
            ["license"], ["license.id"], name=op.f("fk_license_change_license_license")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_license_change")),
    )
    op.create_index(op.f("ix_license_change_account"), "license_change", ["account"])
    op.create_index(op.f("ix_license_change_license"), "license_change", ["license"])


def downgrade() -> None:
    op.drop_table("license_change")
    op.drop_index(op.f("ix_license_next_change_time_us"), table_name="license")
    for table, columns in reversed(_ADDED.items()):
        with op.batch_alter_table(table) as batch:
            for name in columns:
                batch.drop_column(name)
