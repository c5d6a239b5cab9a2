"""`keypeg report`: how many seats were used, who was not served, and what other numbers would change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from keypeg.cli.arguments import Moment, account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column, Name, Product, entry, length

if TYPE_CHECKING:
    from keypeg.usage import Row
    from keypeg.v1 import report_service_pb2

BAR: Final = 20  # characters of a chart's longest bar
SIMULATION_TIME: Final = 300.0  # seconds: a log of millions of records
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

USAGE: Final[list[Column[Any]]] = [
    entry("FROM", "begin"),
    Column("POOL", lambda one: Name(one["pool"])),
    Column("PRODUCT", lambda one: Product(one["product"])),
    Column("SEATS", lambda one: one["seat_count"] or None, right=True),
    Column("PEAK", lambda one: one["peak"], right=True),
    Column("MEAN", lambda one: f"{one['mean']:.2f}", right=True),
    Column("P95", lambda one: one["p95"], right=True),
    Column("GRANTED", lambda one: one["granted"], right=True),
    Column("REFUSED", lambda one: one["refused"], right=True),
    Column("DENIED", lambda one: one["denied"], right=True),
]
OUTCOMES: Final[list[Column[Any]]] = [
    Column("SEATS", lambda one: one.seat_count or None, right=True),
    Column("DEMANDS", lambda one: one.demand_count, right=True),
    Column("SERVED", lambda one: one.served_count, right=True),
    Column("DENIED", lambda one: one.denied_count, right=True),
    Column("MEAN WAIT", lambda one: length(one, "wait_mean")),
    Column("P95 WAIT", lambda one: length(one, "wait_p95")),
    Column("LONGEST WAIT", lambda one: length(one, "wait_max")),
    Column("PEAK", lambda one: one.peak_units, right=True),
]
from_option = click.option("--from", "begin", type=Moment(), metavar="TIME", help="From when.")
to_option = click.option("--to", "end", type=Moment(), metavar="TIME", help="Until when.")


@click.group("report", cls=Group)
def report_group() -> None:
    """How many seats were used, and who was not served.

    \b
    Example:
      keypeg report usage --by day
    """


@report_group.command("usage")
@click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--pool", metavar="POOL", help="Only this pool, or the product's only one.")
@click.option(
    "--by", type=click.Choice(("hour", "day")), default="day", show_default=True, help="In UTC."
)
@click.option(
    "--per",
    type=click.Choice(("pool", "product")),
    default="pool",
    show_default=True,
    help="Rows for each pool, or for all pools of a product together.",
)
@click.option(
    "--chart", is_flag=True, help="Draw the seats in use: # to the 95th percentile, - to the peak."
)
@from_option
@to_option
@account_option
@pass_cli
async def usage(
    cli: Cli,
    file: Path | None,
    pool: str | None,
    by: str,
    per: str,
    chart: bool,
    begin: datetime | None,
    end: datetime | None,
    account: str | None,
) -> None:
    """Show peak, mean and 95th percentile of seats in use, and denials.

    From the server, or from FILE, an exported log. REFUSED counts every
    refused request, DENIED who was not served within 5 minutes.

    \b
    Examples:
      keypeg report usage --by hour --from 2027-01-01
      keypeg report usage --per product -o csv > usage.csv
      keypeg report usage usage.log --chart
    """
    from keypeg import log
    from keypeg import usage as seats

    wanted = ""
    if file is not None:
        with file.open("rb") as lines:
            history = seats.read(one.body for one in log.records(lines))
        wanted = (pool or "").rpartition("/")[2]
    else:
        bodies, wanted = await _recorded(cli, pool, account)
        history = seats.read(bodies)
    rows = seats.usage(
        history,
        period=seats.PERIODS[by],
        begin_us=None if begin is None else _us(begin),
        end_us=None if end is None else _us(end),
        by_product=per == "product",
        pool=wanted,
    )
    shown = [_row(one) for one in rows]
    columns = [one for one in USAGE if per == "pool" or one.title != "POOL"]
    if chart:
        most = max((max(one["seat_count"], one["peak"]) for one in shown), default=1)
        columns = [*columns, Column[Any]("USE", lambda one: _bar(one, most))]
    cli.printer.listing(shown, columns, nothing="No seats were used in this time.")


@report_group.command("what-if")
@click.option("--pool", required=True, metavar="POOL", help="The pool, or a product with only one.")
@click.option(
    "--seats",
    type=click.IntRange(1, 1_000_000),
    multiple=True,
    metavar="N",
    help="A number of seats to try; may be repeated. Without: as many as there were.",
)
@click.option(
    "--rules",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Rules to try, as `keypeg pool export` writes them. Without: those the pool has now.",
)
@from_option
@to_option
@account_option
@pass_cli
async def what_if(
    cli: Cli,
    pool: str,
    seats: tuple[int, ...],
    rules: Path | None,
    begin: datetime | None,
    end: datetime | None,
    account: str | None,
) -> None:
    """Replay the recorded demand of a pool with other numbers of seats, or rules.

    The first row is what happened, the others what would have: who would have
    been denied (not served within 5 minutes), and how long who was served
    would have waited.

    \b
    Examples:
      keypeg report what-if --pool acme/solver --seats 5 --seats 8
      keypeg report what-if --pool acme/solver --rules solver.toml
    """
    from keypeg.cli import pool as pool_commands
    from keypeg.cli import resolve
    from keypeg.v1 import report_service_pb2 as pb
    from keypeg.v1 import report_service_pb2_grpc as rpc

    async with cli.server() as link:
        request = pb.SimulateSeatsRequest(
            parent=await link.account(account),
            pool=await resolve.pool_name(link, pool, account),
            seat_counts=seats,
        )
        if rules is not None:
            found = await pool_commands.rules_in(link, request.pool, rules)
            request.rules.CopyFrom(found)
        if begin is not None:
            request.begin_time.FromDatetime(begin)
        if end is not None:
            request.end_time.FromDatetime(end)
        link.deadline = SIMULATION_TIME
        answer = await link.call(rpc.ReportServiceStub(link.channel).SimulateSeats, request)
    if cli.form in ("json", "jsonl"):
        cli.printer.item(answer, [])
        return
    cli.printer.listing([answer.recorded, *answer.simulated], OUTCOMES)
    if cli.form == "table":
        _conclude(cli, answer)


def _conclude(cli: Cli, answer: report_service_pb2.SimulateSeatsResponse) -> None:
    before = answer.recorded.denied_count
    for one in answer.simulated:
        less = before - one.denied_count
        what = f"{less} of {before} denials avoided" if less >= 0 else f"{-less} denials more"
        cli.printer.note(f"With {one.seat_count} seats: {what}.")


async def _recorded(cli: Cli, pool: str | None, account: str | None) -> tuple[list[bytes], str]:
    """The records of the account, and the pool's id."""
    from keypeg.cli import resolve
    from keypeg.cli.audit import parts

    bodies: list[bytes] = []
    async with cli.server() as link:
        name = await resolve.pool_name(link, pool, account) if pool else ""
        async for part in parts(link, await link.account(account)):
            if part.WhichOneof("part") == "records":
                bodies += [one.body for one in part.records.records]
    return bodies, name.rpartition("/")[2]


def _row(row: Row) -> dict[str, Any]:
    return {
        "begin": _EPOCH + timedelta(microseconds=row.begin_us),
        "end": _EPOCH + timedelta(microseconds=row.end_us),
        "pool": f"pools/{row.pool}" if row.pool else "",
        "product": row.product,
        "seat_count": row.seat_count,
        "peak": row.peak,
        "mean": round(row.mean, 4),
        "p95": row.p95,
        "granted": row.granted_count,
        "refused": row.refused_count,
        "denied": row.denied_count,
    }


def _bar(row: dict[str, Any], most: int) -> str:
    def width(units: int) -> int:
        return -(-units * BAR // most)

    usual, peak, has = width(row["p95"]), width(row["peak"]), width(row["seat_count"])
    return ("#" * usual + "-" * (peak - usual)).ljust(max(has, peak), ".")


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
