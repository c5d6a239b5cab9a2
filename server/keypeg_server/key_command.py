"""The commands `keypegd key`, and `keypegd delegate`: the keys that a server signs with, running or not.

Promises: what the root has to sign goes to a request file, or is signed at once where the root key is at hand. Nothing is
printed that is secret.

Leaves to others: the work (rotating.py), the root's side (root_command.py).
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keypeg_server.command_line import (
    DATA,
    DATABASE,
    DURATION,
    EXIT_USAGE,
    OUTPUT,
    SETTINGS,
    fail,
    read_settings,
)
from keypeg_server.root_command import FILE, PASSPHRASE, asking, sentences, tell

if TYPE_CHECKING:
    from keypeg.envelope import Signer
    from keypeg.v1.document_pb2 import Envelope
    from keypeg_server.clock import SystemClock

_PUBLISHER = click.option("--publisher", required=True, help="The publisher's id.")
_ROOT_KEY = click.option(
    "--root-key", type=FILE, help="The publisher's root key, where it is at hand."
)
_REQUEST = click.option(
    "--request", type=FILE, help="Write what the root has to sign here, for `keypegd root sign`."
)


@click.group()
def key() -> None:
    """The keys that a server signs with."""


@key.command("list")
@DATA
@SETTINGS
@DATABASE
@_PUBLISHER
@OUTPUT
def list_keys(
    data: Path, settings_file: Path | None, database: str | None, publisher: str, output: str
) -> None:
    """List the keys of the delegation, and which of them signs."""
    settings = read_settings(data, settings_file, database)
    with sentences():
        from keypeg_server.clock import SystemClock
        from keypeg_server.rotating import here, standing
        from keypeg_server.service.delegations import entries, signing_key
        from keypeg_server.signers import Signers

        now = standing(data, settings, publisher)
        mine = here(Signers(data, settings), now)
        signs = signing_key(now.delegation, mine, SystemClock().wall())
        named = entries(now.delegation.keys)
        waiting = sorted(mine - {one.key_id for one in named})
    if output == "json":
        keys = [
            {
                "key_id": one.key_id,
                "begins": one.begins.isoformat(),
                "ends": one.ends.isoformat(),
                "purposes": list(one.purposes),
                "here": one.key_id in mine,
                "signs": one.key_id == signs and "grant" in one.purposes,
            }
            for one in named
        ]
        found = {"generation": now.delegation.generation, "keys": keys, "waiting": waiting}
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"generation {now.delegation.generation}")
    for one in named:
        state = "not here"
        if one.key_id in mine:
            state = "signs" if one.key_id == signs and "grant" in one.purposes else "here"
        may = ",".join(one.purposes)
        click.echo(f"{one.key_id}  {one.begins:%Y-%m-%d}  {one.ends:%Y-%m-%d}  {may:18}  {state}")
    for id in waiting:
        click.echo(f"{id}  waits for the root")


@key.command()
@DATA
@SETTINGS
@DATABASE
@_PUBLISHER
@_ROOT_KEY
@PASSPHRASE
@_REQUEST
@click.option(
    "--overlap",
    type=DURATION,
    default="30d",
    show_default=True,
    help="For how long apps believe grants that the keys before have signed; their license documents stay good.",
)
@click.option(
    "--withdraw",
    multiple=True,
    metavar="KEY_ID",
    help="Nobody is to believe this key any more: all that it signed ends at once. May be repeated.",
)
@click.option(
    "--pkcs11",
    metavar="LABEL",
    help="The new key is this one of the PKCS#11 token of the settings, made there when it is not.",
)
def rotate(
    data: Path,
    settings_file: Path | None,
    database: str | None,
    publisher: str,
    root_key: Path | None,
    passphrase_file: Path | None,
    request: Path | None,
    overlap: timedelta,
    withdraw: tuple[str, ...],
    pkcs11: str | None,
) -> None:
    """Sign with a new key from now on.

    Beside a running server or without one. Apps notice nothing: they
    believe the key before for as long as --overlap says.
    """
    settings = read_settings(data, settings_file, database)
    with sentences():
        from keypeg_server.clock import SystemClock
        from keypeg_server.rotating import asked, new_signer, standing
        from keypeg_server.signers import Signers

        _check(root_key, request)
        clock = SystemClock()
        root = _root(root_key, passphrase_file)
        now = standing(data, settings, publisher)
        _check_root(root, now.root, root_key)
        signer = new_signer(Signers(data, settings), now, pkcs11)
        envelope = asked(now, signer, clock, overlap, withdraw)
        _finish(data, settings, clock, envelope, root, request)


@key.command()
@DATA
@SETTINGS
@DATABASE
@_PUBLISHER
@_ROOT_KEY
@PASSPHRASE
@_REQUEST
def renew(
    data: Path,
    settings_file: Path | None,
    database: str | None,
    publisher: str,
    root_key: Path | None,
    passphrase_file: Path | None,
    request: Path | None,
) -> None:
    """Sign with the same key for two more years."""
    _renew(data, settings_file, database, publisher, root_key, passphrase_file, request)


@click.command()
@DATA
@SETTINGS
@DATABASE
@_PUBLISHER
@click.option(
    "--root-key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="The publisher's root key.",
)
@PASSPHRASE
def delegate(
    data: Path,
    settings_file: Path | None,
    database: str | None,
    publisher: str,
    root_key: Path,
    passphrase_file: Path | None,
) -> None:
    """Have the root sign for this server's key.

    For two more years; `keypegd key renew` with the root key at hand.
    """
    _renew(data, settings_file, database, publisher, root_key, passphrase_file, None)


@key.command()
@DATA
@SETTINGS
@DATABASE
@click.argument("response", type=FILE)
def install(data: Path, settings_file: Path | None, database: str | None, response: Path) -> None:
    """Take the root's answer to a request, from the file RESPONSE."""
    settings = read_settings(data, settings_file, database)
    with sentences():
        from keypeg.envelope import from_text
        from keypeg_server.clock import SystemClock

        envelope = from_text(response.read_text(encoding="ascii"))
        _deliver(data, settings, SystemClock(), envelope)


def _renew(
    data: Path,
    settings_file: Path | None,
    database: str | None,
    publisher: str,
    root_key: Path | None,
    passphrase_file: Path | None,
    request: Path | None,
) -> None:
    settings = read_settings(data, settings_file, database)
    with sentences():
        from keypeg_server.clock import SystemClock
        from keypeg_server.rotating import asked, present_signer, standing
        from keypeg_server.service.delegations import OVERLAP
        from keypeg_server.signers import Signers

        _check(root_key, request)
        clock = SystemClock()
        root = _root(root_key, passphrase_file)
        now = standing(data, settings, publisher)
        _check_root(root, now.root, root_key)
        envelope = asked(now, present_signer(Signers(data, settings), now, clock), clock, OVERLAP)
        _finish(data, settings, clock, envelope, root, request)


def _check(root_key: Path | None, request: Path | None) -> None:
    if (root_key is None) == (request is None):
        fail("Say either --root-key or --request: who signs, or where to ask.", EXIT_USAGE)


def _root(root_key: Path | None, passphrase_file: Path | None) -> Signer | None:
    from keypeg_server import root_keys

    return None if root_key is None else root_keys.read(root_key, asking(passphrase_file))


def _check_root(root: Signer | None, known: bytes, root_key: Path | None) -> None:
    from keypeg_server.opened import StartError

    if root is not None and root.public_key.key != known:
        raise StartError(f"{root_key} is not the root key of this publisher.")


def _finish(
    data: Path,
    settings: Any,
    clock: SystemClock,
    envelope: Envelope,
    root: Signer | None,
    request: Path | None,
) -> None:
    """Sign and deliver, or write the request."""
    from keypeg.envelope import to_text
    from keypeg_server.service.delegations import requested, signed
    from keypeg_server.tls import write_public

    if root is not None:
        _deliver(data, settings, clock, signed(envelope, root))
        return
    assert request is not None
    write_public(request, to_text(envelope).encode())
    tell(requested(envelope))
    click.echo(f"request:           {request}")
    click.echo(f"next:              keypegd root sign --root-key FILE {request} RESPONSE")


def _deliver(data: Path, settings: Any, clock: SystemClock, envelope: Envelope) -> None:
    from keypeg_server.rotating import deliver
    from keypeg_server.service.signing import delegation_ends

    taken = asyncio.run(deliver(data, settings, envelope, clock))
    tell(taken)
    click.echo(f"delegation until:  {delegation_ends(envelope):%Y-%m-%d}")
