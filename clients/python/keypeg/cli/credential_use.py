"""`keypeg credential import` and `remove`: a credential file on this computer.

Promises: what is imported is kept readable by its owner only; with --once nothing is kept but in memory, and the device is
taken off the credential when the command has ended. Removing takes it away here whatever the server says.

Leaves to others: making files (credential), signing in (keypeg.credential_sign_in).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.profile import Profile
    from keypeg.v1 import credential_pb2

PASSPHRASE_SIZE: Final = 4_096  # characters read of a passphrase

passphrase_option: Final[Callable[..., Any]] = click.option(
    "--passphrase-file",
    type=click.File("r"),
    metavar="FILE",
    help="Read the passphrase from the first line of FILE; - is standard input.",
)


def read_passphrase(file: TextIO | None, *, new: bool) -> str:
    """A passphrase from a file or by asking; empty where nobody can be asked, and none is needed for a new file."""
    if file is not None:
        return file.read(PASSPHRASE_SIZE).split("\n", 1)[0].rstrip("\r")
    if not sys.stdin.isatty():
        if new:
            return ""
        raise click.UsageError("The file is sealed, and nobody can be asked: --passphrase-file.")
    if not new:
        return str(click.prompt("Passphrase", hide_input=True, err=True))
    asked = "Passphrase (empty for none)"
    return str(
        click.prompt(
            asked,
            default="",
            show_default=False,
            hide_input=True,
            confirmation_prompt=True,
            err=True,
        )
    )


async def whose(link: Link, account: str) -> list[credential_pb2.Credential]:
    """The credentials that the caller may see."""
    from keypeg.v1 import credential_service_pb2 as pb
    from keypeg.v1 import credential_service_pb2_grpc as rpc

    return await link.every(
        rpc.CredentialServiceStub(link.channel).ListCredentials,
        pb.ListCredentialsRequest(parent=account),
        lambda response: response.credentials,
    )


async def credential_name(link: Link, text: str, account: str | None) -> str:
    """The name of a credential; what people call it means it, too."""
    from keypeg import names
    from keypeg.cli import resolve

    if names.CREDENTIAL.matches(text):
        return text
    there = await whose(link, await link.account(account))
    words = {one.name: (one.display_name,) for one in there}
    return resolve.pick("credential", text, words, "keypeg credential list")


@click.command("import", cls=Command, context_settings={"ignore_unknown_options": True})
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@passphrase_option
@click.option("--once", is_flag=True, help="Keep nothing: run COMMAND with it, then take it off.")
@pass_cli
async def import_file(
    cli: Cli, file: Path, command: tuple[str, ...], passphrase_file: TextIO | None, once: bool
) -> None:
    """Use a credential file on this computer.

    The file alone is enough: it says where the server is. Apps and commands
    sign in with it by themselves. On a computer that others use, too, run one
    command with --once, or remove it afterwards.

    \b
    Examples:
      keypeg credential import studio.keypeg
      keypeg --profile guest credential import studio.keypeg
      keypeg credential import studio.keypeg --once -- my-daw song.daw
    """
    from keypeg import credential_file, credential_keeping
    from keypeg import profile as profiles
    from keypeg.credential_sign_in import Place, sign_in

    if once != bool(command):
        raise click.UsageError("--once takes a command to run, and a command takes --once.")
    found = credential_file.load(file)
    passphrase = read_passphrase(passphrase_file, new=False) if found.is_sealed else ""
    signer = await asyncio.to_thread(found.signer, lambda: passphrase)
    name = cli.settings.get("profile") or os.environ.get("KEYPEG_PROFILE") or ""
    document = found.document
    place = Place(
        server=cli.settings.get("server") or ",".join(document.servers),
        ca=document.ca_certificates.encode() or None,
        device=profiles.device_id(),
        host_name=cli.device().host_name,
    )
    if once:
        answer = await sign_in(found, signer, place)
        code = await _run(command, file, passphrase)
        profile = profiles.Profile(
            server=place.server, ca_pem=document.ca_certificates, credential=str(file)
        )
        await _off(cli, replace(profile, token=answer.token), document.credential)
        click.get_current_context().exit(code)
    answer = await sign_in(found, signer, place)
    profile_name = name or _current()
    credential_keeping.keep(profile_name, found, signer, place.server, answer)
    cli.printer.note(
        f"{document.credential} is in use here (profile {profile_name}); `keypeg session open` opens the "
        "account's cloud session."
    )


@click.command("remove", cls=Command)
@click.argument("credential", required=False)
@click.option("--device", metavar="DEVICE", help="Take this device off it, instead of this one.")
@account_option
@pass_cli
async def remove(cli: Cli, credential: str | None, device: str | None, account: str | None) -> None:
    """Take a credential off this computer, or off another with --device.

    Closes the cloud session when this computer has it.

    \b
    Examples:
      keypeg credential remove
      keypeg credential remove studio --device dev-0a1b2c3d
    """
    from keypeg.errors import FieldInvalid, KeypegError

    if device is not None:
        if credential is None:
            raise click.UsageError("Name the credential, too.")
        async with cli.server() as link:
            name = await credential_name(link, credential, account)
            await _remove_device(link, name, device)
        cli.printer.note(f"{device} is taken off {name}.")
        return
    profile = cli.profile()
    if not profile.credential:
        raise FieldInvalid(f"The profile {profile.name} uses no credential file.", field="profile")
    from keypeg import credential_file

    try:
        name = credential_file.load(profile.credential).document.credential
        async with cli.server() as link:
            await _off_at(link, cli, name)
    except KeypegError as error:
        cli.printer.note(f"{error} It is forgotten here.")
    _forget(profile)
    cli.printer.note(f"No credential is in use here (profile {profile.name}).")


def _forget(profile: Profile) -> None:
    from keypeg import profile as profiles

    own = profiles.config_dir() / profiles.CREDENTIAL_DIRECTORY / profile.name
    own.unlink(missing_ok=True)
    if profile.name in profiles.names():
        profiles.save(replace(profile, credential="", account="", user="", token="", ca_pem=""))


async def _off(cli: Cli, profile: Profile, credential: str) -> None:
    """Takes this device off, as far as the server can be reached."""
    from keypeg.cli.link import Link
    from keypeg.errors import KeypegError

    link = Link.to_server(profile)
    try:
        await _off_at(link, cli, credential)
    except KeypegError as error:
        cli.printer.note(f"{error} The device is still listed there.")
    finally:
        await link.close()


async def _off_at(link: Link, cli: Cli, credential: str) -> None:
    from keypeg.cli.link import request_id
    from keypeg.v1 import cloud_session_service_pb2 as pb
    from keypeg.v1 import cloud_session_service_pb2_grpc as rpc

    here = cli.device()
    stub = rpc.CloudSessionServiceStub(link.channel)
    name = f"{credential.partition('/credentials/')[0]}/cloudSession"
    cloud = (
        await link.call(stub.GetCloudSession, pb.GetCloudSessionRequest(name=name))
    ).cloud_session
    if cloud.device == here.id:
        await link.call(
            stub.CloseCloudSession,
            pb.CloseCloudSessionRequest(name=name, request_id=request_id(), device=here),
        )
    await _remove_device(link, credential, here.id)


async def _remove_device(link: Link, credential: str, device: str) -> None:
    from keypeg.cli.link import request_id
    from keypeg.v1 import credential_service_pb2 as pb
    from keypeg.v1 import credential_service_pb2_grpc as rpc

    await link.call(
        rpc.CredentialServiceStub(link.channel).RemoveCredentialDevice,
        pb.RemoveCredentialDeviceRequest(name=credential, request_id=request_id(), device=device),
    )


async def _run(command: tuple[str, ...], file: Path, passphrase: str) -> int:
    """Runs a command by the file; its exit code. A passphrase is in memory that only the command has."""
    environment = {key: value for key, value in os.environ.items() if key != "KEYPEG_TOKEN"}
    environment["KEYPEG_CREDENTIAL"] = str(file)
    passed: tuple[int, ...] = ()
    if passphrase:
        if not hasattr(os, "memfd_create"):
            raise click.UsageError(
                "A sealed file can not be used with --once on this system; import it, and remove it afterwards."
            )
        descriptor = os.memfd_create("passphrase", 0)
        os.write(descriptor, passphrase.encode())
        environment["KEYPEG_CREDENTIAL_PASSPHRASE_FILE"] = f"/proc/self/fd/{descriptor}"
        passed = (descriptor,)
    try:
        process = await asyncio.create_subprocess_exec(*command, env=environment, pass_fds=passed)
    except OSError as error:
        raise click.UsageError(f"{command[0]} can not be started: {error.strerror}.") from error
    finally:
        for descriptor in passed:
            os.close(descriptor)
    with contextlib.suppress(asyncio.CancelledError):
        return await process.wait()
    process.terminate()
    return await process.wait()


def _current() -> str:
    from keypeg import profile as profiles

    return profiles.load().name
