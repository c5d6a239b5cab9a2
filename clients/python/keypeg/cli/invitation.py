"""`keypeg user invite`, `accept`, `invitations`, `uninvite`: how people join an account.

Promises: tickets and passwords come from a prompt, a file or standard input; a ticket is printed once, alone on
standard output, for who sends it on.

Leaves to others: sending it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, TextIO

import click

from keypeg.cli.arguments import Duration, account_option
from keypeg.cli.asking import password_option, secret
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command
from keypeg.cli.user_roles import role_option, role_word
from keypeg.cli.values import Column, Name, moment

if TYPE_CHECKING:
    from keypeg.v1 import people_pb2

INVITATIONS: Final[list[Column[people_pb2.Invitation]]] = [
    Column("INVITATION", lambda one: Name(one.name)),
    Column("FOR", lambda one: one.address),
    Column("ROLE", lambda one: role_word(one.role)),
    Column("BY", lambda one: Name(one.inviter)),
    Column("ENDS", lambda one: moment(one, "expire_time")),
]


@click.command("invite", cls=Command)
@click.argument("address")
@role_option
@click.option(
    "--for", "ttl", type=Duration(), metavar="TIME", help="How long the ticket holds; 7 days."
)
@account_option
@pass_cli
async def invite(
    cli: Cli, address: str, role_name: str, ttl: timedelta | None, account: str | None
) -> None:
    """Invite somebody, by e-mail address or login.

    Prints the ticket, once: whoever has it may join. Send it on a way that
    others do not read, with the name of the invitation.

    \b
    Example:
      keypeg user invite bea@example.com --role admin --for 2d
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import account_pb2
    from keypeg.v1 import people_service_pb2 as pb
    from keypeg.v1 import people_service_pb2_grpc as rpc

    async with cli.server() as link:
        request = pb.CreateInvitationRequest(
            parent=await link.account(account),
            request_id=request_id(),
            address=address,
            role=account_pb2.Role.Value(f"ROLE_{role_name.upper()}"),
        )
        if ttl is not None:
            request.ttl.FromTimedelta(ttl)
        answer = await link.call(rpc.PeopleServiceStub(link.channel).CreateInvitation, request)
    shown = {"invitation": answer.invitation.name, "ticket": answer.ticket}
    cli.printer.item(
        shown, [Column("INVITATION", lambda one: one["invitation"]), Column("TICKET", _ticket)]
    )
    cli.printer.note("The ticket is not shown again. They join with:")
    cli.printer.note(f"  keypeg user accept {answer.invitation.name} --login NAME")


@click.command("accept", cls=Command)
@click.argument("invitation")
@click.option("--login", required=True, metavar="NAME", help="The name to sign in with.")
@click.option("--name", default="", metavar="TEXT", help="What people call you.")
@click.option(
    "--ticket-file",
    type=click.File("r"),
    metavar="FILE",
    help="Read the ticket from the first line of FILE; - is standard input.",
)
@password_option
@click.option(
    "--provider",
    metavar="NAME",
    help="Join as who you are at this outside provider, without a password.",
)
@click.option("--device", is_flag=True, help="With --provider: show a code, which you type there.")
@click.option(
    "--no-browser", is_flag=True, help="With --provider: show the address, and open no browser."
)
@pass_cli
async def accept(
    cli: Cli,
    invitation: str,
    login: str,
    name: str,
    ticket_file: TextIO | None,
    password_file: TextIO | None,
    provider: str | None,
    device: bool,
    no_browser: bool,
) -> None:
    """Join an account by INVITATION, with its ticket and a password of your own.

    Both are asked for, unless they come from files; from standard input the
    ticket is the first line and the password the second. Needs no signing in.

    \b
    Example:
      keypeg user accept accounts/studio/invitations/0199 --login bea
    """
    from dataclasses import replace

    from keypeg.cli.link import Link, request_id
    from keypeg.v1 import people_service_pb2 as pb
    from keypeg.v1 import people_service_pb2_grpc as rpc

    ticket = secret("Ticket", ticket_file)
    if provider is not None:
        from keypeg.cli.login import client_name
        from keypeg.cli.provider_login import proven
        from keypeg.v1 import identity_service_pb2 as identity_pb
        from keypeg.v1 import identity_service_pb2_grpc as identity_rpc

        link = Link.to_server(replace(cli.profile(), token=""))
        try:
            proof = await proven(
                cli, link, provider, client_name(), typed=device, browser=not no_browser
            )
            await link.call(
                identity_rpc.IdentityServiceStub(link.channel).AcceptInvitationAsIdentity,
                identity_pb.AcceptInvitationAsIdentityRequest(
                    name=invitation,
                    ticket=ticket,
                    sign_in=proof,
                    login=login,
                    display_name=name,
                ),
            )
        finally:
            await link.close()
        cli.printer.note(f"{login} has joined; sign in: keypeg login --provider {provider}")
        return
    password = secret("Password", password_file, again=True)
    link = Link.to_server(replace(cli.profile(), token=""))
    try:
        answer = await link.call(
            rpc.PeopleServiceStub(link.channel).AcceptInvitation,
            pb.AcceptInvitationRequest(
                name=invitation,
                request_id=request_id(),
                ticket=ticket,
                login=login,
                password=password,
                display_name=name,
            ),
        )
    finally:
        await link.close()
    cli.printer.note(f"{answer.user.login} has joined; sign in: keypeg login --login {login}")


@click.command("invitations", cls=Command)
@account_option
@pass_cli
async def invitations(cli: Cli, account: str | None) -> None:
    """List the invitations that are open.

    \b
    Example:
      keypeg user invitations
    """
    from keypeg.v1 import people_service_pb2 as pb
    from keypeg.v1 import people_service_pb2_grpc as rpc

    async with cli.server() as link:
        found = await link.every(
            rpc.PeopleServiceStub(link.channel).ListInvitations,
            pb.ListInvitationsRequest(parent=await link.account(account)),
            lambda response: response.invitations,
        )
    cli.printer.listing(found, INVITATIONS, nothing="No invitation is open.")


@click.command("uninvite", cls=Command)
@click.argument("invitation")
@account_option
@pass_cli
async def uninvite(cli: Cli, invitation: str, account: str | None) -> None:
    """Take an invitation back, by name, id or address.

    \b
    Example:
      keypeg user uninvite bea@example.com
    """
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import people_service_pb2 as pb
    from keypeg.v1 import people_service_pb2_grpc as rpc

    async with cli.server() as link:
        stub = rpc.PeopleServiceStub(link.channel)
        there = await link.every(
            stub.ListInvitations,
            pb.ListInvitationsRequest(parent=await link.account(account)),
            lambda response: response.invitations,
        )
        words = {one.name: (one.address,) for one in there}
        name = resolve.pick("invitation", invitation, words, "keypeg user invitations")
        await link.call(
            stub.DeleteInvitation, pb.DeleteInvitationRequest(name=name, request_id=request_id())
        )
    cli.printer.note(f"{name} is taken back.")


def _ticket(one: dict[str, str]) -> str:
    return one["ticket"]
