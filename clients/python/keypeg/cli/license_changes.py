"""`keypeg license changes`, `cancel`: what is planned for licenses, and what waits for a key.

Promises: what a change waits for is said with it.

Leaves to others: recording changes (license_life.py, license_move.py), the group (license.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command
from keypeg.cli.values import Column, Name, moment, word

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.v1 import license_life_pb2


def _kind(one: license_life_pb2.LicenseChange) -> str:
    from keypeg.v1 import license_life_pb2

    return word(license_life_pb2.LicenseChangeKind, one.kind, "LICENSE_CHANGE_KIND_")


CHANGES: Final[list[Column[license_life_pb2.LicenseChange]]] = [
    Column("CHANGE", lambda one: Name(one.name)),
    Column("LICENSE", lambda one: Name("/".join(one.name.split("/")[:4]))),
    Column("WHAT", _kind),
    Column("WHEN", lambda one: moment(one, "apply_time")),
    Column("WAITS FOR", lambda one: Name(one.waits_for) if one.waits_for else None),
    Column("TO", lambda one: Name(one.target) if one.target else None),
    Column("BY", lambda one: Name(one.user)),
    Column("REASON", lambda one: one.reason),
]

reason_option = click.option(
    "--reason", metavar="TEXT", required=True, help="Why: for people, and for the log."
)


@click.command("changes", cls=Command)
@click.argument("license_id", metavar="[LICENSE]", required=False)
@account_option
@pass_cli
async def changes(cli: Cli, license_id: str | None, account: str | None) -> None:
    """List what is planned for licenses, and what waits for a key.

    \b
    Example:
      keypeg license changes
    """
    from keypeg.cli import resolve

    async with cli.server() as link:
        if license_id:
            parent = await resolve.license_name(link, license_id, account)
        else:
            parent = await link.account(account)
        found = await _changes(link, parent)
    cli.printer.listing(found, CHANGES, nothing="Nothing is planned.")


@click.command("cancel", cls=Command)
@click.argument("change_id", metavar="CHANGE")
@reason_option
@account_option
@pass_cli
async def cancel(cli: Cli, change_id: str, reason: str, account: str | None) -> None:
    """Cancel CHANGE, which is not applied yet.

    \b
    Example:
      keypeg license cancel 7c11d0e2 --reason "Was paid after all"
    """
    from keypeg.cli.link import request_id
    from keypeg.errors import NotFound
    from keypeg.v1 import license_service_pb2 as pb
    from keypeg.v1 import license_service_pb2_grpc as rpc

    async with cli.server() as link:
        found = [
            one.name
            for one in await _changes(link, await link.account(account))
            if one.name == change_id or one.name.endswith(change_id)
        ]
        if len(found) != 1:
            raise NotFound(
                f"{len(found)} changes end with {change_id}; see: keypeg license changes",
                resource=change_id,
            )
        await link.call(
            rpc.LicenseServiceStub(link.channel).CancelLicenseChange,
            pb.CancelLicenseChangeRequest(name=found[0], request_id=request_id(), reason=reason),
        )
    cli.printer.note(f"{found[0]} is canceled.")


def told(cli: Cli, change: license_life_pb2.LicenseChange) -> None:
    """Say what a change that is not applied yet waits for."""
    if change.waits_for:
        cli.printer.note(
            f"It is applied when the key {change.waits_for} is reached: plug it in where a bridge runs, and run "
            "there: keypeg key refresh. Until then, nothing else is done with the license."
        )
    else:
        when = change.apply_time.ToDatetime()
        cli.printer.note(f"It is planned for {when:%Y-%m-%d %H:%M} UTC: keypeg license changes")


async def _changes(link: Link, parent: str) -> list[license_life_pb2.LicenseChange]:
    from keypeg.v1 import license_service_pb2 as pb
    from keypeg.v1 import license_service_pb2_grpc as rpc

    return await link.every(
        rpc.LicenseServiceStub(link.channel).ListLicenseChanges,
        pb.ListLicenseChangesRequest(parent=parent),
        lambda response: response.changes,
    )
