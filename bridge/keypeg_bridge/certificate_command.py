"""`keypeg-bridge certificate`: enrolling this bridge at a server, so that it needs no token.

Promises: the private key is made here and never leaves the state directory; what is printed is no secret.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import platformdirs

from keypeg.clock import SystemClock
from keypeg.errors import KeypegError
from keypeg.settings_reading import SettingsError
from keypeg_bridge import enrollment
from keypeg_bridge import settings as settings_module
from keypeg_bridge.enrollment import Enrolled, EnrollmentError
from keypeg_bridge.rpc.online import Access
from keypeg_bridge.rpc.renewing import renew as renew_now


def state_folder(given: Path | None) -> Path:
    """Where a bridge keeps what is its own."""
    return given or platformdirs.user_state_path("keypeg", appauthor=False) / "bridge"


_state: Callable[[Any], Any] = click.option(
    "--state", type=click.Path(path_type=Path), help="Directory for the bridge's own identity."
)


@click.group("certificate")
def certificate_group() -> None:
    """The certificate by which this bridge calls its server."""


@certificate_group.command()
@_state
def request(state: Path | None) -> None:
    """Print what an administrator needs to issue a certificate for this bridge.

    The private key stays here. The same request is printed until its certificate is installed.
    """
    try:
        click.echo(enrollment.begin(state_folder(state)).text.decode(), nl=False)
    except EnrollmentError as error:
        raise click.ClickException(str(error)) from error


@certificate_group.command()
@click.argument("file", type=click.Path(path_type=Path))
@_state
def install(file: Path, state: Path | None) -> None:
    """Take the certificate in FILE, as `keypeg certificate issue` has written it."""
    try:
        _say(enrollment.install(state_folder(state), file.read_bytes()))
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}.") from error
    except EnrollmentError as error:
        raise click.ClickException(str(error)) from error


@certificate_group.command()
@_state
def show(state: Path | None) -> None:
    """Show what this bridge calls by, and until when."""
    try:
        mine = enrollment.load(state_folder(state))
        _say(mine)
        mine.check(SystemClock().wall())
    except EnrollmentError as error:
        raise click.ClickException(str(error)) from error


@certificate_group.command()
@click.option(
    "--config", type=click.Path(path_type=Path), help="Settings, TOML; see docs/bridge.md."
)
@_state
def renew(config: Path | None, state: Path | None) -> None:
    """Get the next certificate now. A bridge that runs does so by itself, when a third of the time is left."""
    try:
        chosen = settings_module.load(config, os.environ).server
        if not chosen.address:
            raise click.ClickException(
                "There is no server to ask: set server.address (KEYPEG_BRIDGE_SERVER__ADDRESS)."
            )
        ca_file = Path(chosen.ca_file) if chosen.ca_file else None
        access = Access(chosen.address, ca_file, None, state_folder(state))
        _say(asyncio.run(renew_now(access, SystemClock().wall())))
    except (SettingsError, EnrollmentError, KeypegError) as error:
        raise click.ClickException(str(error)) from error


def _say(mine: Enrolled) -> None:
    click.echo(f"{mine.says}, until {mine.ends:%Y-%m-%d %H:%M} UTC")
