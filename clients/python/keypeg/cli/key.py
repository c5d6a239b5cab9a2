"""`keypeg key`: USB keys plugged into this computer, as its bridge sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.key_care import check, refresh, replace, report_lost
from keypeg.cli.lab import lab_group
from keypeg.cli.lazy import Group
from keypeg.cli.location import LOCATION
from keypeg.cli.values import Column, Name, State, Value, moment, word

if TYPE_CHECKING:
    from keypeg.v1 import key_pb2


def state(one: key_pb2.Key) -> State:
    """The state of a key as a word."""
    from keypeg.v1 import key_pb2

    return State(word(key_pb2.KeyState, one.state, "KEY_STATE_"))


def licenses(one: key_pb2.Key) -> tuple[str, ...]:
    """What the key carries, as it says itself; nothing is verified here."""
    from google.protobuf.message import DecodeError

    from keypeg.cli.values import Product
    from keypeg.v1 import document_pb2

    found = []
    for carried in one.licenses:
        try:
            document = document_pb2.LicenseDocument.FromString(carried.license.payload)
        except DecodeError:
            found.append("unreadable")
        else:
            found.append(Product(document.product))
    return tuple(found)


def called(one: key_pb2.Key) -> str:
    """The model, marked when it is emulated."""
    return f"{one.model} (emulated)" if one.emulated else one.model


def abilities(one: key_pb2.Key) -> Value:
    """What it can do, in words."""
    able = one.capabilities
    size = f" of {able.slot_size_bytes} bytes" if able.slot_size_bytes else ""
    words = tuple(
        text
        for text, there in (
            ("proves silently", able.silent_proof),
            ("counts", able.counter),
            (f"carries {able.slot_count} documents{size}", able.slot_count),
        )
        if there
    )
    return words + tuple(feature.replace("_", " ") for feature in able.features)


ENROLL_SECONDS: Final = 25.0  # slow cards take their time, and people look for the key to touch

KEYS: Final[list[Column[key_pb2.Key]]] = [
    Column("KEY", lambda one: Name(one.name)),
    Column("STATE", state),
    Column("MODEL", called),
    Column("SERIAL", lambda one: one.serial),
    Column("DRIVER", lambda one: one.driver),
    Column("ENROLLED", lambda one: one.enrolled),
    Column("LICENSES", licenses),
    Column("SINCE", lambda one: moment(one, "plug_time")),
    Column("FAULT", lambda one: one.fault),
]
KEY: Final[list[Column[key_pb2.Key]]] = [
    *KEYS,
    Column("CARD", lambda one: one.card_id),
    Column("ABLE", abilities),
]


@click.group("key", cls=Group)
def key_group() -> None:
    """USB keys plugged into this computer.

    \b
    Example:
      keypeg key list
    """


@key_group.command("list")
@pass_cli
async def list_keys(cli: Cli) -> None:
    """List the keys that are plugged in.

    \b
    Example:
      keypeg key list -o jsonl
    """
    from keypeg.v1 import key_service_pb2 as pb
    from keypeg.v1 import key_service_pb2_grpc as rpc

    async with cli.bridge() as bridge:
        stub = rpc.KeyServiceStub(bridge.channel)
        answer = await bridge.call(stub.ListKeys, pb.ListKeysRequest())
    cli.printer.listing(list(answer.keys), KEYS, nothing="No key is plugged in.")
    for problem in answer.problems:
        cli.printer.note(f"warning: {problem}")


@key_group.command("show")
@click.argument("key", required=False)
@pass_cli
async def show(cli: Cli, key: str | None) -> None:
    """Show one key; without KEY, the only one that is plugged in.

    \b
    Example:
      keypeg key show 4f1c22a9
    """
    from keypeg.cli import resolve

    async with cli.bridge() as bridge:
        found = await resolve.key(bridge, key)
    cli.printer.item(found, KEY)


@key_group.command("watch")
@click.option("--count", type=click.IntRange(1), metavar="N", help="Stop after so many lines.")
@pass_cli
async def watch(cli: Cli, count: int | None) -> None:
    """Print keys as they come and go; first those that are there.

    With -o json or jsonl, one JSON object a line. Ends with Ctrl-C.

    \b
    Example:
      keypeg key watch -o jsonl
    """
    import grpc.aio

    from keypeg import calls
    from keypeg.cli import short
    from keypeg.cli.output import as_json
    from keypeg.cli.values import cell
    from keypeg.v1 import key_service_pb2 as pb
    from keypeg.v1 import key_service_pb2_grpc as rpc

    async with cli.bridge() as bridge:
        stream = rpc.KeyServiceStub(bridge.channel).WatchKeys(pb.WatchKeysRequest())
        try:
            seen = 0
            async for answer in stream:
                key, now = answer.key, cli.now()
                if cli.form in ("json", "jsonl"):
                    click.echo(as_json(key, line=True))
                else:
                    names = short.shortened([key.name])
                    parts = [cell(column.value(key), now, names) for column in KEYS[:4]]
                    click.echo(f"{now.astimezone():%H:%M:%S}  " + "  ".join(parts))
                seen += 1
                if seen == count:
                    return
        except grpc.aio.AioRpcError as error:
            raise bridge.named(calls.translate(error), error.details() or "") from error


@key_group.command("enroll")
@click.argument("key", required=False)
@click.option("--name", metavar="TEXT", help="What people call it; without: its model and serial.")
@account_option
@pass_cli
async def enroll(cli: Cli, key: str | None, name: str | None, account: str | None) -> None:
    """Add a key to the account, so that licenses can be activated on it.

    The key makes its own private key, which never leaves it. Without KEY: the
    only one that is plugged in.

    \b
    Example:
      keypeg key enroll --name "Ada's blue key"
    """
    from keypeg import keys
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id

    async with cli.server() as link, cli.bridge() as bridge:
        found = await resolve.key(bridge, key)
        bridge.deadline = ENROLL_SECONDS
        if found.driver == "fido2":
            cli.printer.note("Touch the key when it blinks.")
        location = await keys.enroll_key(
            link,
            bridge,
            found,
            await link.account(account),
            display_name=name or f"{found.model} {found.serial}".strip()[:128],
            request_id=request_id(),
        )
    cli.printer.item(location, LOCATION)
    cli.printer.note(f"{found.name} is enrolled.")


key_group.add_command(lab_group)


for command in (check, refresh, report_lost, replace):
    key_group.add_command(command)
