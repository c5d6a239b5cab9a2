"""`keypeg license capacity`: more of a license for a time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.arguments import Duration, Moment, account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column, Name, State, moment, word

if TYPE_CHECKING:
    from keypeg.v1 import license_pb2


def state(one: license_pb2.Capacity) -> State:
    """Whether it is there, as a word."""
    from keypeg.v1 import license_pb2

    return State(word(license_pb2.CapacityState, one.state, "CAPACITY_STATE_"))


CAPACITIES: Final[list[Column[license_pb2.Capacity]]] = [
    Column("CAPACITY", lambda one: Name(one.name)),
    Column("STATE", state),
    Column("SEATS", lambda one: one.seat_count or None, right=True),
    Column("ACTIVATIONS", lambda one: one.activation_count or None, right=True),
    Column("FROM", lambda one: moment(one, "start_time")),
    Column("UNTIL", lambda one: moment(one, "end_time")),
    Column("NOTE", lambda one: one.note),
]


@click.group("capacity", cls=Group)
def capacity_group() -> None:
    """More seats or activations of a license, for a planned time.

    \b
    Example:
      keypeg license capacity list acme/solver
    """


@capacity_group.command("add")
@click.argument("license_id", metavar="LICENSE")
@click.option(
    "--seats", type=click.IntRange(0, 1_000_000), default=0, metavar="N", help="So many more."
)
@click.option(
    "--activations", type=click.IntRange(0, 10_000), default=0, metavar="N", help="So many more."
)
@click.option("--from", "start", type=Moment(), metavar="TIME", help="Without: from now on.")
@click.option(
    "--for", "duration", type=Duration(), required=True, metavar="DURATION", help="For how long."
)
@click.option("--note", default="", metavar="TEXT", help="Your own words.")
@account_option
@pass_cli
async def add(
    cli: Cli,
    license_id: str,
    seats: int,
    activations: int,
    start: datetime | None,
    duration: timedelta,
    note: str,
    account: str | None,
) -> None:
    """Plan more of LICENSE for a time (publishers only).

    It appears and disappears by itself. At its end the newest holders of seats
    above the license's own give theirs back.

    \b
    Example:
      keypeg license capacity add acme/solver --account studio --seats 5 --from 2027-03-01 --for 30d
    """
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import license_service_pb2 as pb
    from keypeg.v1 import license_service_pb2_grpc as rpc

    if not seats and not activations:
        raise click.UsageError("Say of what: --seats or --activations.")
    async with cli.server() as link:
        request = pb.AddLicenseCapacityRequest(
            parent=await resolve.license_name(link, license_id, account),
            request_id=request_id(),
            seat_count=seats,
            activation_count=activations,
            note=note,
        )
        if start is not None:
            request.start_time.FromDatetime(start)
        request.duration.FromTimedelta(duration)
        answer = await link.call(rpc.LicenseServiceStub(link.channel).AddLicenseCapacity, request)
    cli.printer.item(answer.capacity, CAPACITIES)


@capacity_group.command("list")
@click.argument("license_id", metavar="LICENSE")
@account_option
@pass_cli
async def list_capacities(cli: Cli, license_id: str, account: str | None) -> None:
    """List the temporary capacity of LICENSE: planned, there, and ended.

    \b
    Example:
      keypeg license capacity list acme/solver
    """
    from keypeg.cli import resolve
    from keypeg.v1 import license_service_pb2 as pb
    from keypeg.v1 import license_service_pb2_grpc as rpc

    async with cli.server() as link:
        answer = await link.call(
            rpc.LicenseServiceStub(link.channel).ListLicenseCapacities,
            pb.ListLicenseCapacitiesRequest(
                parent=await resolve.license_name(link, license_id, account)
            ),
        )
    cli.printer.listing(
        list(answer.capacities), CAPACITIES, nothing="The license has no temporary capacity."
    )


@capacity_group.command("remove")
@click.argument("license_id", metavar="LICENSE")
@click.argument("capacity")
@account_option
@pass_cli
async def remove(cli: Cli, license_id: str, capacity: str, account: str | None) -> None:
    """End the temporary CAPACITY of LICENSE now, or before it begins (publishers only).

    \b
    Example:
      keypeg license capacity remove acme/solver 4f1c22a9 --account studio
    """
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import license_service_pb2 as pb
    from keypeg.v1 import license_service_pb2_grpc as rpc

    async with cli.server() as link:
        stub = rpc.LicenseServiceStub(link.channel)
        parent = await resolve.license_name(link, license_id, account)
        found = await link.call(
            stub.ListLicenseCapacities, pb.ListLicenseCapacitiesRequest(parent=parent)
        )
        there: dict[str, tuple[str, ...]] = {one.name: () for one in found.capacities}
        name = resolve.pick("temporary capacity", capacity, there, "keypeg license capacity list")
        await link.call(
            stub.RemoveLicenseCapacity,
            pb.RemoveLicenseCapacityRequest(name=name, request_id=request_id()),
        )
    cli.printer.note(f"Removed {name}.")
