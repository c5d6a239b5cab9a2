"""Which versions of the app a license opens.

Licenses that are there open every version, as they did.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("newest_version", sa.String(), nullable=False, server_default="")
    op.add_column("license", column)


def downgrade() -> None:
    with op.batch_alter_table("license") as batch:
        batch.drop_column("newest_version")
