"""`keypeg borrow`: seats for this computer while it has no connection, and giving them back.

Promises: a key is on the disk before the server is asked, and an answer that was lost is asked for again by the
next `take`, so that no borrow is lost on the way. What is given back works no more from the moment that this
program says so, whether the server has heard it or not. A write-off says what it exposes before it happens.

Leaves to others: the disk (keypeg.borrow_shelf), the calls and the columns (borrow_calls, borrow_ends,
borrow_views).
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from keypeg.cli.arguments import Duration, Units, account_option
from keypeg.cli.borrow_views import BORROW, BORROWS, EXPOSURE, listed
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group

for_option = click.option(
    "--for",
    "duration",
    type=Duration(),
    required=True,
    metavar="TIME",
    help="For how long from now, for example 8h or 3d; the pool's rules say how long at most.",
)


@click.group("borrow", cls=Group)
def borrow_group() -> None:
    """Seats for this computer while it has no connection.

    \b
    Example:
      keypeg borrow take acme/solver --for 3d
    """


@borrow_group.command("take")
@click.argument("pool")
@for_option
@click.option("--units", "count", type=click.IntRange(1, 10_000), default=1, show_default=True)
@click.option(
    "--feature", "wanted", type=Units(), multiple=True, help="NAME or NAME=UNITS; may be repeated."
)
@account_option
@pass_cli
async def take(
    cli: Cli,
    pool: str,
    duration: timedelta,
    count: int,
    wanted: tuple[tuple[str, int | None], ...],
    account: str | None,
) -> None:
    """Borrow a seat of POOL for this computer; exit code 6 when none is free.

    POOL is a pool, or a product that has only one. Until the end, apps on this
    computer run by the seat without a connection. It counts as held until it is
    given back.

    \b
    Example:
      keypeg borrow take acme/solver --for 3d
    """
    from keypeg.cli import borrow_calls as calls
    from keypeg.cli import borrow_ends as ends
    from keypeg.cli import resolve
    from keypeg.cli.values import moment

    shelf = calls.shelf(cli)
    async with cli.server() as link:
        await ends.hand_in(cli, link, shelf)
        name = await resolve.pool_name(link, pool, account)
        made = await calls.finish(cli, link, shelf, name)
        if made is None:
            request = calls.new_request(cli, name, count, wanted, duration)
            made = await calls.create(cli, link, shelf, request)
    told = moment(made, "create_time")
    if told is not None:
        shelf.sweep(min(told, cli.now()))  # a clock here that is wrong must take nothing away
    cli.printer.item(made, BORROW)
    cli.printer.note("Apps on this computer run by it without a connection until then.")


@borrow_group.command("list")
@click.argument("pool", required=False)
@click.option("--here", is_flag=True, help="Only what is on this computer; needs no connection.")
@account_option
@pass_cli
async def list_borrows(cli: Cli, pool: str | None, here: bool, account: str | None) -> None:
    """List borrowed seats, those that end first first: of this computer, and of the account.

    Members see their own, administrators all. Without a connection it lists what
    is on this computer, and then says why there is no more.

    \b
    Example:
      keypeg borrow list
    """
    from keypeg.cli import borrow_calls as calls
    from keypeg.cli import borrow_ends as ends
    from keypeg.cli import resolve
    from keypeg.errors import KeypegError, SignInRequired, TimedOut, Unreachable

    shelf = calls.shelf(cli)
    ours = calls.on_this_computer(shelf)
    found = [one for _, one in ours]
    logins: dict[str, str] = {}
    problem: KeypegError | None = None
    if not here:
        try:
            async with cli.server() as link:
                await ends.hand_in(cli, link, shelf)
                owner = await link.account(account)
                parent = await resolve.pool_name(link, pool, account) if pool else owner
                found = await resolve.borrows(link, parent)
                if found and cli.form in ("table", "csv"):
                    logins = await resolve.logins(link, owner)
        except (Unreachable, TimedOut, SignInRequired) as error:
            problem = error
    kept = frozenset(name for name, _ in ours)
    cli.printer.listing(found, listed(logins, kept), nothing="No seat is borrowed.")
    if problem is not None:
        raise problem


@borrow_group.command("renew")
@click.argument("borrow", required=False)
@for_option
@pass_cli
async def renew(cli: Cli, borrow: str | None, duration: timedelta) -> None:
    """Keep BORROW of this computer longer; exit code 8 when it has ended.

    Without BORROW the only one that is here. The end never gets earlier.

    \b
    Example:
      keypeg borrow renew 5d2b9a41 --for 3d
    """
    from keypeg.cli import borrow_calls as calls

    shelf = calls.shelf(cli)
    kept = calls.pick(shelf, borrow)
    async with cli.server() as link:
        made = await calls.renew(cli, link, shelf, kept, duration)
    cli.printer.item(made, BORROW)


@borrow_group.command("return")
@click.argument("borrow", required=False)
@click.option(
    "--to-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Give it up without a connection: write the statement to FILE, to be handed in anywhere.",
)
@click.option(
    "--from-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Hand in what another computer wrote with --to-file.",
)
@pass_cli
async def give_back(
    cli: Cli, borrow: str | None, to_file: Path | None, from_file: Path | None
) -> None:
    """Give BORROW of this computer back before its end.

    Without BORROW the only one that is here. From then on it opens nothing on
    this computer any more; others get the seat when the server has heard of it.
    Close the apps that use it first. Without a connection, take the statement to
    a computer that has one: as a file, or run this again later.

    \b
    Examples:
      keypeg borrow return 5d2b9a41
      keypeg borrow return --to-file returned.keypeg
      keypeg borrow return --from-file returned.keypeg
    """
    from keypeg.cli import borrow_calls as calls
    from keypeg.cli import borrow_ends as ends
    from keypeg.errors import NotFound

    if from_file is not None:
        if borrow or to_file:
            raise click.UsageError("--from-file stands alone: the file names the borrow.")
        async with cli.server() as link:
            found, refusal = await ends.hand_in_file(link, from_file)
        if found:
            cli.printer.listing(found, BORROWS)
        if refusal is not None:
            raise refusal
        return
    shelf = calls.shelf(cli)
    given_up = ends.give_up(cli, shelf, borrow)
    if to_file is not None:
        ends.save(given_up, to_file)
        cli.printer.note(
            f"The statement is in {to_file}; hand it in with `keypeg borrow return --from-file`."
        )
        return
    async with cli.server() as link:
        unknown = await ends.hand_in(cli, link, shelf)
    if unknown:
        raise NotFound(
            f"{unknown[0]} can not be handed in here; use the server and the account of which it was borrowed.",
            resource=unknown[0],
        )


@borrow_group.command("write-off")
@click.argument("borrow")
@click.option("--reason", required=True, metavar="TEXT", help="Why; kept in the log.")
@click.option("--dry-run", is_flag=True, help="Say what it would expose, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@account_option
@pass_cli
async def write_off(
    cli: Cli, borrow: str, reason: str, dry_run: bool, yes: bool, account: str | None
) -> None:
    """Give BORROW up for lost, so that others get its seat; for administrators.

    Its computer can not be told: until its end, the document may still be used
    there, beside whoever gets the seat now. How much may be exposed in this way at
    once, the publisher says.

    \b
    Example:
      keypeg borrow write-off 5d2b9a41 --reason "Laptop was stolen" --dry-run
    """
    from keypeg.cli import borrow_ends as ends
    from keypeg.cli import resolve
    from keypeg.cli.asking import confirmed

    async with cli.server() as link:
        name = await resolve.borrow_name(link, borrow, account)
        answer = await ends.write_off(link, name, reason, dry_run=True)
        if not dry_run:
            if not yes:
                cli.printer.note(ends.exposed(cli, answer))
                if not confirmed(f"Write {name} off?"):
                    cli.printer.note("Nothing was changed.")
                    raise click.exceptions.Exit(1)
            answer = await ends.write_off(link, name, reason, dry_run=False)
    cli.printer.item(answer, EXPOSURE)
    if dry_run:
        cli.printer.note("Nothing was changed: it was asked what would be.")
