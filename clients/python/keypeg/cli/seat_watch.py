"""`keypeg seat watch, history`: what happens in pools, and what happened.

Promises: watching goes on over lost connections and restarts of the server, and says so; each event is a line
at once, for people or as JSON; what happened while the connection was lost is read from the log. As JSON an
event may come twice then, with the same number.

Leaves to others: how an event looks (seat_views.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from keypeg.cli.arguments import Duration, Moment, account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command
from keypeg.cli.output import as_json
from keypeg.cli.seat_views import event_columns, event_line, lease_line, place_line
from keypeg.cli.values import word

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.v1 import pool_event_pb2, seat_service_pb2

DAY: Final = timedelta(days=1)


@click.command("watch", cls=Command)
@click.argument("pool", required=False)
@account_option
@pass_cli
async def watch(cli: Cli, pool: str | None, account: str | None) -> None:
    """Print what happens in POOL, or in all pools of an account, until Ctrl-C.

    First what is held and who waits, then a line for each event. When the
    connection was lost, what happened meanwhile comes first. With -o json or
    jsonl each line is a message of the contract (WatchPoolResponse).

    \b
    Examples:
      keypeg seat watch acme/solver
      keypeg seat watch -o jsonl | jq 'select(.event.kind == "POOL_EVENT_KIND_REFUSED")'
    """
    from keypeg.cli import resolve

    if cli.form == "csv":
        raise click.UsageError("What goes on has no end, and is no table: use -o jsonl.")
    async with cli.server() as link:
        whose = await link.account(account)
        parent = await resolve.pool_name(link, pool, account) if pool else whose
        await _Watcher(cli, link, parent, whose).run()


class _Watcher:
    """Prints one stream after the other."""

    def __init__(self, cli: Cli, link: Link, parent: str, account: str) -> None:
        self._cli = cli
        self._link = link
        self._parent = parent
        self._account = account
        self._lines = cli.form == "table"
        self._logins: Mapping[str, str] = {}
        self._pools: dict[str, str] = {}  # the words of pools
        self._shown: set[str] = set()  # pools whose snapshot has begun
        self._last: pool_event_pb2.PoolEvent | None = None  # of those that were printed
        self._gap = False  # events may have come between that one and the next snapshot

    async def run(self) -> None:
        """Until it is canceled, or the server says that there is nothing to watch."""
        async for response in self._link.watch(self._begin, self._cli.printer.note):
            await self._take(response)

    async def _begin(self) -> Any:
        from keypeg.cli import resolve
        from keypeg.v1 import seat_service_pb2 as pb
        from keypeg.v1 import seat_service_pb2_grpc as rpc

        if self._lines:
            self._logins = await resolve.logins(self._link, self._account)
        self._shown.clear()
        self._gap = True
        stub = rpc.SeatServiceStub(self._link.channel)
        return stub.WatchPool(pb.WatchPoolRequest(parent=self._parent))

    async def _take(self, response: seat_service_pb2.WatchPoolResponse) -> None:
        """Print it, after what was not told before it."""
        from keypeg.v1 import seat_service_pb2 as pb

        kind = response.WhichOneof("frame")
        if kind == "snapshot" and self._gap and self._last is not None:
            for event in await self._since(self._last):
                self._print(pb.WatchPoolResponse(event=event))
                self._last = event
        if kind == "snapshot":
            self._gap = False
        elif kind == "missed":
            self._gap = True
        elif kind == "event":
            told = self._last is not None and response.event.sequence <= self._last.sequence
            if told and self._lines:
                return
            self._last = response.event
        self._print(response)

    async def _since(self, last: pool_event_pb2.PoolEvent) -> list[pool_event_pb2.PoolEvent]:
        """What happened after an event, from the log."""
        from keypeg.v1 import seat_service_pb2 as pb
        from keypeg.v1 import seat_service_pb2_grpc as rpc

        found = await self._link.every(
            rpc.SeatServiceStub(self._link.channel).ListPoolEvents,
            pb.ListPoolEventsRequest(parent=self._parent, begin_time=last.time),
            lambda response: response.events,
        )
        return [event for event in found if event.sequence > last.sequence]

    def _print(self, response: seat_service_pb2.WatchPoolResponse) -> None:
        if not self._lines:
            click.echo(as_json(response, line=True))
            return
        kind = response.WhichOneof("frame")
        if kind == "event":
            click.echo(event_line(response.event, self._pools, self._logins))
        elif kind == "missed":
            self._shown.clear()
            self._cli.printer.note(
                f"{response.missed.count} events came faster than they were read; they are read again."
            )
        elif kind == "snapshot":
            self._snapshot(response.snapshot)

    def _snapshot(self, shown: Any) -> None:
        from keypeg.cli import short

        pool = shown.pool
        if not pool.name:
            self._cli.printer.note("The account has no pools yet.")
            return
        named = self._pools.setdefault(pool.name, short.product(pool.product))
        if pool.name not in self._shown:
            self._shown.add(pool.name)
            click.echo(
                f"{named}: {pool.held_count} of {pool.seat_count} seats held, "
                f"{pool.waiting_count} waiting ({pool.name})"
            )
        for lease in shown.leases:
            click.echo(f"  {lease_line(lease, named, self._logins)}")
        for place in shown.places:
            click.echo(f"  {place_line(place, named, self._logins)}")


def _kinds() -> list[str]:
    from keypeg.v1.pool_event_pb2 import PoolEventKind

    return [
        word(PoolEventKind, number, "POOL_EVENT_KIND_")
        for number in PoolEventKind.values()
        if number
    ]


class Kind(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    """`refused`, `served` and so on."""

    name = "kind"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in _kinds():
            self.fail(f"{value!r} is no kind; there is {', '.join(_kinds())}.", param)
        return str(value)


@click.command("history", cls=Command)
@click.argument("pool", required=False)
@click.option("--since", type=Duration(), metavar="TIME", help="From so long ago (default 1d).")
@click.option("--from", "begin", type=Moment(), metavar="TIME", help="From then on.")
@click.option("--to", "end", type=Moment(), metavar="TIME", help="Before then (default: now).")
@click.option(
    "--kind", "kinds", type=Kind(), multiple=True, help="Only these, as `refused`; may be repeated."
)
@account_option
@pass_cli
async def history(
    cli: Cli,
    pool: str | None,
    since: timedelta | None,
    begin: datetime | None,
    end: datetime | None,
    kinds: tuple[str, ...],
    account: str | None,
) -> None:
    """List what happened in POOL, or in all pools of an account, the oldest first.

    It is read from the log. A member sees who did something where it was the
    member itself.

    \b
    Examples:
      keypeg seat history acme/solver --since 2d
      keypeg seat history --kind refused --kind expired -o csv
    """
    from keypeg.cli import resolve
    from keypeg.v1 import seat_service_pb2 as pb
    from keypeg.v1 import seat_service_pb2_grpc as rpc
    from keypeg.v1.pool_event_pb2 import PoolEventKind

    if since is not None and begin is not None:
        raise click.UsageError("Use --since or --from, not both.")
    request = pb.ListPoolEventsRequest(
        kinds=[
            PoolEventKind.Value("POOL_EVENT_KIND_" + kind.upper().replace("-", "_"))
            for kind in kinds
        ]
    )
    request.begin_time.FromDatetime(begin or cli.now() - (since or DAY))
    if end is not None:
        request.end_time.FromDatetime(end)
    async with cli.server() as link:
        whose = await link.account(account)
        request.parent = await resolve.pool_name(link, pool, account) if pool else whose
        found = await link.every(
            rpc.SeatServiceStub(link.channel).ListPoolEvents,
            request,
            lambda response: response.events,
        )
        named = found and cli.form in ("table", "csv")
        logins = await resolve.logins(link, whose) if named else {}
    cli.printer.listing(found, event_columns(logins), nothing="Nothing happened then.")
