"""The commands `keypegd root`: what is done with a publisher's root key, on a computer without a server.

Promises: no server, database or network is needed. What the root is about to sign is shown first, and asked about on a
terminal. A passphrase comes from a file or from a person, never from the command line.

Leaves to others: what is signed (service/delegations.py), files of root keys (root_keys.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from keypeg_server.command_line import EXIT_ERROR, EXIT_USAGE, fail

FILE = click.Path(path_type=Path, dir_okay=False)
ROOT_KEY = click.option("--root-key", type=FILE, required=True, help="The file of the root key.")
PASSPHRASE = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The passphrase of a sealed root key, in the first line; asked for otherwise.",
)
YES = click.option("--yes", is_flag=True, help="Sign without asking.")


@click.group()
def root() -> None:
    """Use a publisher's root key, away from the server."""


@root.command()
@ROOT_KEY
@click.option("--seal", is_flag=True, help="Seal it with a passphrase.")
@PASSPHRASE
def create(root_key: Path, seal: bool, passphrase_file: Path | None) -> None:
    """Make a root key."""
    from keypeg_server import root_keys

    sealing = seal or passphrase_file is not None
    with sentences():
        made = root_keys.create(root_key, new_passphrase(passphrase_file) if sealing else None)
    click.echo(f"root key file:     {root_key}  ({'sealed' if sealing else 'not sealed'})")
    click.echo(f"root public key:   {made.public_key.key.hex()}")


@root.command()
@ROOT_KEY
def show(root_key: Path) -> None:
    """Print the public key, which apps pin."""
    from keypeg_server import root_keys

    with sentences():
        click.echo(root_keys.public_key(root_key).hex())


@root.command()
@ROOT_KEY
@PASSPHRASE
def seal(root_key: Path, passphrase_file: Path | None) -> None:
    """Seal a root key with a passphrase.

    What stood in the file before may be read from the disk still: do it
    where nobody else has been.
    """
    from keypeg_server import root_keys

    with sentences():
        root_keys.public_key(root_key)
        public = root_keys.seal(root_key, new_passphrase(passphrase_file))
    click.echo(f"sealed:            {root_key}")
    click.echo(f"root public key:   {public.hex()}")


@root.command()
@ROOT_KEY
@PASSPHRASE
@YES
@click.argument("request", type=FILE)
@click.argument("response", type=FILE)
def sign(
    root_key: Path, passphrase_file: Path | None, yes: bool, request: Path, response: Path
) -> None:
    """Sign the request of a server; its delegation goes to RESPONSE."""
    from keypeg.envelope import from_text, to_text
    from keypeg_server import root_keys
    from keypeg_server.service.delegations import requested, signed
    from keypeg_server.tls import write_public

    with sentences():
        envelope = from_text(request.read_text(encoding="ascii"))
        wanted = requested(envelope)
        tell(wanted)
        if not yes:
            if not sys.stdin.isatty():
                fail("Nobody is there to confirm that; say --yes.", EXIT_USAGE)
            click.confirm("Sign this?", abort=True)
        signer = root_keys.read(root_key, lambda: passphrase(passphrase_file))
        write_public(response, to_text(signed(envelope, signer)).encode())
    click.echo(f"signed by:         {signer.public_key.key.hex()}")
    click.echo(f"next:              keypegd key install --data DIR {response}, on the server")


def tell(delegation: object) -> None:
    """Show a delegation to a person."""
    from keypeg.v1.document_pb2 import Delegation
    from keypeg_server.service.delegations import entries

    assert isinstance(delegation, Delegation)
    click.echo(f"publisher:         {delegation.publisher}")
    click.echo(f"generation:        {delegation.generation}")
    for one in entries(delegation.keys):
        may = ", ".join(one.purposes)
        click.echo(
            f"key:               {one.key_id}  {one.begins:%Y-%m-%d} to {one.ends:%Y-%m-%d}  {may}"
        )


def passphrase(file: Path | None) -> str:
    """The passphrase of a sealed key."""
    if file is not None:
        lines = file.read_text(encoding="utf-8").splitlines()
        return lines[0] if lines else ""
    if not sys.stdin.isatty():
        fail("The root key is sealed; give its passphrase with --passphrase-file.", EXIT_USAGE)
    answer: str = click.prompt("Passphrase of the root key", hide_input=True)
    return answer


def new_passphrase(file: Path | None) -> str:
    """A passphrase to seal with; a person types it twice."""
    if file is not None:
        return passphrase(file)
    if not sys.stdin.isatty():
        fail("Give the passphrase with --passphrase-file.", EXIT_USAGE)
    answer: str = click.prompt(
        "New passphrase of the root key", hide_input=True, confirmation_prompt=True
    )
    return answer


def asking(file: Path | None) -> Callable[[], str]:
    """The passphrase, when it is needed."""
    return lambda: passphrase(file)


@contextmanager
def sentences() -> Iterator[None]:
    """End with a sentence for what is foreseen to go wrong."""
    from keypeg.errors import KeypegError
    from keypeg_server.opened import StartError
    from keypeg_server.secret_files import SecretError
    from keypeg_server.service.delegations import DelegationRefused
    from keypeg_server.storage.snapshot import SnapshotError

    try:
        yield
    except (KeypegError, StartError, SecretError, DelegationRefused, SnapshotError) as error:
        fail(str(error), EXIT_ERROR)
    except UnicodeDecodeError as error:
        fail(f"A file is no text ({error.reason}); is it the right one?", EXIT_ERROR)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}.", EXIT_ERROR)
