"""Temporary capacity of licenses, and what was placed by it.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_ADDED: dict[str, dict[str, tuple[Any, str | None]]] = {
    "license": {
        "capacities": (sa.String(), ""),
        "capacity_change_us": (sa.BigInteger(), None),
    },
    "activation": {
        "capacity": (sa.String(), ""),
        "expire_time_us": (sa.BigInteger(), None),
    },
}
"""By table and column: its type, and what rows that are there get; None: nothing."""


def upgrade() -> None:
    for table, columns in _ADDED.items():
        for name, (kind, default) in columns.items():
            column = sa.Column(name, kind, nullable=default is None, server_default=default)
            op.add_column(table, column)
    op.create_index(op.f("ix_license_capacity_change_us"), "license", ["capacity_change_us"])


def downgrade() -> None:
    op.drop_index(op.f("ix_license_capacity_change_us"), "license")
    for table, columns in reversed(_ADDED.items()):
        with op.batch_alter_table(table) as batch:
            for name in columns:
                batch.drop_column(name)
