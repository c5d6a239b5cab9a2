"""keypeg-bridge: makes the keys of this computer speak keypeg.

Exit codes: 0 ended by a signal, 1 cannot serve, 2 usage. Logs go to standard error; nothing secret is ever printed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import click

from keypeg.settings_reading import SettingsError
from keypeg_bridge import app, logs
from keypeg_bridge import settings as settings_module
from keypeg_bridge.certificate_command import certificate_group, state_folder
from keypeg_bridge.listening import StartError
from keypeg_bridge.settings import Settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The bridge between the USB keys of this computer and its apps."""


@main.command()
@click.option(
    "--config", type=click.Path(path_type=Path), help="Settings, TOML; see docs/bridge.md."
)
@click.option("--socket", type=click.Path(path_type=Path), help="Unix socket to serve on.")
@click.option("--backend", "backends", multiple=True, help="A way to keys: pcsc, hidapi, libusb, usbip:HOST:PORT. Repeat for more.")  # fmt: skip
@click.option(
    "--tls", metavar="HOST:PORT", help="Serve sessions with TLS too; port 0 for a free one."
)
@click.option("--lan", is_flag=True, help="Allow --tls on an address that other computers reach.")
@click.option(
    "--state", type=click.Path(path_type=Path), help="Directory for the bridge's own identity."
)
@click.option(
    "--ready-file", type=click.Path(path_type=Path), help="Written when the bridge serves: JSON."
)
def serve(
    config: Path | None,
    socket: Path | None,
    backends: tuple[str, ...],
    tls: str | None,
    lan: bool,
    state: Path | None,
    ready_file: Path | None,
) -> None:
    """Serve until SIGTERM or SIGINT."""
    try:
        settings = _with_options(
            settings_module.load(config, os.environ), socket, backends, tls, lan
        )
        logs.configure(settings.logs.level, settings.logs.format)
        folder = state_folder(state)
        asyncio.run(_until_told(settings, folder, ready_file))
    except (SettingsError, StartError) as error:
        raise click.ClickException(str(error)) from error


main.add_command(certificate_group)


@main.command("settings")
def show_settings() -> None:
    """List all settings, with their defaults and limits."""
    for name, _, default, limits, what in settings_module.describe():
        click.echo(f"{name} = {default}" + (f" ({limits})" if limits else ""))
        click.echo(f"    {what}")


def _with_options(
    settings: Settings, socket: Path | None, backends: tuple[str, ...], tls: str | None, lan: bool
) -> Settings:
    """The command line over file and environment."""
    listen = settings.listen
    if socket is not None:
        listen = replace(listen, socket=str(socket))
    if tls is not None:
        listen = replace(listen, tls=tls)
    keys = replace(settings.keys, backends=backends) if backends else settings.keys
    return replace(settings, listen=replace(listen, lan=listen.lan or lan), keys=keys)


async def _until_told(settings: Settings, state: Path, ready_file: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await app.serve(settings, state, ready_file, stop)


if __name__ == "__main__":
    sys.exit(main())
