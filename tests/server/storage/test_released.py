"""Every schema that there was can be upgraded to this one, with what is in it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, select

from keypeg_server.service.store import Page
from keypeg_server.storage import schema
from keypeg_server.storage.pool_store import SqlPoolStore
from keypeg_server.storage.requests import KEPT_US
from keypeg_server.storage.unit import SqlUnit
from keypeg_server.storage.upkeep import SERVED
from tests.server.databases import Place, PostgresPlace, open_at
from tests.server.storage import released

REVISIONS = sorted(path.stem for path in released.FOLDER.glob("*.json"))
PAGE = Page("", 100)


def _revisions() -> list[Any]:
    """The first and the last in every run, on both databases; those between in long ones."""
    ends = {REVISIONS[0], REVISIONS[-1]}
    return [one if one in ends else pytest.param(one, marks=pytest.mark.long) for one in REVISIONS]


MOVED = {"sign_in": "token"}
"""Tables that hold what was in others before."""


def test_there_is_data_of_every_schema() -> None:
    found = ScriptDirectory(str(schema.MIGRATIONS)).walk_revisions()
    lacking = sorted({one.revision for one in found} - set(REVISIONS))
    assert not lacking, "python -m tests.server.storage.released makes it"


@pytest.mark.parametrize("revision", _revisions())
async def test_an_upgrade_keeps_all_that_was_there(empty: Place, revision: str) -> None:
    content = json.loads(released.file(revision).read_text())
    database = open_at(empty.where)

    def before(connection: Connection) -> None:
        released.migrate_to(connection, revision)
        found = released.tables_of(connection)
        assert released.columns(found) == content["columns"], "an old migration was changed"
        released.put(connection, found, content["rows"])

    def rows(connection: Connection) -> dict[str, list[dict[str, Any]]]:
        found = released.tables_of(connection)
        tables = dict(found.tables)
        tables |= {MOVED[name]: table for name, table in found.tables.items() if name in MOVED}
        return {
            name: sorted(
                (
                    {column: released.encoded(row[column]) for column in content["columns"][name]}
                    for row in connection.execute(select(tables[name])).mappings()
                ),
                key=str,
            )
            for name in content["rows"]
        }

    try:
        database.migrate(before)
        schema.bring_up_to_date(database)
        assert database.migrate(schema.version) == schema.HEAD
        assert database.migrate(schema.differences) == []
        expected = {name: sorted(found, key=str) for name, found in content["rows"].items()}
        found = database.migrate(rows)
        if revision < "0007":
            found["meta"].remove(_served(content["rows"]["request"]))
        assert found == expected
        # And the server reads it.
        pools = await SqlPoolStore(database).load()
        assert [len(pool.leases) for pool in pools] == [1, 1, 1]
        users = await database.read(lambda s: SqlUnit(s).accounts.list_users("account0", PAGE))
        assert [user.login for user in users] == ["ada"]
        assert (
            await database.read(lambda s: len(SqlUnit(s).licenses.list_licenses("account1"))) == 1
        )
    finally:
        database.close()


def _served(requests: list[dict[str, Any]]) -> dict[str, str]:
    """Where the count of served time begins: when the newest answer was written."""
    return {
        "key": SERVED,
        "value": str(max(one["expire_time_us"] for one in requests) - KEPT_US),
    }


@pytest.mark.parametrize("begin", [None, "0001"])
async def test_servers_that_start_at_once_upgrade_once(
    empty_postgres: PostgresPlace, begin: str | None
) -> None:
    servers = [open_at(empty_postgres.where) for _ in range(3)]
    try:
        if begin is not None:
            servers[0].migrate(lambda connection: released.migrate_to(connection, begin))
        async with asyncio.TaskGroup() as group:
            for server in servers:
                group.create_task(asyncio.to_thread(schema.bring_up_to_date, server))
        for server in servers:
            assert server.migrate(schema.version) == schema.HEAD
        assert servers[0].migrate(schema.differences) == []
    finally:
        for server in servers:
            server.close()
