"""By which keys the license documents of sites are believed, so that stale ones are found.

Revision ID: 0024
Revises: 0023
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from google.protobuf.message import DecodeError

from keypeg.envelope import key_id
from keypeg.v1.document_pb2 import Envelope, LicenseDocument

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

SITE = 4
AT_ONCE = 1_000
INDEX = "ix_activation_document_keys"
_THERE = sa.text("document_keys IS NOT NULL")
_SET_MANY = sa.text(
    "UPDATE activation SET document_keys = new.keys "
    "FROM unnest(CAST(:ids AS varchar[]), CAST(:keys AS varchar[])) AS new(id, keys) WHERE activation.id = new.id"
)
_ACTIVATION = sa.table(
    "activation",
    sa.column("id", sa.String()),
    sa.column("location_kind", sa.Integer()),
    sa.column("document", sa.LargeBinary()),
    sa.column("document_keys", sa.String()),
)


def upgrade() -> None:
    op.add_column("activation", sa.Column("document_keys", sa.String(), nullable=True))
    _fill(op.get_bind())
    op.create_index(
        INDEX,
        "activation",
        ["document_keys", "id"],
        sqlite_where=_THERE,
        postgresql_where=_THERE,
    )


def downgrade() -> None:
    op.drop_index(INDEX, "activation")
    with op.batch_alter_table("activation") as batch:
        batch.drop_column("document_keys")


def _fill(connection: sa.Connection) -> None:
    columns = _ACTIVATION.c
    said = (
        sa.update(_ACTIVATION)
        .where(columns.id == sa.bindparam("at"))
        .values(document_keys=sa.bindparam("keys"))
    )
    last = ""
    while True:
        wanted = sa.select(columns.id, columns.document).where(
            columns.location_kind == SITE, columns.id > last
        )
        rows = connection.execute(wanted.order_by(columns.id).limit(AT_ONCE)).all()
        if not rows:
            return
        ids, keys = [row.id for row in rows], [_keys(row.document) for row in rows]
        if connection.dialect.name == "postgresql":  # one statement for all of them
            connection.execute(_SET_MANY, {"ids": ids, "keys": keys})
        else:
            connection.execute(
                said, [{"at": id, "keys": one} for id, one in zip(ids, keys, strict=True)]
            )
        last = rows[-1].id


def _keys(document: bytes) -> str | None:
    try:
        envelope = Envelope.FromString(bytes(document))
        named = LicenseDocument.FromString(envelope.payload).location_key
        return f"{key_id(named)}.{envelope.signatures[0].key_id}"
    except (DecodeError, IndexError):  # `keypegd check` says it
        return None
