"""What an emulated key keeps: its contents as one JSON file, written whole or not at all, readable by its owner only.

Promises: a change that `StateFile.save` returned from survives SIGKILL and power loss; two processes never share a file.
The file holds private keys in the clear: an emulated key protects nothing, and says so by being marked as emulated.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from keypeg_bridge.emulator import smartkey_state
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.fido import state as fido_state
from keypeg_bridge.emulator.fido.state import FidoState
from keypeg_bridge.emulator.piv import state as piv_state
from keypeg_bridge.emulator.piv.state import PivState, new_piv
from keypeg_bridge.emulator.smartkey_state import SmartkeyState

FORMAT: Final = 1
MAX_FILE: Final = 4 * 1024 * 1024  # bytes; a full key has about 100 kB


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key's contents: of its card, and of its FIDO side."""

    seed: str
    serial: int
    guid: bytes
    piv: PivState
    smartkey: SmartkeyState
    fido: FidoState = field(default_factory=FidoState)

    def __repr__(self) -> str:
        return f"KeyState(serial={self.serial}, piv={self.piv})"


def new_key(seed: str | None, *, management_algorithm: int) -> KeyState:
    """A factory-fresh key; the same seed gives the same serial number and GUID, None a random seed."""
    chosen = secrets.token_hex(16) if seed is None else seed
    guid = hashlib.sha256(b"keypeg emulated key guid\x00" + chosen.encode()).digest()[:16]
    number = hashlib.sha256(b"keypeg emulated key serial\x00" + chosen.encode()).digest()[:4]
    return KeyState(
        seed=chosen,
        serial=int.from_bytes(number, "big") >> 1,  # some tools show it with a sign
        guid=guid,
        piv=new_piv(guid, management_algorithm),
        smartkey=smartkey_state.fresh(chosen),
    )


def to_json(state: KeyState) -> str:
    """The file's text."""
    return json.dumps(
        {
            "format": FORMAT,
            "emulated": True,
            "seed": state.seed,
            "serial": state.serial,
            "guid": state.guid.hex(),
            **piv_state.to_json(state.piv),
            "smartkey": smartkey_state.to_json(state.smartkey),
            "fido": fido_state.to_json(state.fido),
        },
        indent=1,
    )


def from_json(text: str) -> KeyState:
    """The state in a file's text; `ValueError` for anything that is not one."""
    try:
        raw: dict[str, Any] = json.loads(text)
        if raw["format"] != FORMAT:
            raise ValueError(f"format {raw['format']!r} is not {FORMAT}")
        guid = bytes.fromhex(raw["guid"])
        return KeyState(
            seed=str(raw["seed"]),
            serial=int(raw["serial"]),
            guid=guid,
            piv=piv_state.from_json(raw, guid),
            # Files of keys without one of these are read as such keys, never used there.
            smartkey=(
                smartkey_state.from_json(raw["smartkey"])
                if "smartkey" in raw
                else smartkey_state.fresh(str(raw["seed"]))
            ),
            fido=fido_state.from_json(raw["fido"]) if "fido" in raw else FidoState(),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a key's state: {type(error).__name__}") from error


class Vault:
    """The contents of one key, of which the card and the FIDO side each change their own part.

    `save` makes contents durable or raises `OSError`; then nothing has changed here either. `check` is asked before, with
    the contents before and after, and raises `OSError` where a memory is worn or full.
    """

    def __init__(
        self,
        state: KeyState,
        save: Callable[[KeyState], None],
        check: Callable[[KeyState, KeyState], None] = lambda before, after: None,
    ) -> None:
        self.state = state
        self._save = save
        self._check = check

    def save_piv(self, state: PivState) -> None:
        """New contents of the PIV applet; the rest stays."""
        self._commit(replace(self.state, piv=state))

    def save_smartkey(self, state: SmartkeyState) -> None:
        """New contents of the smartkey applet; the rest stays."""
        self._commit(replace(self.state, smartkey=state))

    def save_fido(self, state: FidoState) -> None:
        """New contents of the FIDO side; the rest stays."""
        self._commit(replace(self.state, fido=state))

    def replace(self, state: KeyState) -> None:
        """Other contents altogether; who uses them must be told."""
        self._save(state)
        self.state = state

    def _commit(self, state: KeyState) -> None:
        self._check(self.state, state)
        self.replace(state)


class StateFile:
    """The file of one key, held by one process through a lock file beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lock_path = path.with_name(path.name + ".lock")
        try:
            self._lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EmulatorError(
                f"Cannot use the state file {path}: {error.strerror}. Choose another with --state."
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise EmulatorError(
                f"The state file {path} is in use by another keypeg-emukey. End that one, or choose"
                " another file with --state."
            ) from error

    def load(self) -> KeyState | None:
        """The stored state, or None when there is no file yet."""
        try:
            with self._path.open("rb") as file:
                raw = file.read(MAX_FILE + 1)
            if len(raw) > MAX_FILE:
                raise ValueError("it is too large")
            return from_json(raw.decode())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EmulatorError(
                f"Cannot read the state file {self._path}: {error.strerror}."
            ) from error
        except ValueError as error:
            raise EmulatorError(
                f"The state file {self._path} cannot be used: {error}. Move it away to start with a"
                " new key."
            ) from error

    def save(self, state: KeyState) -> None:
        """Replace the file; on return the new contents are on disk. `OSError` when they are not."""
        temporary = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(to_json(state))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._lock)
