"""`keypeg user`: the people, and programs, that sign in for an account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TextIO

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.asking import password_option, secret
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.invitation import accept, invitations, invite, uninvite
from keypeg.cli.lazy import Group
from keypeg.cli.login import role
from keypeg.cli.user_factors import reset_factors
from keypeg.cli.user_roles import accounts, role_option, service
from keypeg.cli.user_roles import role as change_role
from keypeg.cli.values import Column, Name, moment

if TYPE_CHECKING:
    from keypeg.v1 import account_pb2

USERS: Final[list[Column[account_pb2.User]]] = [
    Column("USER", lambda one: Name(one.name)),
    Column("LOGIN", lambda one: one.login),
    Column("CALLED", lambda one: one.display_name),
    Column("ROLE", role),
    Column("PROGRAM", lambda one: one.service),
    Column("SINCE", lambda one: moment(one, "create_time")),
]


@click.group("user", cls=Group)
def user_group() -> None:
    """The people of an account.

    \b
    Example:
      keypeg user list
    """


@user_group.command("create")
@click.argument("login")
@click.option("--name", default="", metavar="TEXT", help="What people call them.")
@role_option
@password_option
@account_option
@pass_cli
async def create(
    cli: Cli,
    login: str,
    name: str,
    role_name: str,
    password_file: TextIO | None,
    account: str | None,
) -> None:
    """Add a user who signs in as LOGIN.

    The password is asked for twice, unless it comes from a file.

    \b
    Example:
      keypeg user create ada --role admin --password-file ada.txt
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import account_pb2
    from keypeg.v1 import account_service_pb2 as pb
    from keypeg.v1 import account_service_pb2_grpc as rpc

    password = secret("Password", password_file, again=True)
    async with cli.server() as link:
        answer = await link.call(
            rpc.AccountServiceStub(link.channel).CreateUser,
            pb.CreateUserRequest(
                parent=await link.account(account),
                request_id=request_id(),
                login=login,
                password=password,
                display_name=name,
                role=account_pb2.Role.Value(f"ROLE_{role_name.upper()}"),
            ),
        )
    cli.printer.item(answer.user, USERS)
    cli.printer.note(f"{answer.user.login} can sign in.")


@user_group.command("list")
@account_option
@pass_cli
async def list_users(cli: Cli, account: str | None) -> None:
    """List the users of an account.

    \b
    Example:
      keypeg user list --account studio
    """
    from keypeg.cli import resolve

    async with cli.server() as link:
        found = await resolve.users(link, await link.account(account))
    cli.printer.listing(found, USERS, nothing="The account has no users.")


@user_group.command("delete")
@click.argument("user")
@account_option
@pass_cli
async def delete(cli: Cli, user: str, account: str | None) -> None:
    """Take a user away, by login or id; their tokens end at once.

    \b
    Example:
      keypeg user delete ada
    """
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import account_service_pb2 as pb
    from keypeg.v1 import account_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = await resolve.user_name(link, user, account)
        await link.call(
            rpc.AccountServiceStub(link.channel).DeleteUser,
            pb.DeleteUserRequest(name=name, request_id=request_id()),
        )
    cli.printer.note(f"{name} is taken away.")


for command in (
    accept,
    accounts,
    change_role,
    invitations,
    invite,
    reset_factors,
    service,
    uninvite,
):
    user_group.add_command(command)
