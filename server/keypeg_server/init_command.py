"""The command `keypegd init`: making a server.

Promises: what it made is told; the root key is here, sealed or not, or on another computer.

Leaves to others: the work (setting_up.py), which is imported only when it is needed.
"""

from __future__ import annotations

from pathlib import Path

import click

from keypeg_server.command_line import DATA, DATABASE, EXIT_USAGE, SETTINGS, fail, read_settings
from keypeg_server.root_command import PASSPHRASE, asking, new_passphrase
from keypeg_server.running import run


@click.command()
@DATA
@SETTINGS
@DATABASE
@click.option("--publisher", required=True, help="The publisher's id: [a-z0-9-].")
@click.option("--display-name", default="", help="What people call the publisher.")
@click.option(
    "--root-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The publisher's root key, made when it is not there; DATA/root/PUBLISHER.key otherwise.",
)
@click.option("--seal", is_flag=True, help="Seal a new root key with a passphrase.")
@PASSPHRASE
@click.option(
    "--root-public-key",
    metavar="HEX",
    help="The public key of a root that is on another computer, which signs the request of --request.",
)
@click.option(
    "--request",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --root-public-key: write what that root has to sign here.",
)
@click.option(
    "--publisher-password-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The password of the publisher's login; a random one is made otherwise.",
)
def init(
    data: Path,
    settings_file: Path | None,
    database: str | None,
    publisher: str,
    display_name: str,
    root_key: Path | None,
    seal: bool,
    passphrase_file: Path | None,
    root_public_key: str | None,
    request: Path | None,
    publisher_password_file: Path | None,
) -> None:
    """Make a server in a data directory.

    Makes keys, certificates, the database and a first login.
    """
    settings = read_settings(data, settings_file, database)
    if (root_public_key is None) != (request is None):
        fail("--root-public-key and --request go together; give both.", EXIT_USAGE)
    if request is not None and (seal or root_key or passphrase_file):
        fail("The root is elsewhere: --root-key and --seal are of one that is here.", EXIT_USAGE)
    password = None
    if publisher_password_file is not None:
        password = publisher_password_file.read_text(encoding="utf-8").strip("\r\n")
        if not 8 <= len(password) <= 1024:
            fail("The password in that file has to have 8 to 1,024 characters.", EXIT_USAGE)

    async def work() -> None:
        from keypeg_server.setting_up import Root, initialize

        made = await initialize(
            data,
            settings,
            publisher,
            display_name,
            Root(
                root_key,
                (lambda: new_passphrase(passphrase_file)) if seal else None,
                asking(passphrase_file),
                root_public_key,
                request,
            ),
            password,
        )
        click.echo(f"publisher:         {made.publisher}")
        click.echo(f"root public key:   {made.root_public_key.hex()}")
        if request is None:
            click.echo(f"root key file:     {made.root_file}  (take it offline, and keep a copy)")
            click.echo(f"delegation until:  {made.delegation_ends}")
        else:
            click.echo(f"request:           {request}  (for `keypegd root sign`)")
        click.echo(f"CA file:           {made.ca_file}")
        click.echo(f"CA fingerprint:    {made.ca_fingerprint}")
        click.echo(f"login:             {made.login}")
        click.echo(f"its password:      {made.login_file or 'as given'}")
        first = "serve" if request is None else "key install"
        click.echo(
            f"next:              keypegd {first} --data {data}" + (" RESPONSE" if request else "")
        )

    run(work, "warning", settings)
