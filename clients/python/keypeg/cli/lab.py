"""`keypeg key lab`: emulated keys and a bridge that run in the background, and everything that can go wrong with them.

Promises: `start` returns when an app can use the keys, and prints where they are; nothing here touches real keys or another
laboratory; what is missing is named with the command that installs it.

Leaves to others: the laboratory itself (keypeg.testing.lab), and what faults do (docs/labs.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column

if TYPE_CHECKING:
    from keypeg.testing.lab import KeyLab

KEYS: Final[list[Column[dict[str, Any]]]] = [
    Column("KEY", lambda one: one["key"]),
    Column("SERIAL", lambda one: one["serial"]),
    Column("PROFILE", lambda one: one["profile"]),
    Column("PLUGGED", lambda one: one["plugged"]),
    Column("IN USE", lambda one: one["attached"]),
    Column("FAULTS", lambda one: tuple(_in_words(fault) for fault in one["faults"])),
]
HISTORY: Final[list[Column[dict[str, Any]]]] = [
    Column("AT", lambda one: f"{one['at']:.3f} s"),
    Column("DID", lambda one: one["did"]),
    Column("KEY", lambda one: one.get("key", "")),
    Column("FAULT", lambda one: _in_words(one)),
]
LAB: Final[list[Column[dict[str, Any]]]] = [
    Column("BRIDGE", lambda one: one["bridge"]),
    Column("KEYS AT", lambda one: one["usbip"]),
    Column("FOLDER", lambda one: one["folder"]),
    Column("ROOT", lambda one: one["root"]),
]
FAULT: Final[list[Column[dict[str, Any]]]] = [
    Column("NUMBER", lambda one: one["number"]),
    Column("KEY", lambda one: one["key"]),
    Column("FAULT", lambda one: _in_words(one)),
]
_NOT_SHOWN: Final = frozenset({"fault", "key", "number", "at", "did", "hits", "interface", "skip"})

folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the laboratory keeps its keys; lab beside the profiles by default.",
)
key_option = click.option("--key", metavar="NAME", help="Which key; without: the only one.")


@click.group("lab", cls=Group)
def lab_group() -> None:
    """Emulated keys for tests: with a bridge, and with faults on command.

    What goes wrong, and how, is in docs/labs.md.

    \b
    Example:
      keypeg key lab start --keys 2
      keypeg key lab fault stall --key key-1 seconds=5
    """


@lab_group.command("start")
@folder_option
@click.option("--keys", type=click.IntRange(1, 24), default=1, show_default=True, help="How many keys.")  # fmt: skip
@click.option("--profile", "kind", type=click.Choice(["token", "token-3des", "standard"]), default="token", show_default=True, help="Which kind of key.")  # fmt: skip
@click.option("--touch", type=click.Choice(["always", "never", "command"]), default="always", show_default=True, help="When they are touched.")  # fmt: skip
@click.option("--seed", metavar="TEXT", help="Makes new keys, and what faults draw, repeatable.")
@click.option("--script", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Faults by the clock, TOML.")  # fmt: skip
@click.option("--drivers", metavar="NAMES", default="", help="How the bridge uses them: piv, smartkey, fido2.")  # fmt: skip
@pass_cli
def start(
    cli: Cli,
    folder: Path | None,
    keys: int,
    kind: str,
    touch: str,
    seed: str | None,
    script: Path | None,
    drivers: str,
) -> None:
    """Start emulated keys and a bridge; prints the bridge to point apps at.

    They run until `keypeg key lab stop`. The keys' contents stay for the
    next time.

    \b
    Example:
      keypeg key lab start --seed 7
      export KEYPEG_BRIDGE=$(keypeg -o json key lab status | jq -r .bridge)
    """
    from keypeg.testing import lab_kept
    from keypeg.testing.lab import KeyLab

    where = _folder(folder)
    with _sentences():
        lab_kept.free(where)
        lab = KeyLab(
            where,
            keys=keys,
            profile=kind,
            touch=touch,
            seed=seed,
            script=script,
            drivers=drivers,
            publisher=lab_kept.publisher(where),
        ).start()
        lab_kept.keep(where, lab)
    cli.printer.item(_facts(lab, where), LAB)
    cli.printer.note(f"Apps find the keys with KEYPEG_BRIDGE={lab.bridge}")


@lab_group.command("status")
@folder_option
@pass_cli
def status(cli: Cli, folder: Path | None) -> None:
    """Show the laboratory: its address, its keys, what is wrong with them.

    \b
    Example:
      keypeg key lab status
    """
    where = _folder(folder)
    with _found(where) as lab:
        told = lab.ask("status")
        faults = lab.faults
        facts = _facts(lab, where)
    keys = [
        {**one, "faults": [fault for fault in faults if fault["key"] == one["key"]]}
        for one in told["keys"]
    ]
    if cli.form in ("json", "jsonl"):
        cli.printer.item({**facts, "keys": keys, "script": told["script"]}, LAB)
        return
    if cli.form == "table":
        cli.printer.item(facts, LAB)
    cli.printer.listing(keys, KEYS)
    script = told["script"]
    if script["running"]:
        cli.printer.note(f"A script runs from seed {script['seed']}; {script['done']} faults done.")


@lab_group.command("stop")
@folder_option
@pass_cli
def stop(cli: Cli, folder: Path | None) -> None:
    """End the keys and the bridge; their contents stay.

    \b
    Example:
      keypeg key lab stop
    """
    from keypeg.testing import lab_kept

    with _sentences():
        lab_kept.forget(_folder(folder))
    cli.printer.note("The laboratory has ended.")


@lab_group.command("license")
@click.argument("product")
@folder_option
@key_option
@pass_cli
def license_key(cli: Cli, product: str, folder: Path | None, key: str | None) -> None:
    """Put a license for PRODUCT on a key, signed by the laboratory.

    Apps accept it that pin the laboratory's root, which is printed. For
    licenses of a server, use `keypeg key enroll` and `keypeg activation
    create`, with a server that allows emulated keys.

    \b
    Example:
      keypeg key lab license wave-editor
    """
    with _found(_folder(folder)) as lab:
        lab.key(key or "key-1").license(product)
        facts = {"key": key or "key-1", "product": product, "root": lab.root.hex()}
    columns: list[Column[dict[str, str]]] = [
        Column("KEY", lambda one: one["key"]),
        Column("PRODUCT", lambda one: one["product"]),
        Column("ROOT", lambda one: one["root"]),
    ]
    cli.printer.item(facts, columns)


@lab_group.command("plug")
@click.argument("key", required=False)
@folder_option
@pass_cli
def plug(cli: Cli, key: str | None, folder: Path | None) -> None:
    """Put a key in.

    \b
    Example:
      keypeg key lab plug key-1
    """
    with _found(_folder(folder)) as lab:
        lab.ask("plug", **_named(key))
    cli.printer.note("The key is in.")


@lab_group.command("unplug")
@click.argument("key", required=False)
@click.option("--for", "seconds", type=float, metavar="SECONDS", help="Put it back after so long.")
@folder_option
@pass_cli
def unplug(cli: Cli, key: str | None, seconds: float | None, folder: Path | None) -> None:
    """Pull a key out.

    \b
    Example:
      keypeg key lab unplug --for 2
    """
    for_time = {} if seconds is None else {"seconds": seconds}
    with _found(_folder(folder)) as lab:
        lab.ask("unplug", **_named(key), **for_time)
    cli.printer.note("The key is out.")


@lab_group.command("touch")
@click.argument("key", required=False)
@folder_option
@pass_cli
def touch(cli: Cli, key: str | None, folder: Path | None) -> None:
    """Put the finger on a key that was started with --touch command.

    \b
    Example:
      keypeg key lab touch
    """
    with _found(_folder(folder)) as lab:
        lab.ask("touch", **_named(key))
    cli.printer.note("The key was touched.")


@lab_group.command("fault")
@click.argument("kind")
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@key_option
@folder_option
@pass_cli
def fault(
    cli: Cli, kind: str, values: tuple[str, ...], key: str | None, folder: Path | None
) -> None:
    """Make something go wrong with a key: KIND with its parameters.

    Without an end (seconds, count) it lasts until `keypeg key lab clear`.

    \b
    Examples:
      keypeg key lab fault stall seconds=5
      keypeg key lab fault slow delay=0.5 count=3 --key key-2
      keypeg key lab fault clone mode=forged swap=true
    """
    given = dict(map(_assignment, values))
    with _found(_folder(folder)) as lab:
        begun = lab.ask("fault", **{**given, **_named(key), "fault": kind})["fault"]
    cli.printer.item(begun, FAULT)


@lab_group.command("clear")
@click.argument("number", type=int, required=False)
@key_option
@folder_option
@pass_cli
def clear(cli: Cli, number: int | None, key: str | None, folder: Path | None) -> None:
    """End one fault by its number, those of a key, or all.

    \b
    Example:
      keypeg key lab clear
    """
    which = {} if number is None else {"number": number}
    with _found(_folder(folder)) as lab:
        ended = lab.ask("clear", **which, **_named(key))["faults"]
    cli.printer.listing(ended, FAULT, nothing="No fault was active.")


@lab_group.command("script")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--seed", metavar="TEXT", help="What the script leaves open comes from it.")
@click.option("--stop", is_flag=True, help="Begin nothing more.")
@folder_option
@pass_cli
def script(cli: Cli, file: Path | None, seed: str | None, stop: bool, folder: Path | None) -> None:
    """Run a script of faults, or stop the one that runs.

    \b
    Example:
      keypeg key lab script bad-day.toml --seed 7
    """
    if (file is None) is not stop:
        raise click.UsageError("Name a script, or give --stop.")
    with _found(_folder(folder)) as lab:
        if file is None:
            lab.ask("script", stop=True)
            cli.printer.note("The script has stopped; faults that have begun stay.")
            return
        told = lab.script(file, seed)
    cli.printer.note(f"The script runs from seed {told['seed']}.")


@lab_group.command("history")
@folder_option
@pass_cli
def history(cli: Cli, folder: Path | None) -> None:
    """List what was done to the keys since they were started.

    \b
    Example:
      keypeg key lab history -o jsonl
    """
    with _found(_folder(folder)) as lab:
        told = lab.history
    cli.printer.listing(told, HISTORY, nothing="Nothing was done to the keys.")


def _folder(given: Path | None) -> Path:
    from keypeg import profile as profiles

    return given or profiles.config_dir() / "lab"


def _named(key: str | None) -> dict[str, str]:
    return {} if key is None else {"key": key}


def _facts(lab: KeyLab, folder: Path) -> dict[str, Any]:
    return {
        "bridge": lab.bridge,
        "usbip": lab.usbip,
        "folder": str(folder),
        "root": lab.root.hex(),
    }


@contextmanager
def _sentences() -> Iterator[None]:
    """A laboratory's refusals as sentences of this program."""
    from keypeg.testing.lab_errors import LabError

    try:
        yield
    except LabError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def _found(folder: Path) -> Iterator[KeyLab]:
    from keypeg.testing import lab_kept

    with _sentences():
        yield lab_kept.find(folder)


def _assignment(word: str) -> tuple[str, Any]:
    name, sign, text = word.partition("=")
    if not sign or not name:
        raise click.UsageError(f"{word!r} is not NAME=VALUE, for example seconds=5.")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


def _in_words(fault: dict[str, Any]) -> str:
    """A fault with what was given for it."""
    if fault.get("error"):
        return f"{fault['fault']}: {fault['error']}"
    values = (f"{name}={value}" for name, value in fault.items() if name not in _NOT_SHOWN)
    return " ".join((str(fault["fault"]), *values))
