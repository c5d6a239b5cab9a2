"""Sign-ins, whose refresh tokens rotate.

Tokens of before hold until their own end, as sign-ins without a refresh token.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

PASSWORD = 1  # SignInMethod


def upgrade() -> None:
    op.create_table(
        "sign_in",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("method", sa.Integer(), nullable=False),
        sa.Column("client_name", sa.String(), nullable=False),
        sa.Column("create_time_us", sa.BigInteger(), nullable=False),
        sa.Column("use_time_us", sa.BigInteger(), nullable=False),
        sa.Column("expire_time_us", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user"], ["user.id"], name=op.f("fk_sign_in_user_user"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in")),
        sa.UniqueConstraint("digest", name=op.f("uq_sign_in_digest")),
    )
    op.create_index(op.f("ix_sign_in_user"), "sign_in", ["user"])
    new, old = _table("sign_in"), _table("token")
    kept = sa.select(
        old.c.id,
        old.c.user,
        sa.literal(PASSWORD),
        sa.literal(""),
        sa.literal(0),
        sa.literal(0),
        old.c.expire_time_us,
        sa.literal(0),
        old.c.digest,  # nobody has a token that is made of it
        old.c.digest,
    )
    op.execute(sa.insert(new).from_select([column.name for column in new.columns], kept))
    op.drop_table("token")


def downgrade() -> None:
    op.create_table(
        "token",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("expire_time_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user"], ["user.id"], name=op.f("fk_token_user_user"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
        sa.UniqueConstraint("digest", name=op.f("uq_token_digest")),
    )
    op.create_index(op.f("ix_token_user"), "token", ["user"])
    new, old = _table("token"), _table("sign_in")
    kept = sa.select(old.c.id, old.c.digest, old.c.user, old.c.expire_time_us)
    names = ["id", "digest", "user", "expire_time_us"]
    op.execute(sa.insert(new).from_select(names, kept.where(old.c.digest.is_not(None))))
    op.drop_table("sign_in")


def _table(name: str) -> sa.Table:
    """A table as it is at this moment, in the order of its columns."""
    columns = {
        "sign_in": (
            sa.Column("id", sa.String),
            sa.Column("user", sa.String),
            sa.Column("method", sa.Integer),
            sa.Column("client_name", sa.String),
            sa.Column("create_time_us", sa.BigInteger),
            sa.Column("use_time_us", sa.BigInteger),
            sa.Column("expire_time_us", sa.BigInteger),
            sa.Column("generation", sa.BigInteger),
            sa.Column("salt", sa.LargeBinary),
            sa.Column("digest", sa.LargeBinary),
        ),
        "token": (
            sa.Column("id", sa.String),
            sa.Column("digest", sa.LargeBinary),
            sa.Column("user", sa.String),
            sa.Column("expire_time_us", sa.BigInteger),
        ),
    }
    return sa.Table(name, sa.MetaData(), *columns[name])
