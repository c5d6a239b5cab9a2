"""The command `keypegd servers`: who serves a database, and how much of it.

Promises: it changes nothing, and needs no running server; what can not be done is one sentence and exit code 1.

Leaves to others: the rows (storage/home_store.py), imported when they are needed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from keypeg_server.command_line import (
    DATA,
    DATABASE,
    EXIT_ERROR,
    OUTPUT,
    SETTINGS,
    fail,
    read_settings,
)

if TYPE_CHECKING:
    from keypeg_server.service.homes import Node

WATCHED: Final = 1.2  # seconds: more than two beats


@click.command()
@DATA
@SETTINGS
@DATABASE
@OUTPUT
def servers(data: Path, settings_file: Path | None, database: str | None, output: str) -> None:
    """List the servers of a PostgreSQL database.

    For each: its address, its id, whether it beats, and of how many accounts and publishers it is the home.
    """
    settings = read_settings(data, settings_file, database)
    if not settings.storage.database:
        fail("One server has the SQLite file of a data directory; name a --database.", EXIT_ERROR)

    async def look() -> list[dict[str, Any]]:
        from keypeg_server.clock import SystemClock
        from keypeg_server.opened import open_database
        from keypeg_server.storage.home_store import SqlHomes
        from keypeg_server.storage.postgres import PostgresDatabase

        opened = open_database(data, settings)
        assert isinstance(opened, PostgresDatabase)
        try:
            rows = SqlHomes(opened, SystemClock())
            before = await rows.nodes()
            await asyncio.sleep(WATCHED)
            return _table(before, await rows.nodes(), await rows.counts())
        finally:
            opened.close()

    from keypeg.errors import KeypegError
    from keypeg_server.logs import configure
    from keypeg_server.opened import StartError

    configure("error", settings.logs.format)
    try:
        found = asyncio.run(look())
    except (KeypegError, StartError) as error:
        fail(str(error), EXIT_ERROR)
    if output == "json":
        click.echo(json.dumps({"servers": found}))
        return
    for row in found:
        beats = "beats" if row["beats"] else "does not beat" if row["id"] else ""
        click.echo(f"{row['address']:24} {row['id']:32}  {beats:14} {row['homes']:>7,} homes")
    if not any(row["id"] for row in found):
        click.echo("No server is there.", err=True)


def _table(
    before: Mapping[str, Node], after: Mapping[str, Node], counts: Mapping[str | None, int]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "address": node.address,
            "id": id,
            "beats": id not in before or node.beat > before[id].beat,
            "homes": counts.get(id, 0),
        }
        for id, node in sorted(after.items(), key=lambda item: item[1].address)
    ]
    nobody = sum(count for node, count in counts.items() if node not in after)
    if nobody:
        rows.append({"address": "(nobody)", "id": "", "beats": False, "homes": nobody})
    return rows
