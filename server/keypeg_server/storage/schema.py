"""The schema of the database: bringing it up to date, and comparing it with the tables.

Promises: `upgrade` brings an empty or older database to this server's schema in one transaction, and
refuses one that a newer server has changed; a database that is up to date costs one query.

Leaves to others: the tables themselves (tables.py), opening the database (database.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import IntegrityError

from keypeg.errors import StorageUnavailable
from keypeg_server.storage.database import Database, unavailable

HEAD: Final = "0024"  # the newest migration; a test compares
MIGRATIONS: Final = Path(__file__).parent / "migrations"
_VERSION_TABLE: Final = "alembic_version"
_PATIENCE: Final = (
    "SET LOCAL lock_timeout = '120s'",
    "SET LOCAL idle_in_transaction_session_timeout = '120s'",
)
# As alembic makes it: two servers that make it at once find out here.
_MAKE_VERSION_TABLE: Final = (
    f"CREATE TABLE IF NOT EXISTS {_VERSION_TABLE} (version_num VARCHAR(32) NOT NULL, "
    f"CONSTRAINT {_VERSION_TABLE}_pkc PRIMARY KEY (version_num))"
)


def version(connection: Connection) -> str | None:
    """The migration that a database is at; None when it is empty."""
    if not inspect(connection).has_table(_VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {_VERSION_TABLE}"))  # noqa: S608
    return found.scalar_one_or_none()


def bring_up_to_date(database: Database) -> None:
    """Upgrade a database, whoever else does so at the same time."""
    for last in (False, False, True):
        try:
            database.migrate(upgrade)
            return
        except IntegrityError as error:  # another server made the first table just now
            if last:
                raise unavailable(error) from error


def upgrade(connection: Connection) -> None:
    """Apply what is missing. Another server that does so at the same time waits, and finds it done."""
    before = version(connection)
    if before == HEAD:
        return
    if connection.dialect.name == "postgresql":
        for setting in _PATIENCE:
            connection.execute(text(setting))
        connection.execute(text(_MAKE_VERSION_TABLE))
        before = connection.execute(
            text(f"SELECT version_num FROM {_VERSION_TABLE} FOR UPDATE")  # noqa: S608
        ).scalar()
        if before == HEAD:
            return
    from alembic import command  # slow to import, and mostly not needed
    from alembic.script import ScriptDirectory
    from alembic.util.exc import CommandError

    config = configuration(connection)
    try:
        if before is not None:
            ScriptDirectory.from_config(config).get_revision(before)
    except CommandError as error:
        raise StorageUnavailable(
            f"The database was changed by a newer keypegd (its schema is {before}, this one's is {HEAD}); "
            "start that one, or restore a backup."
        ) from error
    command.upgrade(config, "head")


def differences(connection: Connection) -> list[Any]:
    """Where the database differs from the tables of the code; empty when nowhere."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from keypeg_server.storage.tables import metadata

    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


def configuration(connection: Connection) -> Any:
    """Alembic's configuration, on a connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
