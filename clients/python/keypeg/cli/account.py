"""`keypeg account`: customers, for the publisher's staff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column, Name, moment, word

if TYPE_CHECKING:
    from keypeg.v1 import account_pb2

ACCOUNTS: Final[list[Column[account_pb2.Account]]] = [
    Column("ACCOUNT", lambda one: Name(one.name)),
    Column("CALLED", lambda one: one.display_name),
    Column("KIND", lambda one: kind(one) if one.kind else ""),
    Column("2ND FACTOR", lambda one: "required" if one.second_factor_required else "optional"),
    Column("SINCE", lambda one: moment(one, "create_time")),
]


def kind(one: account_pb2.Account) -> str:
    """Personal or group."""
    from keypeg.v1 import account_pb2

    return word(account_pb2.AccountKind, one.kind, "ACCOUNT_KIND_")


@click.group("account", cls=Group)
def account_group() -> None:
    """Customers.

    \b
    Example:
      keypeg account list
    """


@account_group.command("create")
@click.argument("account_id", metavar="[ID]", required=False)
@click.option("--name", metavar="TEXT", help="What people call it (default: ID).")
@click.option("--group", is_flag=True, help="Give each member a cloud session of their own.")
@pass_cli
async def create(cli: Cli, account_id: str | None, name: str | None, group: bool) -> None:
    """Add an account; without ID it gets one, and needs a name.

    \b
    Example:
      keypeg account create studio --name "Studio Nord"
    """
    if not (name or account_id):
        raise click.UsageError("An account needs an ID, a --name, or both.")
    from keypeg.cli.link import request_id
    from keypeg.v1 import account_pb2
    from keypeg.v1 import account_service_pb2 as pb
    from keypeg.v1 import account_service_pb2_grpc as rpc

    async with cli.server() as link:
        answer = await link.call(
            rpc.AccountServiceStub(link.channel).CreateAccount,
            pb.CreateAccountRequest(
                request_id=request_id(),
                account_id=account_id or "",
                display_name=name or account_id or "",
                kind=account_pb2.ACCOUNT_KIND_GROUP if group else account_pb2.ACCOUNT_KIND_PERSONAL,
            ),
        )
    cli.printer.item(answer.account, ACCOUNTS)
    cli.printer.note("The account is there.")


@account_group.command("list")
@pass_cli
async def list_accounts(cli: Cli) -> None:
    """List all accounts.

    \b
    Example:
      keypeg account list -o csv
    """
    from keypeg.v1 import account_service_pb2 as pb
    from keypeg.v1 import account_service_pb2_grpc as rpc

    async with cli.server() as link:
        found = await link.every(
            rpc.AccountServiceStub(link.channel).ListAccounts,
            pb.ListAccountsRequest(),
            lambda response: response.accounts,
        )
    cli.printer.listing(found, ACCOUNTS, nothing="There are no accounts.")


@account_group.command("show")
@click.argument("account", required=False)
@pass_cli
async def show(cli: Cli, account: str | None) -> None:
    """Show an account; without ACCOUNT, your own; - is the publisher's people.

    \b
    Example:
      keypeg account show studio
    """
    from keypeg.v1 import account_service_pb2 as pb
    from keypeg.v1 import account_service_pb2_grpc as rpc

    async with cli.server() as link:
        answer = await link.call(
            rpc.AccountServiceStub(link.channel).GetAccount,
            pb.GetAccountRequest(name=await link.account(account)),
        )
    cli.printer.item(answer.account, ACCOUNTS)


@account_group.command("kind")
@click.argument("account")
@click.argument("wanted", metavar="KIND", type=click.Choice(["personal", "group"]))
@pass_cli
async def set_kind(cli: Cli, account: str, wanted: str) -> None:
    """Make a group of an account, or a personal account of a group.

    In a group each member has a cloud session of their own. Every cloud session
    of the account is closed by this, and what is in the cloud is free.

    \b
    Example:
      keypeg account kind studio group
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import account_pb2
    from keypeg.v1 import account_service_pb2 as pb
    from keypeg.v1 import account_service_pb2_grpc as rpc

    async with cli.server() as link:
        answer = await link.call(
            rpc.AccountServiceStub(link.channel).SetAccountKind,
            pb.SetAccountKindRequest(
                name=await link.account(account),
                request_id=request_id(),
                kind=account_pb2.AccountKind.Value(f"ACCOUNT_KIND_{wanted.upper()}"),
            ),
        )
    cli.printer.item(answer.account, ACCOUNTS)


@account_group.command("second-factor")
@click.argument("account", required=False)
@click.option("--required/--optional", "required", default=None, help="Which of the two.")
@pass_cli
async def second_factor(cli: Cli, account: str | None, required: bool | None) -> None:
    """Set whether the people of an account need a second factor.

    Where it is required, who has neither one-time codes nor a passkey can do
    nothing but set one up. Programs with API keys, and apps that run, go on.
    Without ACCOUNT, your own; - is the publisher's people and resellers, which
    the publisher's administrators decide.

    \b
    Examples:
      keypeg account second-factor --required
      keypeg account second-factor - --required
    """
    if required is None:
        raise click.UsageError("Say --required or --optional.")
    from keypeg.cli.link import request_id
    from keypeg.v1 import account_service_pb2 as pb
    from keypeg.v1 import account_service_pb2_grpc as rpc

    async with cli.server() as link:
        answer = await link.call(
            rpc.AccountServiceStub(link.channel).SetSecondFactorRequired,
            pb.SetSecondFactorRequiredRequest(
                name=await link.account(account), request_id=request_id(), required=required
            ),
        )
    cli.printer.item(answer.account, ACCOUNTS)
