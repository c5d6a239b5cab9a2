"""keypeg-emukey: serve emulated keys, or speak to the control socket of ones that are served.

Promises: messages go to stderr, data to stdout. Exit codes: 0 ended by a signal, 1 cannot serve, 2 usage. What is done is in
`serving.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import sys
from pathlib import Path
from typing import Any, Final

import click

from keypeg_bridge.emulator import control, key_specs
from keypeg_bridge.emulator.ccid_reader import Level
from keypeg_bridge.emulator.emulated_key import Make
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.piv import attestation
from keypeg_bridge.emulator.piv.session import PROFILES
from keypeg_bridge.emulator.serving import Options, serve
from keypeg_bridge.emulator.touch import TouchPolicy
from keypeg_bridge.emulator.usbip_bus import MAX_PORTS

COMMANDS: Final = ("plug", "unplug", "touch", "status", "fault", "faults", "clear", "history")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Emulated USB keys for tests and laboratories. They protect nothing, and are marked as emulated."""


@main.command("serve")
@click.option("--state", type=click.Path(path_type=Path), required=True, help="The key's contents; of more keys, beside it.")  # fmt: skip
@click.option("--control", "control_path", type=click.Path(path_type=Path), required=True, help="Unix socket for commands and faults.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback address.")
@click.option("--port", type=click.IntRange(0, 65535), default=3240, show_default=True, help="USB/IP port; 0 for any free one.")  # fmt: skip
@click.option("--vhci", is_flag=True, help="Plug it into this computer's kernel instead; needs root and the module vhci-hcd.")  # fmt: skip
@click.option("--vpicc", metavar="HOST:PORT", help="Put its card into a virtual reader (vsmartcard's vpcd) instead; loopback only.")  # fmt: skip
@click.option("--keys", type=click.IntRange(1, MAX_PORTS), default=1, show_default=True, help="How many keys: key-1, key-2, and so on.")  # fmt: skip
@click.option("--config", type=click.Path(path_type=Path), help="The keys, TOML, instead of --keys and what they are like; see docs/labs.md.")  # fmt: skip
@click.option("--seed", help="Makes new keys repeatable, and what faults draw.")
@click.option("--profile", type=click.Choice(sorted(PROFILES)), default="token", show_default=True, help="Kind of key: with vendor commands, or the standards' alone.")  # fmt: skip
@click.option("--touch", type=click.Choice([p.value for p in TouchPolicy]), default="always", show_default=True, help="When the key is touched; command: by `ctl touch`.")  # fmt: skip
@click.option("--reader", type=click.Choice([level.value for level in Level]), default="extended", show_default=True, help="What the card's reader takes: short or extended APDUs, or blocks (tpdu).")  # fmt: skip
@click.option("--unplugged", is_flag=True, help="Start without the keys in.")
@click.option("--script", type=click.Path(path_type=Path), help="Faults by the clock, TOML; see docs/labs.md.")  # fmt: skip
@click.option("--script-seed", help="What the script leaves open; without, --seed, then the script's own, then a new one.")  # fmt: skip
@click.option("--ready-file", type=click.Path(path_type=Path), help="Gets the ready line too.")
@click.option("--verbose", is_flag=True, help="Say more on stderr; never any contents.")
def serve_command(
    state: Path,
    control_path: Path,
    host: str,
    port: int,
    vhci: bool,
    vpicc: str | None,
    keys: int,
    config: Path | None,
    seed: str | None,
    profile: str,
    touch: str,
    reader: str,
    unplugged: bool,
    script: Path | None,
    script_seed: str | None,
    ready_file: Path | None,
    verbose: bool,
) -> None:
    """Serve emulated keys, over USB/IP unless told otherwise, until a signal."""
    if vhci and vpicc is not None:
        raise click.UsageError("A key is plugged in at one place: use --vhci or --vpicc.")
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    try:
        specs = (
            key_specs.same(
                keys, seed, Make(profile, TouchPolicy(touch), Level(reader)), plugged=not unplugged
            )
            if config is None
            else key_specs.load(config, seed)
        )
    except EmulatorError as error:
        raise click.ClickException(str(error)) from error
    options = Options(
        state=state,
        control=control_path,
        host=host,
        port=port,
        seed=seed,
        keys=specs,
        ready_file=ready_file,
        vhci=vhci,
        vpicc=vpicc,
        script=script,
        script_seed=script_seed,
    )
    try:
        asyncio.run(serve(options))
    except EmulatorError as error:
        raise click.ClickException(str(error)) from error


@main.command("attestation-root")
def attestation_root_command() -> None:
    """Print the certificate under which emulated cards attest to their keys, PEM, for a laboratory's server to trust."""
    click.echo(ssl.DER_cert_to_PEM_cert(attestation.root()), nl=False)


@main.command("ctl")
@click.option("--control", "control_path", type=click.Path(path_type=Path), required=True, help="Unix socket of the serving process.")  # fmt: skip
@click.option("--key", help="Which key; without, the only one.")
@click.argument("command", type=click.Choice(COMMANDS))
@click.argument("values", nargs=-1, metavar="[KIND] [NAME=VALUE]...")
def control_command(
    control_path: Path, key: str | None, command: str, values: tuple[str, ...]
) -> None:
    """Plug, unplug, touch or ask a served key, make it fail, or let it recover; one JSON line on stdout.

    \b
    Examples:
      keypeg-emukey ctl --control key.sock unplug seconds=2
      keypeg-emukey ctl --control key.sock fault slow delay=0.5 count=3
      keypeg-emukey ctl --control key.sock clear
    """
    request: dict[str, Any] = {} if key is None else {"key": key}
    words = list(values)
    if command == "fault":
        if not words or "=" in words[0]:
            raise click.UsageError("Say which fault, for example: fault stall.")
        request["fault"] = words.pop(0)
    try:
        request |= dict(map(assignment, words))
        click.echo(json.dumps(control.call(control_path, command, **request)))
    except EmulatorError as error:
        raise click.ClickException(str(error)) from error


def assignment(word: str) -> tuple[str, Any]:
    """`name=value`; the value as JSON where it is that, else as text."""
    name, sign, text = word.partition("=")
    if not sign or not name:
        raise click.UsageError(f"{word!r} is not NAME=VALUE.")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text
