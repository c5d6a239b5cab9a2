"""`keypeg seat`: pools, who holds seats, who waits, why; and freeing a seat.

Leaves to others: taking seats (seat_take.py), what happens (seat_watch.py), how things look (seat_views.py).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from keypeg.cli.arguments import Duration, Units, account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.seat_asking import asked
from keypeg.cli.seat_take import acquire, release, renew
from keypeg.cli.seat_views import POOLS, lease_columns, place_columns
from keypeg.cli.seat_watch import history, watch
from keypeg.cli.values import Column, Name, State, length, moment, word
from keypeg.cli.when import iso

if TYPE_CHECKING:
    from keypeg.v1 import explanation_pb2, seat_pb2


@click.group("seat", cls=Group)
def seat_group() -> None:
    """Pools, seats and who waits.

    \b
    Example:
      keypeg seat list
    """


@seat_group.command("pools")
@click.option("--product", metavar="PRODUCT", help="Only pools of this product.")
@account_option
@pass_cli
async def pools(cli: Cli, product: str | None, account: str | None) -> None:
    """List the pools of an account: seats, held, free, waiting.

    \b
    Example:
      keypeg seat pools --product acme/solver
    """
    from keypeg.cli import resolve

    async with cli.server() as link:
        wanted = resolve.product_name(product) if product else ""
        found = await resolve.pools(link, await link.account(account), wanted)
    cli.printer.listing(found, POOLS, nothing="The account has no pools.")


@seat_group.command("list")
@click.argument("pool", required=False)
@account_option
@pass_cli
async def list_leases(cli: Cli, pool: str | None, account: str | None) -> None:
    """List who holds seats, in one pool or in all.

    \b
    Example:
      keypeg seat list acme/solver
    """
    from keypeg.cli import resolve

    async with cli.server() as link:
        if pool:
            wanted = [await resolve.pool_name(link, pool, account)]
        else:
            wanted = [one.name for one in await resolve.pools(link, await link.account(account))]
        found = [lease for name in wanted for lease in await resolve.leases(link, name)]
        named = found and cli.form in ("table", "csv")
        logins = await resolve.logins(link, await link.account(account)) if named else {}
    cli.printer.listing(found, lease_columns(logins), nothing="No seat is held.")


@seat_group.command("queue")
@click.argument("pool", required=False)
@account_option
@pass_cli
async def queue(cli: Cli, pool: str | None, account: str | None) -> None:
    """List who waits, the next to be served first.

    \b
    Example:
      keypeg seat queue acme/solver
    """
    from keypeg.cli import resolve
    from keypeg.v1 import seat_service_pb2 as pb
    from keypeg.v1 import seat_service_pb2_grpc as rpc

    found: list[seat_pb2.QueuePlace] = []
    async with cli.server() as link:
        if pool:
            wanted = [await resolve.pool_name(link, pool, account)]
        else:
            wanted = [one.name for one in await resolve.pools(link, await link.account(account))]
        for name in wanted:
            found += await link.every(
                rpc.SeatServiceStub(link.channel).ListQueuePlaces,
                pb.ListQueuePlacesRequest(parent=name),
                lambda response: response.places,
            )
        named = found and cli.form in ("table", "csv")
        logins = await resolve.logins(link, await link.account(account)) if named else {}
    cli.printer.listing(found, place_columns(logins), nothing="Nobody waits.")


@seat_group.command("why")
@click.argument("pool")
@click.option("--units", "count", type=click.IntRange(1, 10_000), default=1, show_default=True)
@click.option(
    "--feature", "wanted", type=Units(), multiple=True, help="NAME or NAME=UNITS; may be repeated."
)
@click.option("--wait", is_flag=True, help="As one who would wait in the queue.")
@click.option("--priority", type=click.IntRange(-100, 100), default=0, show_default=True)
@account_option
@pass_cli
async def why(
    cli: Cli,
    pool: str,
    count: int,
    wanted: tuple[tuple[str, int | None], ...],
    wait: bool,
    priority: int,
    account: str | None,
) -> None:
    """Say what a seat of POOL would get now, and why; takes nothing.

    \b
    Examples:
      keypeg seat why acme/solver --units 4
      keypeg seat why acme/solver --wait
    """
    from keypeg.v1 import seat_service_pb2 as pb
    from keypeg.v1 import seat_service_pb2_grpc as rpc

    async with cli.server() as link:
        asks = await asked(cli, link, pool, account, units=count, wanted=wanted, priority=priority)
        answer = await link.call(
            rpc.SeatServiceStub(link.channel).Explain, pb.ExplainRequest(wait=wait, **asks)
        )
    cli.printer.item(
        answer,
        [
            Column("WOULD BE", lambda one: State(word(pb.Would, one.would, "WOULD_"))),
            Column("POSITION", lambda one: one.position or None),
            Column("ABOUT", lambda one: length(one, "estimated_wait")),
            Column("RULE", lambda one: one.explanation.metadata.get("rule")),
            Column("WHY", lambda one: one.explanation.sentence),
            Column("HELPS", lambda one: tuple(r.sentence for r in one.explanation.remedies)),
            Column("HELD BY", lambda one: tuple(_holder(h) for h in one.explanation.holders)),
            Column("EARLIEST", lambda one: moment(one.explanation, "earliest_time")),
        ],
    )


def _holder(one: explanation_pb2.Holder) -> str:
    """A holder in a few words."""
    who = f"{one.user.rpartition('/')[2]} on {one.host_name}" if one.user else "somebody"
    since = moment(one, "acquire_time")
    return f"{who} ({one.app or 'an app'}, {one.units})" + (f" since {iso(since)}" if since else "")


@seat_group.command("free")
@click.argument("lease")
@click.option("--reason", required=True, metavar="TEXT", help="Why; the holder is told.")
@click.option(
    "--hold-off",
    type=Duration(),
    metavar="TIME",
    help="For how long its user gets no seat of the pool again, at most 30d (default: at once).",
)
@account_option
@pass_cli
async def free(
    cli: Cli, lease: str, reason: str, hold_off: timedelta | None, account: str | None
) -> None:
    """Take LEASE back from whoever holds it; for administrators.

    Its holder is told at once. Others get the seat when the holder's app has
    given it back, or when the time that it was given before is over.

    \b
    Example:
      keypeg seat free 5d2b9a41 --reason "Needed for the release" --hold-off 10min
    """
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import seat_service_pb2 as pb
    from keypeg.v1 import seat_service_pb2_grpc as rpc

    async with cli.server() as link:
        found = await resolve.lease(link, lease, account)
        request = pb.FreeSeatRequest(name=found.name, request_id=request_id(), reason=reason)
        if hold_off is not None:
            request.hold_off.FromTimedelta(hold_off)
        answer = await link.call(rpc.SeatServiceStub(link.channel).FreeSeat, request)
    cli.printer.item(
        answer,
        [
            Column("LEASE", lambda _: Name(found.name)),
            Column("COMPUTER", lambda _: found.host_name),
            Column("HELD OFF UNTIL", lambda one: moment(one, "hold_off_until_time")),
        ],
    )
    cli.printer.note("The holder is told; the seat is free once its app has given it back.")


for command in (acquire, renew, release, watch, history):
    seat_group.add_command(command)
