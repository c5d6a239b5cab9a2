"""The schema: migrations and tables agree, and what a newer server changed is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from keypeg.errors import StorageUnavailable
from keypeg_server.storage import schema
from keypeg_server.storage.database import Database
from keypeg_server.storage.tables import metadata
from tests.server.databases import Place, open_at


@pytest.fixture
def database(empty: Place) -> Iterator[Database]:
    opened = open_at(empty.where)
    yield opened
    opened.close()


def test_the_migrations_make_the_tables_of_the_code(database: Database) -> None:
    database.migrate(schema.upgrade)
    assert database.migrate(schema.differences) == []


def test_a_difference_would_be_found(database: Database) -> None:
    database.migrate(schema.upgrade)
    database.migrate(
        lambda connection: connection.execute(text("ALTER TABLE meta ADD COLUMN x INT"))
    )
    assert "meta" in str(database.migrate(schema.differences))


def test_upgrading_twice_changes_nothing(database: Database) -> None:
    database.migrate(schema.upgrade)
    database.migrate(schema.upgrade)
    assert database.migrate(schema.version) == schema.HEAD


def test_the_head_is_the_newest_migration(database: Database) -> None:
    def head(connection: Connection) -> str | None:
        return ScriptDirectory.from_config(schema.configuration(connection)).get_current_head()

    assert database.migrate(head) == schema.HEAD


def test_a_database_of_a_newer_server_is_refused(database: Database) -> None:
    database.migrate(schema.upgrade)
    database.migrate(
        lambda connection: connection.execute(
            text("UPDATE alembic_version SET version_num = 'f00'")
        )
    )
    with pytest.raises(StorageUnavailable, match="newer keypegd"):
        database.migrate(schema.upgrade)


def test_the_first_migration_can_be_taken_back(database: Database) -> None:
    database.migrate(schema.upgrade)
    database.migrate(lambda connection: command.downgrade(schema.configuration(connection), "base"))
    left = database.migrate(lambda connection: set(inspect(connection).get_table_names()))
    assert left & set(metadata.tables) == set()
