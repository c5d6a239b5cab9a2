"""`keypeg license move`: an activation goes to another place, or is taken back.

Promises: a key that is plugged in here gives it back, and takes it, at once; one that is not is waited for.

Leaves to others: the calls between bridge and server (keypeg.key_care, keypeg.keys).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command
from keypeg.cli.license_changes import reason_option, told
from keypeg.cli.license_life import at_option

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.v1 import license_service_pb2


@click.command("move", cls=Command)
@click.argument("activation")
@click.option("--to", "target", metavar="LOCATION", help="Where; without: it is taken back.")
@reason_option
@at_option
@account_option
@pass_cli
async def move(
    cli: Cli,
    activation: str,
    target: str | None,
    reason: str,
    at: datetime | None,
    account: str | None,
) -> None:
    """Move ACTIVATION to another location, or take it back.

    What lives on a key that is not plugged in moves when that is reached.

    \b
    Example:
      keypeg license move 5d2b9a41 --to cloud --reason "Ada is on the road"
    """
    from keypeg import names
    from keypeg.cli import resolve
    from keypeg.cli.license import LICENSE
    from keypeg.cli.link import request_id
    from keypeg.cli.session import SWITCHED
    from keypeg.v1 import license_service_pb2 as pb
    from keypeg.v1 import license_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = await resolve.activation_name(link, activation, account)
        owner = names.ACCOUNT.build(name.split("/")[1])
        request = pb.MoveLicenseRequest(
            name=name,
            request_id=request_id(),
            reason=reason,
            target=await resolve.location_name(link, target, owner) if target else "",
        )
        if at is not None:
            request.apply_time.FromDatetime(at)
        answer = await link.call(rpc.LicenseServiceStub(link.channel).MoveLicense, request)
        applied = await _applied_here(cli, link, answer, owner)
    cli.printer.item(answer.license, LICENSE)
    if applied:
        cli.printer.note(f"{name} left the key that is plugged in here.")
    elif answer.HasField("change"):
        told(cli, answer.change)
    else:
        cli.printer.note(f"{name} moved." if target else f"{name} is taken back.")
    if answer.switched_to_managed:
        cli.printer.note(SWITCHED)


async def _applied_here(
    cli: Cli, link: Link, answer: license_service_pb2.MoveLicenseResponse, account: str
) -> bool:
    """Apply a change that waits for a key at once, when the key is here."""
    from keypeg import errors, key_care, key_changes
    from keypeg.v1 import location_service_pb2, location_service_pb2_grpc

    if not answer.change.waits_for:
        return False
    stub = location_service_pb2_grpc.LocationServiceStub(link.channel)
    request = location_service_pb2.GetLocationRequest(name=answer.change.waits_for)
    place = (await link.call(stub.GetLocation, request)).location
    try:
        async with cli.bridge() as bridge:
            key = await key_care.plugged_in(bridge, place)
            if key is None:
                return False
            await key_changes.apply_change(link, bridge, key, answer.change, account)
    except errors.Unreachable as error:
        if error.metadata.get("target") == link.target or "servers" in error.metadata:
            raise
        return False
    return True
