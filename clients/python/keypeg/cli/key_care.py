"""`keypeg key check`, `refresh`, `report-lost`, `replace`: keys with old contents, and lost ones.

Promises: what can not be taken back is asked about first; what is moved to a replacement is written to it
when it is plugged in here, and said when it is not.

Leaves to others: the calls between bridge and server (keypeg.key_care), the group (key.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command
from keypeg.cli.values import Column, Name, Product, State, moment, word

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.v1 import location_service_pb2

MOVES: Final[list[Column[location_service_pb2.KeyMove]]] = [
    Column("ACTIVATION", lambda one: Name(one.activation)),
    Column("PRODUCT", lambda one: Product(one.product)),
    Column("FREE FROM", lambda one: moment(one, "free_time")),
    Column("REFUSED", lambda one: one.refusal),
]


def standing(one: location_service_pb2.CheckKeyResponse) -> State:
    """What a key is to the server, as a word."""
    from keypeg.v1 import location_service_pb2

    return State(word(location_service_pb2.KeyStanding, one.standing, "KEY_STANDING_"))


CHECKED: Final[list[Column[location_service_pb2.CheckKeyResponse]]] = [
    Column("LOCATION", lambda one: Name(one.location.name)),
    Column("CALLED", lambda one: one.location.display_name),
    Column("STANDING", standing),
    Column("ACTIVATIONS", lambda one: tuple(map(Name, one.activations))),
]

ADVICE: Final = {
    "behind": "A change has not reached the key: keypeg key refresh",
    "rolled_back": "Old contents were put back on it: they are refused now. Write it again: keypeg key refresh",
    "lost": "It was reported lost, and is refused here from now on.",
}


@click.command("check", cls=Command)
@click.argument("key", required=False)
@account_option
@pass_cli
async def check(cli: Cli, key: str | None, account: str | None) -> None:
    """Compare a plugged-in key with what its server says.

    The bridge learns from it: from then on it refuses old contents of the key,
    and a key that was reported lost, also without a connection.

    \b
    Example:
      keypeg key check
    """
    from keypeg import keys
    from keypeg.cli import resolve

    async with cli.server() as link, cli.bridge() as bridge:
        found = await resolve.key(bridge, key)
        checked = await keys.check_key(link, bridge, found, await link.account(account))
    cli.printer.item(checked, CHECKED)
    if advice := ADVICE.get(standing(checked)):
        cli.printer.note(advice)


@click.command("refresh", cls=Command)
@click.argument("key", required=False)
@account_option
@pass_cli
async def refresh(cli: Cli, key: str | None, account: str | None) -> None:
    """Write everything to a plugged-in key that it should carry.

    After a write that was interrupted, or when old contents were put back.

    \b
    Example:
      keypeg key refresh
    """
    from keypeg import key_care
    from keypeg.cli import resolve
    from keypeg.cli.key import KEY

    async with cli.server() as link, cli.bridge() as bridge:
        found = await resolve.key(bridge, key)
        written = await key_care.refresh_key(link, bridge, found, await link.account(account))
    cli.printer.item(written.key, KEY)
    cli.printer.note(f"{len(written.activations)} licenses are on {written.key.name}.")


@click.command("report-lost", cls=Command)
@click.argument("key", metavar="LOCATION")
@click.option("--reason", required=True, metavar="TEXT", help="What happened; it is in the log.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@account_option
@pass_cli
async def report_lost(cli: Cli, key: str, reason: str, yes: bool, account: str | None) -> None:
    """Report a key as lost or broken. This can not be undone.

    The key is refused from then on, and its licenses may go to another key, or
    elsewhere, as their publisher allows. LOCATION is the key's, as `keypeg
    location list` shows it, or what people call it.

    \b
    Example:
      keypeg key report-lost "Ada's blue key" --reason "Left in a train"
    """
    from keypeg.cli.asking import confirmed
    from keypeg.cli.link import request_id
    from keypeg.v1 import location_service_pb2 as pb
    from keypeg.v1 import location_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = await _place(link, key, account)
        if not yes and not confirmed(f"Report {name} lost, for good?"):
            raise click.Abort
        answer = await link.call(
            rpc.LocationServiceStub(link.channel).ReportKeyLost,
            pb.ReportKeyLostRequest(name=name, request_id=request_id(), reason=reason),
        )
    cli.printer.listing(list(answer.moves), MOVES, nothing="No licenses were on it.")
    cli.printer.note(
        f"{name} is refused from now on, by bridges once they hear of it: keypeg key check. Its licenses go "
        f"to another key with: keypeg key replace {name.rpartition('/')[2]} NEW"
    )


@click.command("replace", cls=Command)
@click.argument("lost", metavar="LOST")
@click.argument("new", metavar="NEW")
@account_option
@pass_cli
async def replace(cli: Cli, lost: str, new: str, account: str | None) -> None:
    """Move the licenses of a lost key to another key, as their publisher allows.

    LOST was reported lost; NEW is enrolled. Both are locations, as `keypeg
    location list` shows them. When NEW is plugged in here it is written.

    \b
    Example:
      keypeg key replace "Ada's blue key" "Ada's red key"
    """
    from keypeg import errors, key_care, names
    from keypeg.cli.link import request_id
    from keypeg.v1 import location_service_pb2 as pb
    from keypeg.v1 import location_service_pb2_grpc as rpc

    async with cli.server() as link:
        old_name, new_name = await _place(link, lost, account), await _place(link, new, account)
        made = await link.call(
            rpc.LocationServiceStub(link.channel).ReplaceKey,
            pb.ReplaceKeyRequest(name=old_name, request_id=request_id(), replacement=new_name),
        )
        written = False
        owner = names.ACCOUNT.build(new_name.split("/")[1])
        try:
            async with cli.bridge() as bridge:
                key = await key_care.plugged_in(bridge, made.location)
                if key is not None:
                    await key_care.refresh_key(link, bridge, key, owner)
                    written = True
        except errors.Unreachable as error:
            if error.metadata.get("target") == link.target or "servers" in error.metadata:
                raise
    cli.printer.listing([*made.moved, *made.left], MOVES, nothing="There is nothing to move.")
    if made.moved and not written:
        cli.printer.note(
            f"Plug {made.location.display_name or new_name} in, and write them to it: keypeg key refresh"
        )
    elif made.moved:
        cli.printer.note(f"{len(made.moved)} licenses are on {new_name}.")
    if made.left:
        cli.printer.note(f"{len(made.left)} licenses stay with the lost key.")


async def _place(link: Link, text: str, account: str | None) -> str:
    from keypeg import names
    from keypeg.cli import resolve

    if names.LOCATION.matches(text):
        return text
    return await resolve.location_name(link, text, await link.account(account))
