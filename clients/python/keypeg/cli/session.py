"""`keypeg session`: the account's cloud session, and which device holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column, Name, State, moment, word

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.v1 import cloud_session_pb2

MODES: Final = {
    "automatic": "automatic: opening activates every free license for the cloud",
    "managed": "managed: only what a user placed in the cloud is used there",
}


def state(one: cloud_session_pb2.CloudSession) -> State:
    """Open or closed."""
    from keypeg.v1 import cloud_session_pb2

    return State(word(cloud_session_pb2.CloudSessionState, one.state, "CLOUD_SESSION_STATE_"))


def mode(one: cloud_session_pb2.CloudSession) -> str:
    """The mode, and what it implies."""
    from keypeg.v1 import cloud_session_pb2

    name = word(cloud_session_pb2.CloudMode, one.mode, "CLOUD_MODE_")
    return MODES.get(name, name)


async def show_it(cli: Cli, link: Link, one: cloud_session_pb2.CloudSession) -> None:
    """Print a cloud session; its user by login, where that is known."""
    from keypeg import names
    from keypeg.cli import resolve

    logins: dict[str, str] = {}
    if one.user and cli.form in ("table", "csv"):
        logins = await resolve.logins(link, names.parent(one.name))
    columns: list[Column[cloud_session_pb2.CloudSession]] = [
        Column("CLOUD SESSION", lambda one: Name(one.name)),
        Column("STATE", state),
        Column("MODE", mode),
        Column("COMPUTER", lambda one: one.host_name),
        Column("DEVICE", lambda one: one.device),
        Column("SINCE", lambda one: moment(one, "open_time")),
        Column("USER", lambda one: logins.get(one.user) or Name(one.user)),
        Column("ACTIVATIONS", lambda one: len(one.activations)),
    ]
    cli.printer.item(one, columns)


@click.group("session", cls=Group)
def session_group() -> None:
    """The cloud session: which device uses the account's cloud licenses.

    \b
    Example:
      keypeg session open
    """


@session_group.command("open")
@click.option(
    "--keep",
    is_flag=True,
    help="Leave it where it is when another computer holds it (exit code 5).",
)
@account_option
@pass_cli
async def open_session(cli: Cli, keep: bool, account: str | None) -> None:
    """Open the cloud session on this computer, or move it here.

    Apps on the computer that had it are told at once.

    \b
    Example:
      keypeg session open --keep
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import cloud_session_service_pb2 as pb
    from keypeg.v1 import cloud_session_service_pb2_grpc as rpc

    async with cli.server() as link:
        answer = await link.call(
            rpc.CloudSessionServiceStub(link.channel).OpenCloudSession,
            pb.OpenCloudSessionRequest(
                name=f"{await link.account(account)}/cloudSession",
                request_id=request_id(),
                device=cli.device(),
                keep_elsewhere=keep,
            ),
        )
        await show_it(cli, link, answer.cloud_session)
    if answer.moved_from_host_name:
        cli.printer.note(f"The cloud session moved here from {answer.moved_from_host_name}.")


@session_group.command("close")
@account_option
@pass_cli
async def close_session(cli: Cli, account: str | None) -> None:
    """Close the cloud session, wherever it is open.

    \b
    Example:
      keypeg session close
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import cloud_session_service_pb2 as pb
    from keypeg.v1 import cloud_session_service_pb2_grpc as rpc

    async with cli.server() as link:
        answer = await link.call(
            rpc.CloudSessionServiceStub(link.channel).CloseCloudSession,
            pb.CloseCloudSessionRequest(
                name=f"{await link.account(account)}/cloudSession",
                request_id=request_id(),
                device=cli.device(),
            ),
        )
        await show_it(cli, link, answer.cloud_session)


@session_group.command("show")
@account_option
@pass_cli
async def show(cli: Cli, account: str | None) -> None:
    """Show the cloud session: who holds it, since when, and its mode.

    \b
    Example:
      keypeg session show -o json
    """
    from keypeg.v1 import cloud_session_service_pb2 as pb
    from keypeg.v1 import cloud_session_service_pb2_grpc as rpc

    async with cli.server() as link:
        answer = await link.call(
            rpc.CloudSessionServiceStub(link.channel).GetCloudSession,
            pb.GetCloudSessionRequest(name=f"{await link.account(account)}/cloudSession"),
        )
        await show_it(cli, link, answer.cloud_session)
