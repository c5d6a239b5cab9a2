"""`keypeg apikey`: keys with which programs call.

Promises: a key is printed once, when it is made, and never taken from the command line.

Leaves to others: calling with one: KEYPEG_TOKEN takes it in place of a sign-in.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from keypeg.cli.arguments import Duration, account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column, Name, moment

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.v1 import people_pb2

KEYS: Final[list[Column[people_pb2.ApiKey]]] = [
    Column("KEY", lambda one: Name(one.name)),
    Column("NAME", lambda one: one.display_name),
    Column("SCOPES", lambda one: list(one.scopes)),
    Column("ENDS", lambda one: moment(one, "expire_time")),
    Column("LAST USED", lambda one: moment(one, "last_use_time")),
]

user_option: Final = click.option(
    "--user", metavar="USER", help="Whose key, by login or id; your own by default."
)
ttl_option: Final = click.option(
    "--for", "ttl", type=Duration(), metavar="TIME", help="How long it holds; 90 days."
)


@click.group("apikey", cls=Group)
def apikey_group() -> None:
    """Keys with which programs call, each with the scopes it needs.

    A program gives its key as KEYPEG_TOKEN, or as the token of a client.

    \b
    Example:
      keypeg apikey list
    """


@apikey_group.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar="SCOPE",
    help="What it may do, for example licenses:read or seats:free; may be given again.",
)
@ttl_option
@user_option
@account_option
@pass_cli
async def create(
    cli: Cli,
    name: str,
    scopes: tuple[str, ...],
    ttl: timedelta | None,
    user: str | None,
    account: str | None,
) -> None:
    """Make a key for what NAME says; it is printed once.

    It may do what its user may, and of that only what its scopes say.
    docs/people.md lists them.

    \b
    Example:
      keypeg apikey create nightly --scope seats:read --scope reports:read
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import api_key_service_pb2 as pb
    from keypeg.v1 import api_key_service_pb2_grpc as rpc

    async with cli.server() as link:
        request = pb.CreateApiKeyRequest(
            parent=await _user(link, user, account),
            request_id=request_id(),
            display_name=name,
            scopes=scopes,
        )
        if ttl is not None:
            request.ttl.FromTimedelta(ttl)
        answer = await link.call(rpc.ApiKeyServiceStub(link.channel).CreateApiKey, request)
    _show(cli, answer)


@apikey_group.command("list")
@user_option
@account_option
@pass_cli
async def list_keys(cli: Cli, user: str | None, account: str | None) -> None:
    """List the keys of a user, with when each was used last.

    \b
    Example:
      keypeg apikey list --user nightly-report
    """
    async with cli.server() as link:
        found = await _keys(link, await _user(link, user, account))
    cli.printer.listing(found, KEYS, nothing="There are no API keys.")


@apikey_group.command("rotate")
@click.argument("key")
@click.option(
    "--overlap",
    type=Duration(),
    metavar="TIME",
    help="How long the old one goes on; a day. 0 ends it at once.",
)
@ttl_option
@user_option
@account_option
@pass_cli
async def rotate(
    cli: Cli,
    key: str,
    overlap: timedelta | None,
    ttl: timedelta | None,
    user: str | None,
    account: str | None,
) -> None:
    """Make another key in place of KEY, by name or id; it is printed once.

    \b
    Example:
      keypeg apikey rotate nightly --overlap 2h
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import api_key_service_pb2 as pb
    from keypeg.v1 import api_key_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = await _key(link, key, user, account)
        request = pb.RotateApiKeyRequest(name=name, request_id=request_id())
        if overlap is not None:
            request.overlap.FromTimedelta(overlap)
        if ttl is not None:
            request.ttl.FromTimedelta(ttl)
        answer = await link.call(rpc.ApiKeyServiceStub(link.channel).RotateApiKey, request)
    _show(cli, answer)
    ends = moment(answer.previous, "expire_time")
    cli.printer.note(f"The old key ends at {ends:%Y-%m-%d %H:%M} UTC.")


@apikey_group.command("delete")
@click.argument("key")
@user_option
@account_option
@pass_cli
async def delete(cli: Cli, key: str, user: str | None, account: str | None) -> None:
    """Revoke a key, by name or id: it opens nothing any more, at once.

    \b
    Example:
      keypeg apikey delete nightly --user nightly-report
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import api_key_service_pb2 as pb
    from keypeg.v1 import api_key_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = await _key(link, key, user, account)
        await link.call(
            rpc.ApiKeyServiceStub(link.channel).DeleteApiKey,
            pb.DeleteApiKeyRequest(name=name, request_id=request_id()),
        )
    cli.printer.note(f"{name} opens nothing any more.")


def _show(cli: Cli, answer: Any) -> None:
    shown = {"name": answer.api_key.name, "key": answer.key}
    columns: list[Column[dict[str, str]]] = [
        Column("NAME", lambda one: one["name"]),
        Column("KEY", lambda one: one["key"]),
    ]
    cli.printer.item(shown, columns)
    cli.printer.note("The key is not shown again.")


async def _user(link: Link, user: str | None, account: str | None) -> str:
    from keypeg.cli import resolve

    if user is None:
        return (await link.caller()).user.name
    return await resolve.user_name(link, user, account)


async def _keys(link: Link, user: str) -> list[people_pb2.ApiKey]:
    from keypeg.v1 import api_key_service_pb2 as pb
    from keypeg.v1 import api_key_service_pb2_grpc as rpc

    asked = pb.ListApiKeysRequest(parent=user)
    answer = await link.call(rpc.ApiKeyServiceStub(link.channel).ListApiKeys, asked)
    return list(answer.api_keys)


async def _key(link: Link, text: str, user: str | None, account: str | None) -> str:
    from keypeg import names
    from keypeg.cli import resolve

    if names.API_KEY.matches(text):
        return text
    there = await _keys(link, await _user(link, user, account))
    words = {one.name: (one.display_name,) for one in there}
    return resolve.pick("API key", text, words, "keypeg apikey list")
