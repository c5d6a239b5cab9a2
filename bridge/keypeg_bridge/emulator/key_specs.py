"""Which keys a process serves: so many of a kind, or a TOML file with one table `[[key]]` for each.

Promises: whatever is wrong with a file is said before a key is made. A key's name and file follow from its place in the list.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from keypeg_bridge.emulator.ccid_reader import Level
from keypeg_bridge.emulator.emulated_key import Make
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.piv.session import PROFILES
from keypeg_bridge.emulator.touch import TouchPolicy
from keypeg_bridge.emulator.usbip_bus import MAX_PORTS

MAX_FILE: Final = 65_536  # bytes; 24 keys have about 2,000
_E = TypeVar("_E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class KeySpec:
    """One key to be served. `seed` None is a random one."""

    make: Make = field(default_factory=Make)
    seed: str | None = None
    plugged: bool = True


def same(count: int, seed: str | None, make: Make, *, plugged: bool) -> tuple[KeySpec, ...]:
    """So many of a kind; with a seed, the second is made from `seed/2` and so on."""
    return tuple(KeySpec(make, _seed(seed, n), plugged) for n in range(1, count + 1))


def load(path: Path, seed: str | None) -> tuple[KeySpec, ...]:
    """The keys of a file; those without a seed of their own have theirs from `seed`."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE + 1)
    except OSError as error:
        raise EmulatorError(f"Cannot read {path}: {error.strerror}.") from error
    try:
        if len(text) > MAX_FILE:
            raise EmulatorError(f"it is larger than {MAX_FILE:,} bytes.")
        return _read(tomllib.loads(text.decode()), seed)
    except ValueError as error:  # TOML's, and UTF-8's
        raise EmulatorError(f"{path} is no TOML: {error}.") from error
    except EmulatorError as error:
        raise EmulatorError(f"{path} cannot be used: {error}") from error


def _read(raw: Mapping[str, Any], seed: str | None) -> tuple[KeySpec, ...]:
    keys = raw.get("key")
    if set(raw) != {"key"} or not isinstance(keys, list) or not 0 < len(keys) <= MAX_PORTS:
        raise EmulatorError(f"it must hold 1 to {MAX_PORTS} tables [[key]], and nothing else.")
    found = []
    for number, one in enumerate(keys, 1):
        try:
            found.append(_key(one, _seed(seed, number)))
        except EmulatorError as error:
            raise EmulatorError(f"key {number}: {error}") from error
    return tuple(found)


def _key(raw: Any, seed: str | None) -> KeySpec:
    if not isinstance(raw, Mapping):
        raise EmulatorError("it must be a table.")
    unknown = sorted(set(raw) - {"profile", "touch", "reader", "seed", "plugged"})
    if unknown:
        raise EmulatorError(
            f"it has profile, touch, reader, seed and plugged, and no {unknown[0]!r}."
        )
    plugged, own_seed = raw.get("plugged", True), raw.get("seed", seed)
    if not isinstance(plugged, bool):
        raise EmulatorError(f"plugged is {plugged!r}; it must be true or false.")
    if own_seed is not None and (not isinstance(own_seed, str) or not own_seed):
        raise EmulatorError(f"seed is {own_seed!r}; it must be text.")
    profile = raw.get("profile", Make().profile)
    if not isinstance(profile, str) or profile not in PROFILES:
        raise EmulatorError(f"profile is {profile!r}; it must be {' or '.join(sorted(PROFILES))}.")
    touch = _choice(TouchPolicy, "touch", raw.get("touch", TouchPolicy.ALWAYS))
    reader = _choice(Level, "reader", raw.get("reader", Level.EXTENDED))
    return KeySpec(Make(profile, touch, reader), own_seed, plugged)


def _choice(kind: type[_E], name: str, value: Any) -> _E:
    try:
        return kind(value)
    except ValueError:
        allowed = " or ".join(one.value for one in kind)
        raise EmulatorError(f"{name} is {value!r}; it must be {allowed}.") from None


def _seed(seed: str | None, number: int) -> str | None:
    return seed if seed is None or number == 1 else f"{seed}/{number}"
