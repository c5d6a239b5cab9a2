"""Roles on the command line, and `keypeg user role`, `service` and `accounts`."""

from __future__ import annotations

from typing import Any, Final

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command
from keypeg.cli.values import Column, Name, word

ROLES: Final = ("member", "admin", "owner", "reseller", "support", "operator", "publisher")


def role_word(number: int) -> str:
    """A role as a word."""
    from keypeg.v1 import account_pb2

    return word(account_pb2.Role, number, "ROLE_")


def role_option(command: Any) -> Any:
    """`--role`."""
    return click.option(
        "--role",
        "role_name",
        type=click.Choice(ROLES),
        default="member",
        show_default=True,
        help="What they may do; the last four without an account: --account -.",
    )(command)


@click.command("role", cls=Command)
@click.argument("user")
@click.argument("role_name", metavar="ROLE", type=click.Choice(ROLES))
@account_option
@pass_cli
async def role(cli: Cli, user: str, role_name: str, account: str | None) -> None:
    """Give a user another role, by login or id.

    ROLE is member, admin or owner of an account; reseller, support, operator
    or publisher without one (--account -).

    \b
    Example:
      keypeg user role ada owner
    """
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import account_pb2
    from keypeg.v1 import people_service_pb2 as pb
    from keypeg.v1 import people_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = await resolve.user_name(link, user, account)
        answer = await link.call(
            rpc.PeopleServiceStub(link.channel).UpdateUserRole,
            pb.UpdateUserRoleRequest(
                name=name,
                request_id=request_id(),
                role=account_pb2.Role.Value(f"ROLE_{role_name.upper()}"),
            ),
        )
    cli.printer.note(f"{answer.user.login} is {role_word(answer.user.role)} from now on.")


@click.command("service", cls=Command)
@click.argument("login")
@click.option("--name", default="", metavar="TEXT", help="What people call it.")
@role_option
@account_option
@pass_cli
async def service(cli: Cli, login: str, name: str, role_name: str, account: str | None) -> None:
    """Add a program: a user that has API keys and no password.

    \b
    Example:
      keypeg user service nightly-report --name "Nightly report"
      keypeg apikey create nightly --user nightly-report --scope seats:read
    """
    from keypeg.cli.link import request_id
    from keypeg.cli.user import USERS
    from keypeg.v1 import account_pb2
    from keypeg.v1 import people_service_pb2 as pb
    from keypeg.v1 import people_service_pb2_grpc as rpc

    async with cli.server() as link:
        answer = await link.call(
            rpc.PeopleServiceStub(link.channel).CreateServiceUser,
            pb.CreateServiceUserRequest(
                parent=await link.account(account),
                request_id=request_id(),
                login=login,
                display_name=name,
                role=account_pb2.Role.Value(f"ROLE_{role_name.upper()}"),
            ),
        )
    cli.printer.item(answer.user, USERS)
    cli.printer.note(f"Give it a key: keypeg apikey create NAME --user {login} --scope ...")


@click.command("accounts", cls=Command)
@click.argument("reseller")
@click.option("--add", multiple=True, metavar="ACCOUNT", help="Act for this one, too.")
@click.option("--remove", multiple=True, metavar="ACCOUNT", help="Act for this one no more.")
@pass_cli
async def accounts(cli: Cli, reseller: str, add: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Show or change for which accounts a reseller acts.

    \b
    Example:
      keypeg user accounts rob --add studio --remove client
    """
    from keypeg import names
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import people_service_pb2 as pb
    from keypeg.v1 import people_service_pb2_grpc as rpc

    def whole(text: str) -> str:
        return text if names.ACCOUNT.matches(text) else names.ACCOUNT.build(text)

    async with cli.server() as link:
        stub = rpc.PeopleServiceStub(link.channel)
        name = await resolve.user_name(link, reseller, "-")
        asked = pb.GetResellerAccountsRequest(name=name)
        found = set((await link.call(stub.GetResellerAccounts, asked)).accounts)
        if add or remove:
            wanted = (found | set(map(whole, add))) - set(map(whole, remove))
            change = pb.SetResellerAccountsRequest(
                name=name, request_id=request_id(), accounts=sorted(wanted)
            )
            found = set((await link.call(stub.SetResellerAccounts, change)).accounts)
    columns: list[Column[str]] = [Column("ACCOUNT", lambda one: Name(one))]
    cli.printer.listing(sorted(found), columns, nothing=f"{reseller} acts for no account.")
