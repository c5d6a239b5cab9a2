"""`keypeg credential`: files that sign in for one user, and the devices on which an account is in use.

Promises: the private key is made here and goes into the file, never to the server; a passphrase comes from a prompt or
a file, never from the command line; a file that is there is never written over.

Leaves to others: using a file on a computer (credential_use), the file itself (keypeg.credential_file).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from keypeg.cli.arguments import Duration, account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.credential_active import active
from keypeg.cli.credential_making import written
from keypeg.cli.credential_use import (
    credential_name,
    import_file,
    passphrase_option,
    read_passphrase,
    remove,
    whose,
)
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column, Name, moment

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.v1 import credential_pb2, document_pb2

CREDENTIALS: Final[list[Column[Any]]] = [
    Column("CREDENTIAL", lambda one: Name(one.name)),
    Column("CALLED", lambda one: one.display_name),
    Column("FOR", lambda one: Name(one.user)),
    Column("UNTIL", lambda one: moment(one, "not_after_time")),
    Column("OVERLAP UNTIL", lambda one: moment(one, "overlap_end_time")),
    Column("LAST USED", lambda one: moment(one, "last_use_time")),
    Column("DEVICES", lambda one: f"{len(one.devices)} of {one.device_limit}"),
]
DEVICES: Final[list[Column[Any]]] = [
    Column("DEVICE", lambda one: one.device),
    Column("COMPUTER", lambda one: one.host_name),
    Column("SINCE", lambda one: moment(one, "first_use_time")),
    Column("LAST USED", lambda one: moment(one, "last_use_time")),
    Column("ACTIVE UNTIL", lambda one: moment(one, "active_until_time")),
]
out_option: Final[Callable[..., Any]] = click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write the file; it must not be there yet.",
)


@click.group("credential", cls=Group)
def credential_group() -> None:
    """Files that open the account's cloud licenses, without the password.

    \b
    Example:
      keypeg credential create studio --out studio.keypeg
    """


@credential_group.command("create")
@click.argument("called", metavar="NAME")
@out_option
@click.option("--for", "user", metavar="USER", help="For whom it signs in, instead of you.")
@click.option("--ttl", type=Duration(), metavar="TIME", help="For how long, such as 30d.")
@click.option("--devices", type=int, default=0, metavar="N", help="On so many devices (5).")
@click.option(
    "--also",
    multiple=True,
    metavar="HOST:PORT",
    help="Another name under which the server is reached; may be repeated.",
)
@passphrase_option
@account_option
@pass_cli
async def create(
    cli: Cli,
    called: str,
    out: Path,
    user: str | None,
    ttl: timedelta | None,
    devices: int,
    also: tuple[str, ...],
    passphrase_file: TextIO | None,
    account: str | None,
) -> None:
    """Make a credential file.

    It opens the account's cloud session, and nothing else. Seal it with a
    passphrase if it travels.

    \b
    Examples:
      keypeg credential create studio --out studio.keypeg --devices 3
      keypeg credential create course --for eve --ttl 7d --out eve.keypeg
    """
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import credential_pb2
    from keypeg.v1 import credential_service_pb2 as pb
    from keypeg.v1 import credential_service_pb2_grpc as rpc

    passphrase = read_passphrase(passphrase_file, new=True)
    profile = cli.profile()
    servers = [one.strip() for one in profile.server.split(",")] + list(also)
    certificates = (profile.ca_certificates() or b"").decode("ascii", "replace")

    async with cli.server() as link:
        parent = await link.account(account)

        async def make(key: document_pb2.PublicKey) -> Any:
            request = pb.CreateCredentialRequest(
                parent=parent,
                request_id=request_id(),
                display_name=called,
                public_key=key,
                scopes=[credential_pb2.CREDENTIAL_SCOPE_CLOUD_SESSION],
                device_limit=devices,
                servers=dict.fromkeys(servers),
                ca_certificates=certificates,
                user=await resolve.user_name(link, user, account) if user else "",
            )
            if ttl is not None:
                request.ttl.FromTimedelta(ttl)
            return await link.call(
                rpc.CredentialServiceStub(link.channel).CreateCredential, request
            )

        made = await written(out, passphrase, make)
    cli.printer.item(made, CREDENTIALS)
    cli.printer.note(
        f"Wrote {out}. Whoever has it can use the cloud licenses: `keypeg credential import {out}`."
    )


@credential_group.command("list")
@account_option
@pass_cli
async def list_credentials(cli: Cli, account: str | None) -> None:
    """List credentials: all of the account for its administrators.

    \b
    Example:
      keypeg credential list
    """
    async with cli.server() as link:
        found = await whose(link, await link.account(account))
    cli.printer.listing(found, CREDENTIALS, nothing="There are no credentials.")


@credential_group.command("show")
@click.argument("credential")
@account_option
@pass_cli
async def show(cli: Cli, credential: str, account: str | None) -> None:
    """Show the devices of a credential.

    \b
    Example:
      keypeg credential show studio
    """
    async with cli.server() as link:
        one = await _get(link, await credential_name(link, credential, account))
    cli.printer.listing(one.devices, DEVICES, nothing="It is on no device.")


@credential_group.command("rotate")
@click.argument("credential")
@out_option
@click.option(
    "--overlap", type=Duration(), metavar="TIME", help="For how long the old file works, too (7d)."
)
@passphrase_option
@account_option
@pass_cli
async def rotate(
    cli: Cli,
    credential: str,
    out: Path,
    overlap: timedelta | None,
    passphrase_file: TextIO | None,
    account: str | None,
) -> None:
    """Make a new file of a credential; the old one works until the overlap ends.

    \b
    Example:
      keypeg credential rotate studio --overlap 14d --out studio-2.keypeg
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import credential_service_pb2 as pb
    from keypeg.v1 import credential_service_pb2_grpc as rpc

    passphrase = read_passphrase(passphrase_file, new=True)
    async with cli.server() as link:
        name = await credential_name(link, credential, account)

        async def make(key: document_pb2.PublicKey) -> Any:
            request = pb.RotateCredentialRequest(name=name, request_id=request_id(), public_key=key)
            if overlap is not None:
                request.overlap.FromTimedelta(overlap)
            return await link.call(
                rpc.CredentialServiceStub(link.channel).RotateCredential, request
            )

        made = await written(out, passphrase, make)
    cli.printer.item(made, CREDENTIALS)


@credential_group.command("reset")
@click.argument("credential")
@out_option
@passphrase_option
@account_option
@pass_cli
async def reset(
    cli: Cli,
    credential: str,
    out: Path,
    passphrase_file: TextIO | None,
    account: str | None,
) -> None:
    """Cut off every holder of a credential at once, and make a new file.

    \b
    Example:
      keypeg credential reset studio --out studio-new.keypeg
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import credential_service_pb2 as pb
    from keypeg.v1 import credential_service_pb2_grpc as rpc

    passphrase = read_passphrase(passphrase_file, new=True)
    async with cli.server() as link:
        name = await credential_name(link, credential, account)

        async def make(key: document_pb2.PublicKey) -> Any:
            return await link.call(
                rpc.CredentialServiceStub(link.channel).ResetCredential,
                pb.ResetCredentialRequest(name=name, request_id=request_id(), public_key=key),
            )

        made = await written(out, passphrase, make)
    cli.printer.item(made, CREDENTIALS)
    cli.printer.note(f"Nobody holds {name} but who has {out}.")


@credential_group.command("delete")
@click.argument("credential")
@account_option
@pass_cli
async def delete(cli: Cli, credential: str, account: str | None) -> None:
    """Take a credential away, and cut off every holder at once.

    \b
    Example:
      keypeg credential delete studio
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import credential_service_pb2 as pb
    from keypeg.v1 import credential_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = await credential_name(link, credential, account)
        await link.call(
            rpc.CredentialServiceStub(link.channel).DeleteCredential,
            pb.DeleteCredentialRequest(name=name, request_id=request_id()),
        )
    cli.printer.note(f"{name} is taken away.")


credential_group.add_command(active)
credential_group.add_command(import_file)
credential_group.add_command(remove)


async def _get(link: Link, name: str) -> credential_pb2.Credential:
    from keypeg.v1 import credential_service_pb2 as pb
    from keypeg.v1 import credential_service_pb2_grpc as rpc

    stub = rpc.CredentialServiceStub(link.channel)
    return (await link.call(stub.GetCredential, pb.GetCredentialRequest(name=name))).credential
