"""`keypeg session`: the account's cloud session, and which device holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.session_members import end, members, resume
from keypeg.cli.session_of import account_of, member_option, name_of
from keypeg.cli.session_watch import watch
from keypeg.cli.values import Column, Name, State, moment, word

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.v1 import cloud_session_pb2

MODES: Final = {"automatic": "CLOUD_MODE_AUTOMATIC", "a": "CLOUD_MODE_AUTOMATIC"} | {
    "managed": "CLOUD_MODE_MANAGED",
    "m": "CLOUD_MODE_MANAGED",
}


SWITCHED: Final = "The account is in managed mode now; `keypeg session mode automatic` leads back."


def state(one: cloud_session_pb2.CloudSession) -> State:
    """Open or closed."""
    from keypeg.v1 import cloud_session_pb2

    return State(word(cloud_session_pb2.CloudSessionState, one.state, "CLOUD_SESSION_STATE_"))


def mode(one: cloud_session_pb2.CloudSession) -> str:
    """The mode, and what it implies."""
    from keypeg.v1 import cloud_session_pb2

    name = word(cloud_session_pb2.CloudMode, one.mode, "CLOUD_MODE_")
    return f"{one.mode_letter or name[:1].upper()}, {one.implies or name}"


async def show_it(cli: Cli, link: Link, one: cloud_session_pb2.CloudSession) -> None:
    """Print a cloud session; its user by login, where that is known."""
    from keypeg.cli import resolve

    logins: dict[str, str] = {}
    if one.user and cli.form in ("table", "csv"):
        logins = await resolve.logins(link, account_of(one.name))
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
    if one.suspend_reason:
        cli.printer.note(f"An administrator has suspended it: {one.suspend_reason}")


@click.group("session", cls=Group)
def session_group() -> None:
    """The cloud session: which device uses the account's cloud licenses.

    Its mode is A (automatic: every free license is in the cloud while it is
    open) or M (managed: only what was chosen is there). In a group each member has
    their own.

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

    When another computer has it, it is moved here and closed: apps there are
    told at once. In automatic mode all licenses in the cloud are free then; in
    managed mode they stay reserved.

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
    if answer.moved_from_host_name:
        cli.printer.note(
            f"The cloud session was moved here from {answer.moved_from_host_name}, and closed."
        )


@session_group.command("mode")
@click.argument("wanted", metavar="MODE", type=click.Choice(sorted(MODES), case_sensitive=False))
@member_option
@account_option
@pass_cli
async def set_mode(cli: Cli, wanted: str, member: str | None, account: str | None) -> None:
    """Set who chooses what is in the cloud: automatic (a) or managed (m).

    Automatic: while the cloud session is open, every free license is in the
    cloud; closing it frees them all. Managed: only what was chosen (`add`,
    `remove`) is there; closing keeps it reserved.

    To free all licenses, whatever the mode was: `keypeg session open`,
    `keypeg session mode automatic`, `keypeg session close`.

    \b
    Example:
      keypeg session mode managed
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import cloud_session_pb2
    from keypeg.v1 import cloud_session_service_pb2 as pb
    from keypeg.v1 import cloud_session_service_pb2_grpc as rpc

    async with cli.server() as link:
        answer = await link.call(
            rpc.CloudSessionServiceStub(link.channel).SetCloudSessionMode,
            pb.SetCloudSessionModeRequest(
                name=await name_of(link, account, member),
                request_id=request_id(),
                mode=cloud_session_pb2.CloudMode.Value(MODES[wanted.lower()]),
            ),
        )
        await show_it(cli, link, answer.cloud_session)


@session_group.command("add")
@click.argument("licenses", metavar="LICENSE...", nargs=-1, required=True)
@member_option
@account_option
@pass_cli
async def add(cli: Cli, licenses: tuple[str, ...], member: str | None, account: str | None) -> None:
    """Choose licenses for the cloud: all that are named, or none.

    \b
    Example:
      keypeg session add acme/cad acme/eq
    """
    await _choose(cli, account, member, add=licenses)


@session_group.command("remove")
@click.argument("licenses", metavar="LICENSE...", nargs=-1, required=True)
@member_option
@account_option
@pass_cli
async def remove(
    cli: Cli, licenses: tuple[str, ...], member: str | None, account: str | None
) -> None:
    """Take licenses out of the cloud, free for other locations.

    The account is in managed mode from then on; `keypeg session mode automatic`
    leads back.

    \b
    Example:
      keypeg session remove acme/cad
    """
    await _choose(cli, account, member, remove=licenses)


async def _choose(
    cli: Cli,
    account: str | None,
    member: str | None,
    *,
    add: tuple[str, ...] = (),
    remove: tuple[str, ...] = (),
) -> None:
    from keypeg import names
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import cloud_session_service_pb2 as pb
    from keypeg.v1 import cloud_session_service_pb2_grpc as rpc

    async with cli.server() as link:
        added = [await resolve.license_name(link, one, account) for one in add]
        removed = [await resolve.license_name(link, one, account) for one in remove]
        owner = names.parent((added + removed)[0])
        answer = await link.call(
            rpc.CloudSessionServiceStub(link.channel).ChooseCloudLicenses,
            pb.ChooseCloudLicensesRequest(
                name=await name_of(link, owner, member),
                request_id=request_id(),
                add_licenses=dict.fromkeys(added),
                remove_licenses=dict.fromkeys(removed),
            ),
        )
        await show_it(cli, link, answer.cloud_session)
    if answer.switched_to_managed:
        cli.printer.note(SWITCHED)


@session_group.command("show")
@member_option
@account_option
@pass_cli
async def show(cli: Cli, member: str | None, account: str | None) -> None:
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
            pb.GetCloudSessionRequest(name=await name_of(link, account, member)),
        )
        await show_it(cli, link, answer.cloud_session)


for command in (watch, members, end, resume):
    session_group.add_command(command)
