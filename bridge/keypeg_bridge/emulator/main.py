"""keypeg-emukey: serve one emulated key, or plug and unplug one that is served.

The composition root of the emulator: the only module that knows all the others. One JSON line on stdout says that it is
ready; messages go to stderr. Exit codes: 0 ended by a signal, 1 cannot serve, 2 usage.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from keypeg_bridge.emulator import control
from keypeg_bridge.emulator.card import Card
from keypeg_bridge.emulator.ccid_reader import CcidReader
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.fido.core import PROFILES as FIDO_PROFILES
from keypeg_bridge.emulator.fido.core import Core
from keypeg_bridge.emulator.fido.hid import FidoHid
from keypeg_bridge.emulator.piv_applet import PROFILES, PivApplet, Profile
from keypeg_bridge.emulator.state import KeyState, StateFile, Vault, new_key
from keypeg_bridge.emulator.touch import Finger, TouchPolicy
from keypeg_bridge.emulator.usb_device import UsbKey
from keypeg_bridge.emulator.usbip_server import Bus, UsbIpServer, loopback

COMMANDS: Final = ("plug", "unplug", "touch", "status")


@dataclass(frozen=True, slots=True)
class Options:
    """What `serve` was asked for."""

    state: Path
    control: Path
    host: str
    port: int
    seed: str | None
    profile: Profile
    touch: TouchPolicy
    plugged: bool
    ready_file: Path | None


def load_or_make(file: StateFile, options: Options) -> KeyState:
    """The key in the file, or a new one, stored before it is used."""
    state = file.load()
    if state is None:
        state = new_key(options.seed, management_algorithm=options.profile.management_algorithm)
        try:
            file.save(state)
        except OSError as error:
            raise EmulatorError(
                f"Cannot write the state file {options.state}: {error.strerror}. Choose another"
                " with --state."
            ) from error
    elif options.seed is not None and options.seed != state.seed:
        raise EmulatorError(
            f"The key in {options.state} was made from another seed. Leave --seed out to use it, or"
            " choose another file with --state."
        )
    return state


def _security_key(vault: Vault, options: Options, clock: Callable[[], float]) -> FidoHid:
    """The FIDO side of the key."""
    state = vault.state
    profile = FIDO_PROFILES[options.profile.name]
    core = Core(state.seed, state.fido, profile, vault.save_fido, clock, os.urandom)
    return FidoHid(core, Finger(options.touch, clock))


async def serve(options: Options) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loopback(options.host)
    file = StateFile(options.state)
    try:
        vault = Vault(load_or_make(file, options), file.save)
        applet = PivApplet(vault.state, options.profile, vault.save_card)
        serial = f"{vault.state.serial:010d}"
        fido = _security_key(vault, options, loop.time)
        bus = Bus()
        port = bus.add(UsbKey(CcidReader(Card(applet)), serial, fido))
        if options.plugged:
            port.plug()
        server = UsbIpServer(bus)
        address = await server.start(options.host, options.port)
        facts = {
            "usbip": address,
            "control": str(options.control),
            "emulated": True,
            "serial": serial,
            "profile": options.profile.name,
            "touch": options.touch.value,
        }

        def handle(command: str, request: dict[str, Any]) -> dict[str, Any]:
            match command:
                case "plug":
                    port.plug()
                case "unplug":
                    port.unplug()
                case "touch":
                    fido.finger.press()
                    port.poke()
                case "status":
                    pass
                case _:
                    raise EmulatorError(
                        f"The command {command!r} is unknown. Use {', '.join(COMMANDS)}."
                    )
            now = {"attached": port.attached, "wants_touch": fido.wants_touch, "winks": fido.winks}
            return {**facts, "plugged": port.plugged, **now}

        controls = control.ControlServer(options.control, handle)
        try:
            await controls.start()
            _announce(json.dumps(facts), options.ready_file)
            await stop.wait()
        finally:
            port.unplug()
            await controls.close()
            await server.close()
    finally:
        file.close()


def _announce(line: str, ready_file: Path | None) -> None:
    if ready_file is not None:
        temporary = ready_file.with_name(ready_file.name + ".new")
        try:
            temporary.write_text(line + "\n")
            os.replace(temporary, ready_file)
        except OSError as error:
            raise EmulatorError(
                f"Cannot write the ready file {ready_file}: {error.strerror}."
            ) from error
    click.echo(line)
    sys.stdout.flush()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """An emulated USB key for tests and laboratories. It protects nothing, and is marked as emulated."""


@main.command("serve")
@click.option("--state", type=click.Path(path_type=Path), required=True, help="The key's contents.")
@click.option("--control", "control_path", type=click.Path(path_type=Path), required=True, help="Unix socket for plug, unplug, touch and status.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback address.")
@click.option("--port", type=click.IntRange(0, 65535), default=3240, show_default=True, help="USB/IP port; 0 for any free one.")  # fmt: skip
@click.option("--seed", help="Makes serial number and GUID of a new key repeatable.")
@click.option("--profile", type=click.Choice(sorted(PROFILES)), default="token", show_default=True, help="Kind of key: with vendor commands, or the standards' alone.")  # fmt: skip
@click.option("--touch", type=click.Choice([p.value for p in TouchPolicy]), default="always", show_default=True, help="When the key is touched; command: by `ctl touch`.")  # fmt: skip
@click.option("--unplugged", is_flag=True, help="Start without the key in.")
@click.option("--ready-file", type=click.Path(path_type=Path), help="Gets the ready line too.")
@click.option("--verbose", is_flag=True, help="Say more on stderr; never any contents.")
def serve_command(
    state: Path,
    control_path: Path,
    host: str,
    port: int,
    seed: str | None,
    profile: str,
    touch: str,
    unplugged: bool,
    ready_file: Path | None,
    verbose: bool,
) -> None:
    """Serve one emulated key over USB/IP, until a signal."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    options = Options(
        state, control_path, host, port, seed, PROFILES[profile], TouchPolicy(touch),
        not unplugged, ready_file,
    )  # fmt: skip
    try:
        asyncio.run(serve(options))
    except EmulatorError as error:
        raise click.ClickException(str(error)) from error


@main.command("ctl")
@click.option("--control", "control_path", type=click.Path(path_type=Path), required=True, help="Unix socket of the serving process.")  # fmt: skip
@click.argument("command", type=click.Choice(COMMANDS))
def control_command(control_path: Path, command: str) -> None:
    """Plug, unplug, touch or ask a served key; one JSON line on stdout."""
    try:
        click.echo(json.dumps(control.call(control_path, command)))
    except EmulatorError as error:
        raise click.ClickException(str(error)) from error
