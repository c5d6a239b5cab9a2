"""The program `keypegd`: `init` makes a server, `serve` runs it, `dev` does both. `backup`, `restore` and `check` are
in keeping_commands.py, `servers` is in servers_command.py, `init` in init_command.py, `key` and
`delegate` in key_command.py, `site-key` in site_key_command.py, `root` in root_command.py, `secrets` in
secrets_command.py.

Promises: what can not be done is one sentence on standard error and an exit code (1, or 2 for wrong usage
and settings), never a traceback; `serve` writes the ready file when it answers calls, drains on SIGTERM or
SIGINT, and exits with 0.

Leaves to others: everything else (app.py, setting_up.py), which is imported only when it is needed.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from keypeg._version import __version__
from keypeg_server.command_line import (
    DATA,
    DATABASE,
    SETTINGS,
    read_settings,
)
from keypeg_server.init_command import init
from keypeg_server.keeping_commands import backup, check, restore
from keypeg_server.key_command import delegate, key
from keypeg_server.loading import loading
from keypeg_server.root_command import root
from keypeg_server.running import run
from keypeg_server.secrets_command import secrets
from keypeg_server.servers_command import servers
from keypeg_server.site_key_command import site_key

if TYPE_CHECKING:
    from keypeg_server.app import App

DEV_PUBLISHER: Final = "acme"

_LISTEN = click.option(
    "--listen", metavar="HOST:PORT", help="Instead of server.listen; port 0 takes a free one."
)
_ADVERTISE = click.option(
    "--advertise",
    metavar="HOST:PORT",
    help="Where clients and the other servers of the database reach this one, instead of server.advertise.",
)
_READY = click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write address, CA file and process id here, as JSON, once calls are answered.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="keypegd")
def cli() -> None:
    """The keypeg server: accounts, licenses, cloud sessions and seats."""


@cli.command()
@DATA
@SETTINGS
@DATABASE
@_LISTEN
@_ADVERTISE
@_READY
def serve(
    data: Path,
    settings_file: Path | None,
    database: str | None,
    listen: str | None,
    advertise: str | None,
    ready_file: Path | None,
) -> None:
    """Serve a data directory until SIGTERM or SIGINT.

    Any number of servers may serve one PostgreSQL database.
    """
    settings = read_settings(data, settings_file, database)
    if advertise is not None:
        settings = replace(settings, server=replace(settings.server, advertise=advertise))
    run(lambda: _serve(data, settings, listen, ready_file), settings.logs.level, settings)


@cli.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="The data directory; without it, one below ~/.local/share/keypeg.",
)
@SETTINGS
@DATABASE
@_LISTEN
@_READY
def dev(
    data: Path | None,
    settings_file: Path | None,
    database: str | None,
    listen: str | None,
    ready_file: Path | None,
) -> None:
    """Make and serve a server to try things with.

    Says what apps pin and how to sign in. What it made is there again the
    next time. Takes emulated keys.
    """
    if data is None:
        from platformdirs import user_data_path

        data = user_data_path("keypeg") / "dev-server"
    folder = data
    settings = read_settings(folder, settings_file, database)
    settings = replace(settings, keys=replace(settings.keys, allow_emulated=True))

    async def work() -> None:
        from keypeg_server.setting_up import LOGIN, initialize, is_complete, password_file
        from keypeg_server.setting_up import root_public_key as root_of

        if not is_complete(folder):
            await initialize(folder, settings, DEV_PUBLISHER, "Acme")
        root_key, password = root_of(folder, DEV_PUBLISHER), password_file(folder)

        def say(app: App) -> None:
            _say(f"data:\n  {folder}")
            if root_key:
                _say(f"root key, which apps pin:\n  {root_key.hex()}")
            _say("sign in:")
            _say(f"  keypeg login --server {app.address} --login {LOGIN} \\")
            _say(f"    --ca-file {shlex.quote(str(app.ca_file))}" + (" \\" if password else ""))
            if password:
                _say(f"    --password-file {shlex.quote(str(password))}")
            _say("")

        await _serve(folder, settings, listen, ready_file, say)

    run(work, settings.logs.level, settings)


for _command in (init, backup, restore, check, servers, delegate, key, site_key, root, secrets):
    cli.add_command(_command)


async def _serve(
    data: Path,
    settings: Any,
    listen: str | None,
    ready_file: Path | None,
    say: Callable[[App], None] = lambda app: None,
) -> None:
    import signal

    import structlog

    with loading():
        from keypeg_server.app import App
        from keypeg_server.garbage import Garbage
        from keypeg_server.grpc_words import GrpcWords
        from keypeg_server.silent_connections import SilentConnections, ports_of
        from keypeg_server.tls import fingerprint, write_public
        from keypeg_server.tuning import wake_quietly

    wake_quietly()
    log = structlog.get_logger("keypegd")
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    _raise_open_files(settings.limits.open_files)
    words = GrpcWords.begin(data, loop.time)
    try:
        app = await App.start(data, settings, listen or settings.server.listen)
    except BaseException:
        if words is not None:
            words.end(tell=False)  # why is said in one sentence
        raise
    loop.add_signal_handler(signal.SIGHUP, app.reload)
    garbage = Garbage()
    garbage.begin()
    ports = ports_of(app.address, app.admin_address, app.bridge_address)
    looking = [
        loop.create_task(garbage.run()),
        SilentConnections(ports, loop.time).watch(),
        *([words.watch()] if words is not None else []),
    ]
    try:
        say(app)
        ready = {"address": app.address, "ca_file": str(app.ca_file), "pid": os.getpid()}
        if app.admin_address:
            ready["admin_address"] = app.admin_address
        if app.bridge_address:
            ready["bridge_address"] = app.bridge_address
        if ready_file is not None:
            write_public(ready_file, json.dumps(ready).encode() + b"\n")
        admin = {"admin": app.admin_address} if app.admin_address else {}
        if app.bridge_address:
            admin["bridges"] = app.bridge_address
        log.info(
            "serving", address=app.address, **admin, ca=fingerprint(app.ca_file), data=str(data)
        )
        await stopping.wait()
        log.info("draining")
    finally:
        _remove(ready_file)
        await app.stop()
        for task in looking:
            task.cancel()
        if words is not None:
            words.end()
    log.info("stopped")


def _remove(file: Path | None) -> None:
    if file is not None:
        file.unlink(missing_ok=True)


def _raise_open_files(wanted: int) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _say(line: str) -> None:
    click.echo(line)


def main() -> None:
    """Entry point."""
    os.umask(0o077)  # what the server writes is its own, unless it says otherwise
    cli(prog_name="keypegd")


if __name__ == "__main__":
    main()
