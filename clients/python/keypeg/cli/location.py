"""`keypeg location`: the places where an account's licenses may live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column, Name, moment, word

if TYPE_CHECKING:
    from keypeg.v1 import location_pb2


def kind(one: location_pb2.Location) -> str:
    """The kind as a word."""
    from keypeg.v1 import location_pb2

    return word(location_pb2.LocationKind, one.kind, "LOCATION_KIND_")


def hardware(one: location_pb2.Location) -> str:
    """Model and serial, marked when it is emulated."""
    text = f"{one.model} {one.serial}".strip()
    return f"{text} (emulated)".strip() if one.emulated else text


LOCATIONS: Final[list[Column[location_pb2.Location]]] = [
    Column("LOCATION", lambda one: Name(one.name)),
    Column("KIND", kind),
    Column("CALLED", lambda one: one.display_name),
    Column("HARDWARE", hardware),
    Column("SINCE", lambda one: moment(one, "create_time")),
    Column("LOST", lambda one: moment(one, "lost_time")),
]
LOCATION: Final[list[Column[location_pb2.Location]]] = [
    *LOCATIONS,
    Column("CARD", lambda one: one.card_id),
    Column("WHY LOST", lambda one: one.lost_reason),
    Column("SUSPECTED", lambda one: moment(one, "suspect_time")),
]


@click.group("location", cls=Group)
def location_group() -> None:
    """Places where licenses may live.

    \b
    Example:
      keypeg location list
    """


@location_group.command("list")
@account_option
@pass_cli
async def list_locations(cli: Cli, account: str | None) -> None:
    """List the account's locations: cloud, site, keys and computers.

    \b
    Example:
      keypeg location list
    """
    from keypeg.cli import resolve

    async with cli.server() as link:
        found = await resolve.locations(link, await link.account(account))
    cli.printer.listing(found, LOCATIONS, nothing="The account has no locations.")
