"""What keys carry, gave back and lost, and what publishers allow when they are lost.

Keys that were enrolled before have no versions of their contents: they get the first one with the next change.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

YEAR_US = 365 * 24 * 3600 * 1_000_000
_ADDED: dict[str, dict[str, tuple[Any, str | None]]] = {
    "product": {
        "key_loss_move_count": (sa.Integer(), "2"),
        "key_loss_period_us": (sa.BigInteger(), str(YEAR_US)),
        "key_loss_wait_us": (sa.BigInteger(), "0"),
    },
    "location": {
        "lost_time_us": (sa.BigInteger(), None),
        "lost_reason": (sa.String(), ""),
        "suspect_time_us": (sa.BigInteger(), None),
    },
    "activation": {"return_nonce": (sa.LargeBinary(), None)},
}
"""By table and column: its type, and what rows that are there get; None: nothing."""


def upgrade() -> None:
    for table, columns in _ADDED.items():
        for name, (kind, default) in columns.items():
            column = sa.Column(name, kind, nullable=default is None, server_default=default)
            op.add_column(table, column)
    op.create_table(
        "key_contents",
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("publisher", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("seen_version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account", "location"],
            ["location.account", "location.id"],
            name=op.f("fk_key_contents_account_location"),
        ),
        sa.PrimaryKeyConstraint("account", "location", "publisher", name=op.f("pk_key_contents")),
    )
    op.create_table(
        "key_return",
        sa.Column("activation", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("return_time_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account"], ["account.id"], name=op.f("fk_key_return_account_account")
        ),
        sa.PrimaryKeyConstraint("activation", name=op.f("pk_key_return")),
    )
    op.create_index(op.f("ix_key_return_account"), "key_return", ["account"])
    op.create_table(
        "key_move",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("license", sa.String(), nullable=False),
        sa.Column("activation", sa.String(), nullable=False),
        sa.Column("from_location", sa.String(), nullable=False),
        sa.Column("to_location", sa.String(), nullable=False),
        sa.Column("move_time_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account"], ["account.id"], name=op.f("fk_key_move_account_account")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_move")),
    )
    op.create_index(op.f("ix_key_move_account"), "key_move", ["account"])
    op.create_index(op.f("ix_key_move_license"), "key_move", ["license"])


def downgrade() -> None:
    for table in ("key_move", "key_return", "key_contents"):
        op.drop_table(table)
    for table, columns in reversed(_ADDED.items()):
        with op.batch_alter_table(table) as batch:
            for name in columns:
                batch.drop_column(name)
