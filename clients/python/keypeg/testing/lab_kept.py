"""A laboratory that outlives the program that started it: where it is written down, and the publisher that it has.

Promises: a laboratory's folder keeps its keys, its publisher and, while it runs, how it is found; readable by its owner only.
Two laboratories in one folder are refused.

Leaves to others: starting and ending (lab.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from keypeg import files
from keypeg.envelope import Ed25519Signer
from keypeg.errors import FieldInvalid
from keypeg.testing.lab import KeyLab
from keypeg.testing.lab_errors import LabError
from keypeg.testing.publisher import StandInPublisher

RUNNING: Final = "lab.json"
PUBLISHER: Final = "publisher.json"
MAX_BYTES: Final = 65_536


def publisher(folder: Path) -> StandInPublisher:
    """The publisher of this folder, made when there is none: its root stays the same, so that apps can pin it."""
    path = folder / PUBLISHER
    if (raw := _read(path)) is None:
        made = StandInPublisher()
        secrets = {"root": made.root_signer, "signer": made.signer}
        raw = {name: signer.private_bytes().hex() for name, signer in secrets.items()}
        _write(path, raw)
    try:
        return StandInPublisher(
            root_signer=Ed25519Signer(bytes.fromhex(raw["root"])),
            signer=Ed25519Signer(bytes.fromhex(raw["signer"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(f"{path} is not a laboratory's publisher. Move it away.") from error


def keep(folder: Path, lab: KeyLab) -> None:
    """Write down how a laboratory is found."""
    _write(folder / RUNNING, lab.to_json())


def find(folder: Path) -> KeyLab:
    """The laboratory that runs in this folder."""
    lab = _kept(folder)
    if lab is None or not lab.running:
        raise LabError(f"No laboratory runs in {folder}. Start one: keypeg key lab start")
    return lab


def free(folder: Path) -> None:
    """Refuse a folder where a laboratory runs; what is left of a dead one is cleared away."""
    lab = _kept(folder)
    if lab is not None and lab.running:
        raise LabError(
            f"A laboratory runs in {folder}. End it with: keypeg key lab stop, or choose another"
            " --folder."
        )
    forget(folder)


def forget(folder: Path) -> None:
    """End the laboratory of this folder, whatever of it runs; safe to repeat."""
    lab = _kept(folder)
    if lab is not None:
        lab.stop()
    (folder / RUNNING).unlink(missing_ok=True)


def _kept(folder: Path) -> KeyLab | None:
    raw = _read(folder / RUNNING)
    if raw is None:
        return None
    lab = KeyLab.find(raw)
    lab.publisher = publisher(folder)
    return lab


def _read(path: Path) -> dict[str, Any] | None:
    try:
        raw = json.loads(files.read(path, MAX_BYTES))
    except FileNotFoundError:
        return None
    except FieldInvalid as error:
        raise LabError(error.sentence) from error
    except ValueError as error:
        raise LabError(f"{path} is damaged. Move it away.") from error
    if not isinstance(raw, dict):
        raise LabError(f"{path} is damaged. Move it away.")
    return raw


def _write(path: Path, raw: dict[str, Any]) -> None:
    try:
        files.write(path, json.dumps(raw, indent=1).encode())
    except FieldInvalid as error:
        raise LabError(error.sentence) from error
