"""Alembic's entry: runs migrations on the connection that schema.py hands over.

Promises: everything in the caller's transaction, so that a migration is whole or not at all.

Leaves to others: opening a database (database.py).
"""

from __future__ import annotations

from alembic import context

from keypeg_server.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
