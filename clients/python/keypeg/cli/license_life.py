"""`keypeg license suspend`, `resume`, `revoke`, `change`, `move`, `recover`: the life of a license.

Promises: what can not be taken back is asked about first; what is not applied yet is said, with what it waits for.

Leaves to others: what is planned (license_changes.py), keys at hand (keypeg.key_care), the group, and what is shown of a license (license.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from keypeg.cli.arguments import LOCATION_KINDS, Moment, Units, account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command
from keypeg.cli.license_changes import reason_option, told

if TYPE_CHECKING:
    from collections.abc import Callable


at_option = click.option("--at", type=Moment(), metavar="TIME", help="When; without: at once.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.command("suspend", cls=Command)
@click.argument("license_id", metavar="LICENSE")
@reason_option
@at_option
@account_option
@pass_cli
async def suspend(
    cli: Cli, license_id: str, reason: str, at: datetime | None, account: str | None
) -> None:
    """Suspend LICENSE: it opens nothing until it is resumed.

    Apps that run by it hear so at once. The publisher does, or whom the
    product's switch `suspend` allows it to.

    \b
    Example:
      keypeg license suspend acme/cad --account studio --reason "Invoice 7 is open"
    """
    await _command(cli, "Suspend", license_id, account, reason, at, "is suspended")


@click.command("resume", cls=Command)
@click.argument("license_id", metavar="LICENSE")
@reason_option
@at_option
@account_option
@pass_cli
async def resume(
    cli: Cli, license_id: str, reason: str, at: datetime | None, account: str | None
) -> None:
    """Resume LICENSE, which was suspended.

    On a key it is there again when that is written: keypeg key refresh.

    \b
    Example:
      keypeg license resume acme/cad --account studio --reason "Invoice 7 is paid"
    """
    await _command(cli, "Resume", license_id, account, reason, at, "is active again")


@click.command("revoke", cls=Command)
@click.argument("license_id", metavar="LICENSE")
@reason_option
@at_option
@yes_option
@account_option
@pass_cli
async def revoke(
    cli: Cli, license_id: str, reason: str, at: datetime | None, yes: bool, account: str | None
) -> None:
    """End LICENSE for good.

    \b
    Example:
      keypeg license revoke acme/cad --account studio --reason "Order 12 was returned"
    """
    from keypeg.cli.asking import confirmed

    if not yes and not confirmed(f"Revoke {license_id}, for good?"):
        raise click.Abort
    await _command(cli, "Revoke", license_id, account, reason, at, "is revoked")


@click.command("change", cls=Command)
@click.argument("license_id", metavar="LICENSE")
@reason_option
@click.option("--activations", type=click.IntRange(1, 10_000), metavar="N", help="Of it at once.")
@click.option(
    "--seats", type=click.IntRange(1, 1_000_000), metavar="N", help="Of a license with seats."
)
@click.option(
    "--feature", "wanted", type=Units(), multiple=True, help="All that it has; may be repeated."
)
@click.option("--no-features", is_flag=True, help="Switch all features off.")
@click.option(
    "--location",
    "locations",
    type=click.Choice(LOCATION_KINDS),
    multiple=True,
    help="Where it may live, all of it; may be repeated.",
)
@click.option("--expires", type=Moment(), metavar="TIME", help="The end of its term.")
@click.option("--no-expiry", is_flag=True, help="Take the date of its end away.")
@click.option("--term-days", type=click.IntRange(0, 36_500), metavar="DAYS", help="0: none.")
@click.option("--maintenance-ends", type=Moment(), metavar="TIME", help="The end of maintenance.")
@at_option
@account_option
@pass_cli
async def change(
    cli: Cli,
    license_id: str,
    reason: str,
    activations: int | None,
    seats: int | None,
    wanted: tuple[tuple[str, int | None], ...],
    no_features: bool,
    locations: tuple[str, ...],
    expires: datetime | None,
    no_expiry: bool,
    term_days: int | None,
    maintenance_ends: datetime | None,
    at: datetime | None,
    account: str | None,
) -> None:
    """Change what LICENSE is; what is not named stays.

    \b
    Example:
      keypeg license change acme/cad --account studio --expires 2028-01-31 --reason "Order 13"
    """
    from keypeg.v1 import license_life_pb2, location_pb2

    edit = license_life_pb2.LicenseEdit(
        activation_count=activations,
        seat_count=seats,
        without_expire_time=no_expiry,
        term_days=term_days,
    )
    if wanted or no_features:
        edit.features.SetInParent()
        for name, count in wanted:
            edit.features.features.add(feature=name, seat_count=count or 0)
    for one in locations:
        edit.allowed_locations.kinds.append(
            location_pb2.LocationKind.Value(f"LOCATION_KIND_{one.upper()}")
        )
    if expires is not None:
        edit.expire_time.FromDatetime(expires)
    if maintenance_ends is not None:
        edit.maintenance_end_time.FromDatetime(maintenance_ends)
    await _command(cli, "Edit", license_id, account, reason, at, "is changed", edit=edit)


@click.command("recover", cls=Command)
@click.argument("activation")
@reason_option
@yes_option
@account_option
@pass_cli
async def recover(cli: Cli, activation: str, reason: str, yes: bool, account: str | None) -> None:
    """Take ACTIVATION back from a key or computer that is lost.

    The key is reported lost by this, and refused for good.

    \b
    Example:
      keypeg license recover 5d2b9a41 --reason "Left in a train"
    """
    from keypeg.cli import resolve
    from keypeg.cli.asking import confirmed
    from keypeg.cli.license import LICENSE
    from keypeg.cli.link import request_id
    from keypeg.v1 import license_service_pb2 as pb
    from keypeg.v1 import license_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = await resolve.activation_name(link, activation, account)
        if not yes and not confirmed(f"Take {name} back, and refuse where it is for good?"):
            raise click.Abort
        answer = await link.call(
            rpc.LicenseServiceStub(link.channel).RecoverLicense,
            pb.RecoverLicenseRequest(name=name, request_id=request_id(), reason=reason),
        )
    cli.printer.item(answer.license, LICENSE)
    cli.printer.note(f"{name} is free again.")


async def _command(
    cli: Cli,
    verb: str,
    license_id: str,
    account: str | None,
    reason: str,
    at: datetime | None,
    done: str,
    **more: Any,
) -> None:
    from keypeg.cli import resolve
    from keypeg.cli.license import LICENSE
    from keypeg.cli.link import request_id
    from keypeg.v1 import license_service_pb2 as pb
    from keypeg.v1 import license_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = await resolve.license_name(link, license_id, account)
        request = getattr(pb, f"{verb}LicenseRequest")(
            name=name, request_id=request_id(), reason=reason, **more
        )
        if at is not None:
            request.apply_time.FromDatetime(at)
        method: Callable[..., Any] = getattr(rpc.LicenseServiceStub(link.channel), f"{verb}License")
        answer = await link.call(method, request)
    cli.printer.item(answer.license, LICENSE)
    if answer.HasField("change"):
        told(cli, answer.change)
    else:
        cli.printer.note(f"{name} {done}.")
        if answer.license.waits_for:
            cli.printer.note(
                f"It is taken back from the key {answer.license.waits_for} when that is reached: keypeg key refresh"
            )
