"""`keypeg credential active`: the devices on which an account is in use, and how many may be at once."""

from __future__ import annotations

from typing import Any, Final

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command
from keypeg.cli.values import Column, Name, moment

ACTIVE: Final[list[Column[Any]]] = [
    Column("DEVICE", lambda one: one.device),
    Column("COMPUTER", lambda one: one.host_name),
    Column("FOR", lambda one: Name(one.user)),
    Column("CREDENTIAL", lambda one: Name(one.credential) if one.credential else None),
    Column("CLOUD SESSION", lambda one: one.holds_cloud_session),
    Column("ACTIVE UNTIL", lambda one: moment(one, "active_until_time")),
]


@click.command("active", cls=Command)
@click.option("--limit", type=int, metavar="N", help="Set how many may be (publisher; 0: default).")
@account_option
@pass_cli
async def active(cli: Cli, limit: int | None, account: str | None) -> None:
    """Show on which devices the account is in use, and how many may be.

    \b
    Example:
      keypeg credential active
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import credential_service_pb2 as pb
    from keypeg.v1 import credential_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = await link.account(account)
        stub = rpc.CredentialServiceStub(link.channel)
        if limit is not None:
            await link.call(
                stub.SetActiveDeviceLimit,
                pb.SetActiveDeviceLimitRequest(name=name, request_id=request_id(), limit=limit),
            )
        found = await link.call(stub.ListActiveDevices, pb.ListActiveDevicesRequest(parent=name))
    cli.printer.listing(found.devices, ACTIVE, nothing="The account is in use on no device.")
    cli.printer.note(f"{len(found.devices)} of {found.limit} devices.")
