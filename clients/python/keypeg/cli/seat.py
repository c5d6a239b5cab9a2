"""`keypeg seat`: pools, who holds seats, who waits, and seats for programs that can not hold a stream."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.arguments import Duration, Units, account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column, Name, Product, State, length, moment, word
from keypeg.cli.when import iso

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.v1 import explanation_pb2, seat_pb2


def units(one: seat_pb2.Lease | seat_pb2.QueuePlace) -> tuple[str, ...]:
    """Features as `render=2`."""
    return tuple(f"{f.feature}={f.units}" for f in one.features)


def pool_of(name: str) -> Name:
    """The pool of a lease or of a place."""
    return Name("/".join(name.split("/")[:2]))


POOLS: Final[list[Column[seat_pb2.Pool]]] = [
    Column("POOL", lambda one: Name(one.name)),
    Column("PRODUCT", lambda one: Product(one.product)),
    Column("SEATS", lambda one: one.seat_count, right=True),
    Column("HELD", lambda one: one.held_count, right=True),
    Column("FREE", lambda one: max(0, one.seat_count - one.held_count), right=True),
    Column("WAITING", lambda one: one.waiting_count, right=True),
    Column(
        "FEATURES",
        lambda one: tuple(f"{f.feature} {f.held_count} of {f.seat_count}" for f in one.features),
    ),
]
PLACES: Final[list[Column[seat_pb2.QueuePlace]]] = [
    Column("POSITION", lambda one: one.position, right=True),
    Column("POOL", lambda one: pool_of(one.name)),
    Column("UNITS", lambda one: one.units, right=True),
    Column("PRIORITY", lambda one: one.priority, right=True),
    Column("SINCE", lambda one: moment(one, "create_time")),
    Column("ABOUT", lambda one: length(one, "estimated_wait")),
    Column("SESSION", lambda one: Name(one.session)),
    Column("FEATURES", units),
]


def lease_columns(logins: Mapping[str, str]) -> list[Column[seat_pb2.Lease]]:
    """The columns of a lease; users by their logins, where they are known."""
    return [
        Column("LEASE", lambda one: Name(one.name)),
        Column("POOL", lambda one: pool_of(one.name)),
        Column("UNITS", lambda one: one.units, right=True),
        Column("USER", lambda one: logins.get(one.user) or Name(one.user)),
        Column("COMPUTER", lambda one: one.host_name),
        Column("APP", lambda one: one.app),
        Column("PID", lambda one: str(one.process_id or ""), right=True),
        Column("SINCE", lambda one: moment(one, "acquire_time")),
        Column("FENCING", lambda one: one.fencing_number, right=True),
        Column("FEATURES", units),
    ]


fencing_option = click.option(
    "--fencing-number",
    type=click.IntRange(1),
    metavar="N",
    help="As `acquire` printed it: an older holder is refused. Without: the present one.",
)
ttl_option = click.option(
    "--ttl", type=Duration(), metavar="TIME", help="For how long, 10s to 1h (default 60s)."
)


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
    cli.printer.listing(found, PLACES, nothing="Nobody waits.")


@seat_group.command("acquire")
@click.argument("pool")
@click.option("--units", "count", type=click.IntRange(1, 10_000), default=1, show_default=True)
@click.option(
    "--feature", "wanted", type=Units(), multiple=True, help="NAME or NAME=UNITS; may be repeated."
)
@ttl_option
@account_option
@pass_cli
async def acquire(
    cli: Cli,
    pool: str,
    count: int,
    wanted: tuple[tuple[str, int | None], ...],
    ttl: timedelta | None,
    account: str | None,
) -> None:
    """Take a seat of POOL for a time; exit code 6 when none is free.

    POOL is a pool, or a product that has only one. Renew it before it ends.

    \b
    Examples:
      keypeg seat acquire acme/solver --ttl 5min
      lease=$(keypeg seat acquire acme/solver -o json | jq -r .lease.name)
    """
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import product_pb2, session_pb2
    from keypeg.v1 import seat_service_pb2 as pb
    from keypeg.v1 import seat_service_pb2_grpc as rpc

    async with cli.server() as link:
        request = pb.AcquireSeatRequest(
            request_id=request_id(),
            pool=await resolve.pool_name(link, pool, account),
            units=count,
            features=[
                product_pb2.FeatureUnits(feature=name, units=one or 1) for name, one in wanted
            ],
            device=cli.device(),
            app=session_pb2.App(name="keypeg seat", version=cli.version, sdk=cli.sdk),
        )
        if ttl is not None:
            request.ttl.FromTimedelta(ttl)
        answer = await link.call(rpc.SeatServiceStub(link.channel).AcquireSeat, request)
    cli.printer.item(
        answer,
        [
            Column("LEASE", lambda one: Name(one.lease.name)),
            Column("UNITS", lambda one: one.lease.units),
            Column("FENCING", lambda one: one.lease.fencing_number),
            Column("VALID FOR", lambda one: length(one, "valid_for")),
            Column("ENDS", lambda one: moment(one, "expire_time")),
        ],
    )


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
    from keypeg.cli import resolve
    from keypeg.v1 import product_pb2, session_pb2
    from keypeg.v1 import seat_service_pb2 as pb
    from keypeg.v1 import seat_service_pb2_grpc as rpc

    async with cli.server() as link:
        answer = await link.call(
            rpc.SeatServiceStub(link.channel).Explain,
            pb.ExplainRequest(
                pool=await resolve.pool_name(link, pool, account),
                units=count,
                features=[
                    product_pb2.FeatureUnits(feature=name, units=one or 1) for name, one in wanted
                ],
                device=cli.device(),
                app=session_pb2.App(name="keypeg seat", version=cli.version, sdk=cli.sdk),
                wait=wait,
                priority=priority,
            ),
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


@seat_group.command("renew")
@click.argument("lease")
@fencing_option
@ttl_option
@account_option
@pass_cli
async def renew(
    cli: Cli, lease: str, fencing_number: int | None, ttl: timedelta | None, account: str | None
) -> None:
    """Hold LEASE longer; exit code 8 when it has run out.

    \b
    Example:
      keypeg seat renew 5d2b9a41 --ttl 5min
    """
    from keypeg import errors
    from keypeg.v1 import seat_service_pb2 as pb
    from keypeg.v1 import seat_service_pb2_grpc as rpc

    async with cli.server() as link:
        name, number = await _held(link, lease, fencing_number, account)
        if not number:
            raise errors.LeaseExpired(f"{name} has ended; take a new seat.", lease=name)
        request = pb.RenewSeatRequest(name=name, fencing_number=number)
        if ttl is not None:
            request.ttl.FromTimedelta(ttl)
        answer = await link.call(rpc.SeatServiceStub(link.channel).RenewSeat, request)
    cli.printer.item(
        answer,
        [
            Column("LEASE", lambda _: Name(name)),
            Column("VALID FOR", lambda one: length(one, "valid_for")),
            Column("ENDS", lambda one: moment(one, "expire_time")),
        ],
    )


@seat_group.command("release")
@click.argument("lease")
@fencing_option
@account_option
@pass_cli
async def release(cli: Cli, lease: str, fencing_number: int | None, account: str | None) -> None:
    """Give LEASE back.

    \b
    Example:
      keypeg seat release 5d2b9a41
    """
    from keypeg.v1 import seat_service_pb2 as pb
    from keypeg.v1 import seat_service_pb2_grpc as rpc

    async with cli.server() as link:
        name, number = await _held(link, lease, fencing_number, account)
        answer = pb.ReleaseSeatResponse(released=False)
        if number:
            answer = await link.call(
                rpc.SeatServiceStub(link.channel).ReleaseSeat,
                pb.ReleaseSeatRequest(name=name, fencing_number=number),
            )
    cli.printer.item(
        answer,
        [Column("LEASE", lambda _: Name(name)), Column("RELEASED", lambda one: one.released)],
    )
    if not answer.released:
        cli.printer.note("It had ended before.")


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


async def _held(link: Link, text: str, number: int | None, account: str | None) -> tuple[str, int]:
    """The name and the fencing number of a lease; 0 when it has ended.

    A whole name with its number costs no call.
    """
    from keypeg import errors, names
    from keypeg.cli import resolve

    whole = names.LEASE.matches(text)
    if number is not None and whole:
        return text, number
    try:
        found = await resolve.lease(link, text, account)
    except errors.NotFound:
        if not whole:
            raise
        return text, 0
    return found.name, number or found.fencing_number
