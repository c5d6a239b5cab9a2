"""`keypeg sign-ins`: what a user is signed in with, and ending it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column, Name, entry, moment, word

if TYPE_CHECKING:
    from keypeg.v1 import sign_in_pb2


def method(one: sign_in_pb2.SignIn) -> str:
    """How somebody signed in, as a word."""
    from keypeg.v1 import sign_in_pb2

    return word(sign_in_pb2.SignInMethod, one.method, "SIGN_IN_METHOD_")


SIGN_INS: Final[list[Column[sign_in_pb2.SignIn]]] = [
    Column("SIGN-IN", lambda one: Name(one.name)),
    Column("CLIENT", lambda one: one.client_name),
    Column("BY", method),
    Column("SINCE", lambda one: moment(one, "create_time")),
    Column("USED", lambda one: moment(one, "use_time")),
    Column("ENDS", lambda one: moment(one, "expire_time")),
    Column("CURRENT", lambda one: one.current),
]


@click.group("sign-ins", cls=Group)
def sign_ins_group() -> None:
    """What you are signed in with.

    \b
    Example:
      keypeg sign-ins list
    """


@sign_ins_group.command("list")
@pass_cli
async def list_sign_ins(cli: Cli) -> None:
    """List the clients that you are signed in with, on any computer.

    \b
    Example:
      keypeg sign-ins list
    """
    from keypeg.v1 import sign_in_service_pb2 as pb
    from keypeg.v1 import sign_in_service_pb2_grpc as rpc

    async with cli.server() as link:
        stub = rpc.SignInServiceStub(link.channel)
        found = await link.every(
            stub.ListSignIns, pb.ListSignInsRequest(), lambda answer: answer.sign_ins
        )
    cli.printer.listing(found, SIGN_INS, nothing="You are signed in with nothing that is kept.")


@sign_ins_group.command("approve")
@click.argument("code")
@click.option("--decline", is_flag=True, help="Refuse it instead.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_cli
async def approve(cli: Cli, code: str, decline: bool, yes: bool) -> None:
    """Sign in the client that shows CODE, as you.

    Shows first which client asks, and from where. Approve only what you began
    yourself: whoever shows the code is signed in as you.

    \b
    Example:
      keypeg sign-ins approve BCDF-GHJK
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import sign_in_service_pb2 as pb
    from keypeg.v1 import sign_in_service_pb2_grpc as rpc

    async with cli.server() as link:
        stub = rpc.SignInServiceStub(link.channel)
        asked = await link.call(stub.GetDeviceSignIn, pb.GetDeviceSignInRequest(user_code=code))
        client = asked.device_sign_in
        shown = f"{client.client_name or 'A client'} at {client.address or 'the server itself'}"
        if not decline and not yes:
            click.confirm(f"{shown} wants to sign in as you. Approve?", abort=True, err=True)
        await link.call(
            stub.DecideDeviceSignIn,
            pb.DecideDeviceSignInRequest(
                user_code=code, approve=not decline, request_id=request_id()
            ),
        )
    cli.printer.note(f"{shown} {'is refused' if decline else 'may sign in as you'}.")


@sign_ins_group.command("end")
@click.argument("sign_in", required=False)
@click.option("--user", metavar="LOGIN", help="End all of this user: for administrators.")
@account_option
@pass_cli
async def end(cli: Cli, sign_in: str | None, user: str | None, account: str | None) -> None:
    """End one of your sign-ins, or all of a user; what they opened ends, too.

    \b
    Examples:
      keypeg sign-ins end signIns/0199...
      keypeg sign-ins end --user ada
    """
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import sign_in_service_pb2 as pb
    from keypeg.v1 import sign_in_service_pb2_grpc as rpc

    if (sign_in is None) == (user is None):
        raise click.UsageError("Name a sign-in, or a user with --user.")
    async with cli.server() as link:
        stub = rpc.SignInServiceStub(link.channel)
        count = 1
        if user is not None:
            name = await resolve.user_name(link, user, account)
            ended = await link.call(
                stub.EndUserSignIns, pb.EndUserSignInsRequest(name=name, request_id=request_id())
            )
            count = ended.ended_count
        else:
            name = str(sign_in) if "/" in str(sign_in) else f"signIns/{sign_in}"
            await link.call(stub.EndSignIn, pb.EndSignInRequest(name=name, request_id=request_id()))
    cli.printer.item({"ended_count": count}, [entry("ENDED", "ended_count")])
