"""`keypeg identity`: who users are at outside providers.

Promises: passwords come from a prompt or standard input, never from the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.provider_login import provider_options
from keypeg.cli.values import Column, Name, moment

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.v1 import identity_pb2

IDENTITIES: Final[list[Column[identity_pb2.Identity]]] = [
    Column("IDENTITY", lambda one: Name(one.name)),
    Column("ISSUER", lambda one: one.issuer),
    Column("SUBJECT", lambda one: one.subject),
    Column("PROVEN", lambda one: one.proven),
    Column("BY", lambda one: Name(one.creator)),
    Column("SINCE", lambda one: moment(one, "create_time")),
]


@click.group("identity", cls=Group)
def identity_group() -> None:
    """Who you are at outside providers, and who else is.

    \b
    Example:
      keypeg identity list
    """


@identity_group.command("link")
@provider_options(required=True)
@pass_cli
async def link_identity(cli: Cli, provider: str, device: bool, no_browser: bool) -> None:
    """Sign in at a provider, and from now on here by it.

    Asks for your password. Without a terminal it is the first line of standard
    input.

    \b
    Example:
      keypeg identity link --provider work
    """
    from keypeg.cli.login import client_name
    from keypeg.cli.one_time_codes import ask_line
    from keypeg.cli.provider_login import proven
    from keypeg.v1 import identity_service_pb2 as pb
    from keypeg.v1 import identity_service_pb2_grpc as rpc

    async with cli.server() as link:
        password = ask_line("Password")
        secret = await proven(
            cli, link, provider, client_name(), typed=device, browser=not no_browser
        )
        answer = await link.call(
            rpc.IdentityServiceStub(link.channel).LinkIdentity,
            pb.LinkIdentityRequest(sign_in=secret, password=password),
        )
    cli.printer.note(
        f"{answer.identity.subject} of {answer.identity.issuer} is you from now on: keypeg login --provider {provider}"
    )


@identity_group.command("create")
@click.argument("user")
@click.option(
    "--provider",
    required=True,
    metavar="NAME",
    help="The outside provider, as the server calls it.",
)
@click.option(
    "--subject",
    required=True,
    metavar="TEXT",
    help="Who they are there (`sub`); no e-mail address.",
)
@account_option
@pass_cli
async def create(cli: Cli, user: str, provider: str, subject: str, account: str | None) -> None:
    """Say who a user is at a provider: they sign in by it from now on.

    It is your word until they have signed in; nobody can take a subject away by
    it from who has.

    \b
    Example:
      keypeg identity create bea --provider work --subject 248289761001
    """
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import identity_service_pb2 as pb
    from keypeg.v1 import identity_service_pb2_grpc as rpc

    async with cli.server() as link:
        request = pb.CreateIdentityRequest(
            parent=await resolve.user_name(link, user, account),
            request_id=request_id(),
            provider=provider,
            subject=subject,
        )
        answer = await link.call(rpc.IdentityServiceStub(link.channel).CreateIdentity, request)
    cli.printer.item(answer.identity, IDENTITIES)


@identity_group.command("list")
@click.argument("user", required=False)
@account_option
@pass_cli
async def list_identities(cli: Cli, user: str | None, account: str | None) -> None:
    """List your identities, or those of a user.

    \b
    Example:
      keypeg identity list
    """
    async with cli.server() as link:
        found = await _identities(link, user, account)
    cli.printer.listing(found, IDENTITIES, nothing="No identity is linked.")


@identity_group.command("unlink")
@click.argument("identity")
@click.option("--user", metavar="USER", help="Whose; else yours.")
@account_option
@pass_cli
async def unlink(cli: Cli, identity: str, user: str | None, account: str | None) -> None:
    """Take an identity away, by name, id or subject: nobody signs in by it any more.

    What is signed in goes on: `keypeg sign-ins end` ends that.

    \b
    Example:
      keypeg identity unlink 248289761001
    """
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import identity_service_pb2 as pb
    from keypeg.v1 import identity_service_pb2_grpc as rpc

    async with cli.server() as link:
        there = await _identities(link, user, account)
        words = {one.name: (one.subject,) for one in there}
        name = resolve.pick("identity", identity, words, "keypeg identity list")
        await link.call(
            rpc.IdentityServiceStub(link.channel).DeleteIdentity,
            pb.DeleteIdentityRequest(name=name, request_id=request_id()),
        )
    cli.printer.note(f"{name} is linked no more.")


async def _identities(link: Link, user: str | None, account: str | None) -> list[Any]:
    from keypeg.cli import resolve
    from keypeg.v1 import identity_service_pb2 as pb
    from keypeg.v1 import identity_service_pb2_grpc as rpc

    name = (await link.caller()).user.name
    if user is not None:
        name = await resolve.user_name(link, user, account)
    answer = await link.call(
        rpc.IdentityServiceStub(link.channel).ListIdentities,
        pb.ListIdentitiesRequest(parent=name),
    )
    return list(answer.identities)
