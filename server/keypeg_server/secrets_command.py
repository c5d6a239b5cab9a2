"""The commands `keypegd secrets`: how the server's secret files lie on the disk.

Promises: `rewrap` can be run again after it was interrupted, beside a running server or without one; a file is replaced
whole, when its new text has been read back.

Leaves to others: files and their wrapping (secret_files.py, vaults.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from keypeg_server.command_line import DATA, SETTINGS, read_settings
from keypeg_server.root_command import sentences

if TYPE_CHECKING:
    from keypeg_server.service.wrapping import Wrapping


@click.group()
def secrets() -> None:
    """How the server's secret files lie on the disk."""


@secrets.command()
@DATA
@SETTINGS
@click.option(
    "--to",
    metavar="KEY",
    required=True,
    help="What to wrap them under, as in secrets.wrapping_key: a file, credential:NAME, pkcs11:LABEL, or none.",
)
def rewrap(data: Path, settings_file: Path | None, to: str) -> None:
    """Wrap the files of secrets/ under another key.

    Set secrets.wrapping_key to it afterwards; a running server needs it
    at its next start.
    """
    settings = read_settings(data, settings_file)
    with sentences():
        from keypeg_server.vaults import vault_of, vault_under

        before = vault_of(data, settings)
        after = None if to == "none" else vault_under(to, data, settings)
        count = _rewrap(data, before, after)
    click.echo(f"wrapped:           {count} files of {data / 'secrets'}, under {to}")
    setting = "" if to == "none" else to
    click.echo(f'next:              secrets.wrapping_key = "{setting}" in keypegd.toml')
    if to != "none":
        click.echo(
            "keep:              a copy of that key elsewhere; without it these files are lost"
        )


def _rewrap(data: Path, before: Wrapping | None, after: Wrapping | None) -> int:
    from keypeg_server import secret_files
    from keypeg_server.secret_files import SecretError

    found = secret_files.key_files(data)
    keys: dict[Path, bytes] = {}
    for file in found:  # all can be read before one is replaced
        try:
            keys[file] = secret_files.read_key(file, before)
        except SecretError:
            if after is None:
                raise
            keys[file] = secret_files.read_key(file, after)  # of a run that was interrupted
    for file, key in keys.items():
        secret_files.write_key(file, key, after)
        assert secret_files.read_key(file, after) == key, file
    return len(keys)
