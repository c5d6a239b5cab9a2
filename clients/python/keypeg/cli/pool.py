"""`keypeg pool`: the rules of a pool, shown, exported to a file and applied from one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column, Name, State, length, word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keypeg.cli.link import Link
    from keypeg.v1 import pool_rules_pb2 as rules_pb
    from keypeg.v1 import seat_service_pb2 as pb

FILE_BYTES: Final = 4 * 1024 * 1024  # above what a server takes


@click.group("pool", cls=Group)
def pool_group() -> None:
    """Rules of pools: who counts how, who may, how much.

    \b
    Example:
      keypeg pool show acme/solver
    """


@pool_group.command("show")
@click.argument("pool")
@account_option
@pass_cli
async def show(cli: Cli, pool: str, account: str | None) -> None:
    """Show the rules of POOL.

    \b
    Example:
      keypeg pool show acme/solver
    """
    async with cli.server() as link:
        rules, logins = await _rules(link, pool, account)
    cli.printer.item(rules, _columns(logins))


@pool_group.command("export")
@click.argument("pool")
@account_option
@pass_cli
async def export(cli: Cli, pool: str, account: str | None) -> None:
    """Print the rules of POOL as a file for `apply`.

    \b
    Example:
      keypeg pool export acme/solver > solver.toml
    """
    from keypeg.cli import pool_file

    async with cli.server() as link:
        rules, logins = await _rules(link, pool, account)
    click.echo(pool_file.written(rules, logins), nl=False)


@pool_group.command("apply")
@click.argument("pool")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would change for whom; change nothing.")
@account_option
@pass_cli
async def apply(cli: Cli, pool: str, file: Path, dry_run: bool, account: str | None) -> None:
    """Replace the rules of POOL by those in FILE; what it does not say is off.

    Refused when the rules have changed since the file was exported, if it
    still has its etag.

    \b
    Examples:
      keypeg pool apply acme/solver solver.toml --dry-run
      keypeg pool apply acme/solver solver.toml
    """
    from keypeg.cli import resolve
    from keypeg.cli.short import last
    from keypeg.v1 import seat_service_pb2 as pb
    from keypeg.v1 import seat_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = await resolve.pool_name(link, pool, account)
        logins = await _logins(link, name)
        rules = await rules_in(link, name, file)
        answer = await link.call(
            rpc.SeatServiceStub(link.channel).UpdatePoolRules,
            pb.UpdatePoolRulesRequest(name=name, rules=rules, dry_run=dry_run),
        )
    effects: list[Column[pb.PoolEffect]] = [
        Column(
            "EFFECT", lambda e: State(word(pb.PoolConsequence, e.consequence, "POOL_CONSEQUENCE_"))
        ),
        Column("FOR", lambda e: Name(e.resource)),
        Column("USER", lambda e: logins.get(e.holder.user) or Name(e.holder.user)),
        Column("COMPUTER", lambda e: e.holder.host_name),
        Column("APP", lambda e: e.holder.app),
        Column("RULE", lambda e: e.rule),
        Column("WHY", lambda e: e.sentence),
    ]
    cli.printer.listing(answer.effects, effects, nothing="Nothing changes for who holds and waits.")
    cli.printer.note(
        f"Nothing was changed: this was a dry run on {last(name)}."
        if dry_run
        else f"{last(name)} has these rules now."
    )


async def rules_in(link: Link, pool: str, file: Path) -> rules_pb.PoolRules:
    """The rules in a file, for a pool (name), whose account's users it may call by their logins."""
    from keypeg import names
    from keypeg.cli import pool_file
    from keypeg.errors import NotFound

    text = _text(file)
    known = {login: user for user, login in (await _logins(link, pool)).items()}

    def user(text: str) -> str:
        if names.USER.matches(text):
            return text
        if text not in known:
            raise NotFound(f"There is no user {text!r} in the account (keypeg user list).")
        return known[text]

    return pool_file.read(text, user)


def _text(file: Path) -> str:
    from keypeg.errors import FieldInvalid

    if file.stat().st_size > FILE_BYTES:
        raise FieldInvalid(f"{file} is larger than rules can be: {FILE_BYTES} bytes.")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise FieldInvalid(f"{file} is no text in UTF-8.") from None


async def _rules(
    link: Link, pool: str, account: str | None
) -> tuple[rules_pb.PoolRules, Mapping[str, str]]:
    from keypeg.cli import resolve
    from keypeg.v1 import seat_service_pb2 as pb
    from keypeg.v1 import seat_service_pb2_grpc as rpc

    name = await resolve.pool_name(link, pool, account)
    answer = await link.call(
        rpc.SeatServiceStub(link.channel).GetPoolRules, pb.GetPoolRulesRequest(name=name)
    )
    return answer.rules, await _logins(link, name)


async def _logins(link: Link, pool: str) -> Mapping[str, str]:
    """Logins of the users of the pool's account, by their names."""
    from keypeg.cli import resolve
    from keypeg.v1 import seat_service_pb2 as pb
    from keypeg.v1 import seat_service_pb2_grpc as rpc

    found = await link.call(rpc.SeatServiceStub(link.channel).GetPool, pb.GetPoolRequest(name=pool))
    return await resolve.logins(link, found.pool.account)


def _borrowing(rules: rules_pb.PoolRules) -> str | None:
    """For how long seats may be borrowed, and how many."""
    if not rules.HasField("borrowing"):
        return None
    lent = rules.borrowing
    said = [f"for {length(rules.borrowing, 'longest')}"]
    if lent.HasField("most_units"):
        said.append(f"at most {lent.most_units}")
    if lent.floor_units:
        said.append(f"{lent.floor_units} stay")
    return ", ".join(said)


def _columns(logins: Mapping[str, str]) -> list[Column[rules_pb.PoolRules]]:
    from keypeg.cli.pool_file import counting, who

    return [
        Column("COUNTING", counting),
        Column(
            "RESERVED",
            lambda r: tuple(
                f"{one.units} for {who(one.subject, logins)}" for one in r.reservations
            ),
        ),
        Column(
            "LIMITS",
            lambda r: tuple(f"{who(one.subject, logins)} at most {one.units}" for one in r.limits),
        ),
        Column("ALLOWED", lambda r: tuple(who(one, logins) for one in r.allowed)),
        Column(
            "DENIED",
            lambda r: tuple(
                who(one.subject, logins) + (" (cut)" if one.cut else "") for one in r.denied
            ),
        ),
        Column("GROUPS", lambda r: tuple(one.name for one in r.groups)),
        Column("LINGER", lambda r: length(r, "linger")),
        Column("OVERDRAFT", lambda r: r.overdraft_units or None),
        Column("AGEING", lambda r: length(r, "ageing")),
        Column("QUEUE", lambda r: r.queue_length if r.HasField("queue_length") else None),
        Column("BORROW", _borrowing),
        Column("WRITE-OFF", lambda r: r.write_off_units or None),
        Column("ETAG", lambda r: r.etag),
    ]
