"""`keypeg session watch`: what happens to a cloud session.

Promises: a line for each change at once, for people or as JSON; watching goes on over lost connections and
restarts of the server, and says so; after them, how the cloud session is then.

Leaves to others: showing a cloud session once (session.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from keypeg.cli import short
from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command
from keypeg.cli.output import as_json
from keypeg.cli.values import moment, word

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.v1 import cloud_session_pb2, cloud_session_service_pb2


@click.command("watch", cls=Command)
@account_option
@pass_cli
async def watch(cli: Cli, account: str | None) -> None:
    """Print what happens to the cloud session, until Ctrl-C.

    First how it is, then a line for each change. With -o json or jsonl each
    line is a message of the contract (WatchCloudSessionResponse).

    \b
    Examples:
      keypeg session watch
      keypeg session watch -o jsonl | jq .cloud_session.host_name
    """
    if cli.form == "csv":
        raise click.UsageError("What goes on has no end, and is no table: use -o jsonl.")
    async with cli.server() as link:
        await _Watcher(cli, link, await link.account(account)).run()


class _Watcher:
    """Prints one stream after the other."""

    def __init__(self, cli: Cli, link: Link, account: str) -> None:
        self._cli = cli
        self._link = link
        self._account = account
        self._logins: Mapping[str, str] = {}
        self._shown = ""  # how it was when that was last printed

    async def run(self) -> None:
        """Until it is canceled, or the server says that there is nothing to watch."""
        async for response in self._link.watch(self._begin, self._cli.printer.note):
            self._print(response)

    async def _begin(self) -> Any:
        from keypeg.cli import resolve
        from keypeg.v1 import cloud_session_service_pb2 as pb
        from keypeg.v1 import cloud_session_service_pb2_grpc as rpc

        if self._cli.form == "table":
            self._logins = await resolve.logins(self._link, self._account)
        stub = rpc.CloudSessionServiceStub(self._link.channel)
        return stub.WatchCloudSession(
            pb.WatchCloudSessionRequest(name=f"{self._account}/cloudSession")
        )

    def _print(self, response: cloud_session_service_pb2.WatchCloudSessionResponse) -> None:
        if self._cli.form != "table":
            click.echo(as_json(response, line=True))
            return
        if response.missed_count:
            self._cli.printer.note(f"{response.missed_count} changes came too fast to be told.")
        for change in response.changes:
            click.echo(line(change, self._logins))
        shown = _as_it_is(response.cloud_session)
        if shown != self._shown:
            self._shown = shown
            click.echo(shown)


def line(change: cloud_session_pb2.CloudChange, logins: Mapping[str, str]) -> str:
    """A change, for people."""
    from keypeg.v1 import cloud_session_pb2

    at = moment(change, "time")
    who = logins.get(change.user) or short.last(change.user)
    computer = change.host_name or change.device
    what = {
        "opened": f"opened on {computer}",
        "moved": f"moved to {computer}",
        "closed": f"closed on {computer}",
        "mode": f"mode {word(cloud_session_pb2.CloudMode, change.mode, 'CLOUD_MODE_')}",
        "activated": f"{short.product(change.product)} activated",
        "freed": f"{short.product(change.product)} freed",
    }
    kind = word(cloud_session_pb2.CloudChangeKind, change.kind, "CLOUD_CHANGE_KIND_")
    by = f", by {who}" if who else ""
    return f"{at.astimezone().strftime('%Y-%m-%d %H:%M:%S') if at else '-'}  {what.get(kind, kind)}{by}"


def _as_it_is(one: cloud_session_pb2.CloudSession) -> str:
    from keypeg.cli.session import mode, state

    where = f" on {one.host_name or one.device}" if one.device else ""
    count = len(one.activations)
    licenses = f"{count} license{'' if count == 1 else 's'} in the cloud"
    return f"{state(one)}{where}, {licenses}; mode {mode(one)}"
