"""The commands `keypegd site-key`: the keys that a server signs seats with, running or not.

Promises: nothing is printed that is secret, and nobody's root key is needed.

Leaves to others: the work (rotating.py).
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from keypeg_server.command_line import DATA, DATABASE, OUTPUT, SETTINGS, read_settings
from keypeg_server.root_command import sentences


@click.group("site-key")
def site_key() -> None:
    """The keys that a server signs seats and credentials with."""


@site_key.command("list")
@DATA
@SETTINGS
@DATABASE
@OUTPUT
def list_keys(data: Path, settings_file: Path | None, database: str | None, output: str) -> None:
    """List the keys, the newest first, and how many license documents name each."""
    settings = read_settings(data, settings_file, database)
    with sentences():
        from keypeg_server.rotating import site_standing

        found = site_standing(data, settings)
    newest = found.keys[0].key_id
    rows = [(one, found.documents.get(one.key_id, 0)) for one in found.keys]
    unknown = sum(found.documents.values()) - sum(count for _, count in rows)
    if output == "json":
        keys = [
            {
                "key_id": one.key_id,
                "begins": _begins(one.begin_us) or None,
                "newest": one.key_id == newest,
                "withdrawn": one.withdrawn,
                "documents": count,
            }
            for one, count in rows
        ]
        click.echo(json.dumps({"keys": keys, "documents_of_no_key": unknown}, indent=2))
        return
    for one, count in rows:
        state = "newest" if one.key_id == newest else "withdrawn" if one.withdrawn else "before"
        begins = _begins(one.begin_us)[:10] or "the first"
        click.echo(f"{one.key_id}  {begins:10}  {state:9}  {_documents(count)}")
    if unknown:
        click.echo(f"of none of these: {_documents(unknown)}")


def _documents(count: int) -> str:
    return f"{count:,} license document{'' if count == 1 else 's'}"


def _begins(us: int) -> str:
    from keypeg_server.clock import from_us

    return from_us(us).isoformat(timespec="seconds") if us else ""


@site_key.command()
@DATA
@SETTINGS
@DATABASE
def rotate(data: Path, settings_file: Path | None, database: str | None) -> None:
    """Sign seats with a new key from now on.

    Beside a running server or without one. The license documents are
    made anew in the background; apps and borrowed seats notice nothing.
    """
    settings = read_settings(data, settings_file, database)
    with sentences():
        from keypeg_server.rotating import rotate_site, site_standing

        id = asyncio.run(rotate_site(data, settings))
        found = site_standing(data, settings)
    stale = sum(found.documents.values()) - found.documents.get(id, 0)
    click.echo(f"new key:           {id}")
    click.echo(f"to be made anew:   {_documents(stale)}, by the running server")


@site_key.command()
@DATA
@SETTINGS
@DATABASE
@click.argument("key_id")
def withdraw(data: Path, settings_file: Path | None, database: str | None, key_id: str) -> None:
    """Believe no credential file any more that the key KEY_ID has signed.

    For a key that was stolen. It has to be one before the newest:
    `keypegd site-key rotate` comes first.
    """
    settings = read_settings(data, settings_file, database)
    with sentences():
        from keypeg_server.rotating import withdraw_site

        asyncio.run(withdraw_site(data, settings, key_id))
    click.echo(f"withdrawn:         {key_id}")
