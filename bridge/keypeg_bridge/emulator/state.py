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
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.fido import state as fido_state
from keypeg_bridge.emulator.fido.state import FidoState
from keypeg_bridge.wire import piv

FORMAT: Final = 1
PIN_TRIES: Final = 3
DEFAULT_PIN: Final = b"123456\xff\xff"  # of every new PIV card, padded as on the wire
# The management key of every new PIV card; public knowledge, and no protection.
DEFAULT_MANAGEMENT_KEY: Final = bytes.fromhex("010203040506070801020304050607080102030405060708")
MAX_FILE: Final = 4 * 1024 * 1024  # bytes; a full key has about 100 kB


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key's contents. Objects are content bytes by tag, private keys PKCS #8 DER by slot."""

    seed: str
    serial: int
    guid: bytes
    management_algorithm: int
    management_key: bytes
    objects: dict[int, bytes]
    private_keys: dict[int, bytes]
    pin: bytes = DEFAULT_PIN
    pin_tries: int = PIN_TRIES
    fido: FidoState = field(default_factory=FidoState)

    def __repr__(self) -> str:
        return f"KeyState(serial={self.serial}, objects={len(self.objects)})"

    def with_object(self, tag: int, content: bytes) -> KeyState:
        """The same contents with one object replaced; empty content removes it."""
        objects = {t: c for t, c in self.objects.items() if t != tag}
        if content:
            objects[tag] = content
        return replace(self, objects=objects)

    def with_private_key(self, slot: int, pkcs8: bytes) -> KeyState:
        """The same contents with one private key replaced."""
        return replace(self, private_keys={**self.private_keys, slot: pkcs8})


def new_key(seed: str | None, *, management_algorithm: int) -> KeyState:
    """A factory-fresh key; the same seed gives the same serial number and GUID, None a random seed."""
    chosen = secrets.token_hex(16) if seed is None else seed
    guid = hashlib.sha256(b"keypeg emulated key guid\x00" + chosen.encode()).digest()[:16]
    number = hashlib.sha256(b"keypeg emulated key serial\x00" + chosen.encode()).digest()[:4]
    return KeyState(
        seed=chosen,
        serial=int.from_bytes(number, "big"),
        guid=guid,
        management_algorithm=management_algorithm,
        management_key=DEFAULT_MANAGEMENT_KEY[: piv.MANAGEMENT_SIZES[management_algorithm][0]],
        objects={piv.OBJECT_CHUID: piv.Chuid(guid).encode()},
        private_keys={},
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
            "management": {
                "algorithm": state.management_algorithm,
                "key": state.management_key.hex(),
            },
            "pin": {"value": state.pin.hex(), "tries": state.pin_tries},
            "objects": {f"{t:06X}": _b64(c) for t, c in sorted(state.objects.items())},
            "private_keys": {f"{s:02X}": _b64(k) for s, k in sorted(state.private_keys.items())},
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
        algorithm = int(raw["management"]["algorithm"])
        key = bytes.fromhex(raw["management"]["key"])
        if len(key) != piv.MANAGEMENT_SIZES[algorithm][0]:
            raise ValueError("the management key has the wrong length")
        return KeyState(
            seed=str(raw["seed"]),
            serial=int(raw["serial"]),
            guid=bytes.fromhex(raw["guid"]),
            management_algorithm=algorithm,
            management_key=key,
            objects={int(t, 16): b64decode(c, validate=True) for t, c in raw["objects"].items()},
            private_keys={
                int(s, 16): b64decode(k, validate=True) for s, k in raw["private_keys"].items()
            },
            pin=bytes.fromhex(raw["pin"]["value"]),
            pin_tries=int(raw["pin"]["tries"]),
            # Files of keys without a FIDO side are read as such keys, never used there.
            fido=fido_state.from_json(raw["fido"]) if "fido" in raw else FidoState(),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a key's state: {type(error).__name__}") from error


def _b64(data: bytes) -> str:
    return b64encode(data).decode()


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

    def save_card(self, state: KeyState) -> None:
        """New contents of the card; the FIDO side stays."""
        self._commit(replace(state, fido=self.state.fido))

    def save_fido(self, state: FidoState) -> None:
        """New contents of the FIDO side; the card stays."""
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
