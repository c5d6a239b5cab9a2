"""`keypeg session members`, `end` and `resume`: the cloud sessions of a group, for its administrators.

Promises: who has what open where; ending one says why, and is asked for by the login of the member.

Leaves to others: one's own cloud session (session.py).
"""

from __future__ import annotations

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command
from keypeg.cli.values import Column, Name, moment


@click.command("members", cls=Command)
@account_option
@pass_cli
async def members(cli: Cli, account: str | None) -> None:
    """List the cloud sessions of a group: who has what open where.

    Members who have never used theirs are left out.

    \b
    Example:
      keypeg session members
    """
    from keypeg.cli import resolve
    from keypeg.cli.session import state
    from keypeg.v1 import cloud_session_pb2
    from keypeg.v1 import cloud_session_service_pb2 as pb
    from keypeg.v1 import cloud_session_service_pb2_grpc as rpc

    async with cli.server() as link:
        owner = await link.account(account)
        found = await link.every(
            rpc.CloudSessionServiceStub(link.channel).ListCloudSessions,
            pb.ListCloudSessionsRequest(parent=owner),
            lambda response: response.cloud_sessions,
        )
        logins = await resolve.logins(link, owner)
    columns: list[Column[cloud_session_pb2.CloudSession]] = [
        Column("MEMBER", lambda one: logins.get(one.member) or Name(one.member)),
        Column("STATE", state),
        Column("MODE", lambda one: one.mode_letter),
        Column("COMPUTER", lambda one: one.host_name),
        Column("SINCE", lambda one: moment(one, "open_time")),
        Column("ACTIVATIONS", lambda one: len(one.activations)),
        Column("SUSPENDED", lambda one: one.suspend_reason),
    ]
    nothing = "No member has used the cloud; an account that is no group has no members there."
    cli.printer.listing(found, columns, nothing=nothing)


@click.command("end", cls=Command)
@click.argument("member", metavar="USER")
@click.option("--reason", metavar="TEXT", required=True, help="Why; the member's apps say it.")
@click.option("--suspend", is_flag=True, help="Keep the member from opening it again.")
@account_option
@pass_cli
async def end(cli: Cli, member: str, reason: str, suspend: bool, account: str | None) -> None:
    """End the cloud session of a member of a group, wherever it is open.

    Apps there stop at once and say why; what the member had in the cloud is free
    for others.

    \b
    Example:
      keypeg session end bea --reason "on leave until May"
    """
    from keypeg.cli.link import request_id
    from keypeg.cli.session import show_it
    from keypeg.cli.session_of import name_of
    from keypeg.v1 import cloud_session_service_pb2 as pb
    from keypeg.v1 import cloud_session_service_pb2_grpc as rpc

    async with cli.server() as link:
        answer = await link.call(
            rpc.CloudSessionServiceStub(link.channel).EndCloudSession,
            pb.EndCloudSessionRequest(
                name=await name_of(link, account, member),
                request_id=request_id(),
                reason=reason,
                suspend=suspend,
            ),
        )
        await show_it(cli, link, answer.cloud_session)
    if suspend:
        cli.printer.note(f"{member} can open it again after: keypeg session resume {member}")


@click.command("resume", cls=Command)
@click.argument("member", metavar="USER")
@account_option
@pass_cli
async def resume(cli: Cli, member: str, account: str | None) -> None:
    """Let a member whose cloud session was suspended open it again.

    \b
    Example:
      keypeg session resume bea
    """
    from keypeg.cli.link import request_id
    from keypeg.cli.session import show_it
    from keypeg.cli.session_of import name_of
    from keypeg.v1 import cloud_session_service_pb2 as pb
    from keypeg.v1 import cloud_session_service_pb2_grpc as rpc

    async with cli.server() as link:
        answer = await link.call(
            rpc.CloudSessionServiceStub(link.channel).ResumeCloudSession,
            pb.ResumeCloudSessionRequest(
                name=await name_of(link, account, member), request_id=request_id()
            ),
        )
        await show_it(cli, link, answer.cloud_session)
