"""What the commands of `keypeg key lab` share: how keys, faults and laboratories are shown, found and named.

Promises: a laboratory's refusals come out as sentences of this program. Nothing heavy is loaded before a command wants it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

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
LICENSE: Final[list[Column[dict[str, str]]]] = [
    Column("KEY", lambda one: one["key"]),
    Column("PRODUCT", lambda one: one["product"]),
    Column("ROOT", lambda one: one["root"]),
]
_NOT_SHOWN: Final = frozenset({"fault", "key", "number", "at", "did", "hits", "interface", "skip"})

folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the laboratory keeps its keys; lab beside the profiles by default.",
)
key_option = click.option("--key", metavar="NAME", help="Which key; without: the only one.")


def folder_of(given: Path | None) -> Path:
    """Where a laboratory is: as given, or beside the profiles."""
    from keypeg import profile as profiles

    return given or profiles.config_dir() / "lab"


def named(key: str | None) -> dict[str, str]:
    """A key as a field of a request, where one was named."""
    return {} if key is None else {"key": key}


def told_of(lab: KeyLab, folder: Path) -> dict[str, Any]:
    """Where a laboratory is reached, and what an app pins."""
    return {
        "bridge": lab.bridge,
        "usbip": lab.usbip,
        "folder": str(folder),
        "root": lab.root.hex(),
    }


@contextmanager
def sentences() -> Iterator[None]:
    """A laboratory's refusals as sentences of this program."""
    from keypeg.testing.lab_errors import LabError

    try:
        yield
    except LabError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def found(folder: Path) -> Iterator[KeyLab]:
    """The laboratory that runs in a folder."""
    from keypeg.testing import lab_kept

    with sentences():
        yield lab_kept.find(folder)


def assignment(word: str) -> tuple[str, Any]:
    """NAME=VALUE as the two, the value as JSON where it is."""
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
