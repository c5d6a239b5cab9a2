"""`keypeg seat acquire, renew, release`: seats for programs that can not hold a stream.

Promises: who waits keeps its place over lost connections and restarts of the server, and gives it up when it
stops waiting, also by Ctrl-C.

Leaves to others: looking (seat.py), what else there is to do with seats.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.arguments import Duration, Units, account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command
from keypeg.cli.seat_asking import asked
from keypeg.cli.seat_views import place_text
from keypeg.cli.values import Column, Name, length, moment

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.v1 import seat_service_pb2

POLL: Final = timedelta(seconds=20)  # of one call: so often at least a person hears where it stands
PATIENCE: Final = 10.0  # seconds that an answer may take beyond that
AGAIN: Final = 1.0  # seconds between tries when the server is away
GIVE_UP: Final = 3.0  # seconds to give up the place before leaving

fencing_option = click.option(
    "--fencing-number",
    type=click.IntRange(1),
    metavar="N",
    help="As `acquire` printed it: an older holder is refused. Without: the present one.",
)
ttl_option = click.option(
    "--ttl", type=Duration(), metavar="TIME", help="For how long, 10s to 1h (default 60s)."
)


@click.command("acquire", cls=Command)
@click.argument("pool")
@click.option("--units", "count", type=click.IntRange(1, 10_000), default=1, show_default=True)
@click.option(
    "--feature", "wanted", type=Units(), multiple=True, help="NAME or NAME=UNITS; may be repeated."
)
@ttl_option
@click.option(
    "--wait", type=Duration(), metavar="TIME", help="Wait in the queue for so long (default: not)."
)
@click.option(
    "--priority",
    type=click.IntRange(-100, 100),
    default=0,
    show_default=True,
    help="Of one who waits: the higher, the sooner.",
)
@account_option
@pass_cli
async def acquire(
    cli: Cli,
    pool: str,
    count: int,
    wanted: tuple[tuple[str, int | None], ...],
    ttl: timedelta | None,
    wait: timedelta | None,
    priority: int,
    account: str | None,
) -> None:
    """Take a seat of POOL for a time; exit code 6 when none is free.

    POOL is a pool, or a product that has only one. Renew it before it ends.
    Who waits is told where it stands, and keeps its place when the server is
    started again.

    \b
    Examples:
      keypeg seat acquire acme/solver --ttl 5min
      keypeg seat acquire acme/solver --wait 10min
      lease=$(keypeg seat acquire acme/solver -o json | jq -r .lease.name)
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import seat_service_pb2 as pb
    from keypeg.v1 import seat_service_pb2_grpc as rpc

    async with cli.server() as link:
        asks = await asked(cli, link, pool, account, units=count, wanted=wanted, priority=priority)
        request = pb.AcquireSeatRequest(request_id=request_id(), **asks)
        if ttl is not None:
            request.ttl.FromTimedelta(ttl)
        if wait:
            answer = await _Waiter(cli, link, request).acquire(wait)
        else:
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


class _Waiter:
    """Waits by one call after the other."""

    def __init__(self, cli: Cli, link: Link, request: seat_service_pb2.AcquireSeatRequest) -> None:
        from keypeg.v1 import seat_service_pb2_grpc as rpc

        self._cli = cli
        self._link = link
        self._request = request
        self._stub = rpc.SeatServiceStub(link.channel)
        self._told = ""
        link.deadline = POLL.total_seconds() + PATIENCE

    async def acquire(self, wait: timedelta) -> seat_service_pb2.AcquireSeatResponse:
        """The seat, within a time; PoolExhausted with the reason when that is over."""
        import asyncio

        from keypeg import errors, watching

        until = self._cli.clock.monotonic() + wait.total_seconds()
        try:
            while True:
                left = max(0.0, until - self._cli.clock.monotonic())
                self._request.wait.FromTimedelta(min(POLL, timedelta(seconds=left)))
                try:
                    answer = await self._link.call(self._stub.AcquireSeat, self._request)
                except watching.PASSING as error:
                    if not left:
                        raise
                    self._tell(f"{error} Going on to wait.")
                    await asyncio.sleep(min(AGAIN, left))
                    continue
                if not answer.HasField("place"):
                    return answer
                if not left:
                    await self._give_up()
                    why = answer.place.explanation
                    raise errors.PoolExhausted(why.sentence, explanation=why)
                self._tell(place_text(answer.place))
        except asyncio.CancelledError:  # Ctrl-C
            await self._give_up()
            raise

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._cli.printer.note(text)

    async def _give_up(self) -> None:
        """Nobody waits any more: let the place go, or the seat that it became meanwhile."""
        import contextlib

        from keypeg import errors
        from keypeg.v1 import seat_service_pb2 as pb

        self._link.deadline = GIVE_UP
        self._request.ClearField("wait")
        with contextlib.suppress(errors.KeypegError):
            found = await self._link.call(self._stub.AcquireSeat, self._request)
            if found.HasField("place"):
                leave = pb.LeaveQueueRequest(name=found.place.name)
                if (await self._link.call(self._stub.LeaveQueue, leave)).left:
                    return
                found = await self._link.call(self._stub.AcquireSeat, self._request)
            release = pb.ReleaseSeatRequest(
                name=found.lease.name, fencing_number=found.lease.fencing_number
            )
            await self._link.call(self._stub.ReleaseSeat, release)


@click.command("renew", cls=Command)
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


@click.command("release", cls=Command)
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
