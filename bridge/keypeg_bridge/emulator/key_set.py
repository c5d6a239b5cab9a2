"""The keys of one process: made from files and a seed, found by name, and copied.

Promises: names are `key-1`, `key-2` and so on, in the order of ports; the same seeds make the same keys. A copy lasts as long
as it is plugged in or kept, and its file goes with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from keypeg_bridge.emulator.emulated_key import EmulatedKey, Make, load_or_make, store
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.key_specs import KeySpec
from keypeg_bridge.emulator.state import KeyState, StateFile
from keypeg_bridge.emulator.usbip_bus import MAX_PORTS, Bus


def state_path(path: Path, number: int) -> Path:
    """Where the `number`th key is kept: the first in the file that was named, the others beside it."""
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


class KeySet:
    """All keys on one bus."""

    def __init__(self, path: Path, bus: Bus, clock: Callable[[], float]) -> None:
        self._path = path
        self._bus = bus
        self._clock = clock
        self._keys: dict[str, EmulatedKey] = {}
        self._copies: dict[str, Path] = {}

    def __iter__(self) -> Iterator[EmulatedKey]:
        return iter(list(self._keys.values()))

    def load(self, specs: Sequence[KeySpec]) -> None:
        """The first keys, plugged in as they are to be."""
        for number, spec in enumerate(specs, 1):
            path = state_path(self._path, number)
            state, file = load_or_make(path, spec.seed, spec.make)
            made = self._add(f"key-{number}", state, file, spec.make)
            if spec.plugged:
                made.port.plug()

    def find(self, name: object) -> EmulatedKey:
        """The key of this name; without a name (None), the only one."""
        if name is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        names = ", ".join(self._keys)
        if name is None:
            raise EmulatorError(f"Which key? There are {names}.")
        found = self._keys.get(name) if isinstance(name, str) else None
        if found is None:
            raise EmulatorError(f"There is no key {name!r}. There are {names}.")
        return found

    def copy(self, of: EmulatedKey, state: KeyState, name: str | None) -> EmulatedKey:
        """Another key of the same kind with these contents, not plugged in yet."""
        if name is None:
            taken = (f"clone-{number}" for number in range(1, MAX_PORTS + 1))
            name = next(one for one in taken if one not in self._keys)
        if name in self._keys:
            raise EmulatorError(f"There is a key {name} already. Choose another name.")
        if not name.replace("-", "").replace("_", "").isalnum():
            raise EmulatorError(f"A key's name has letters, digits, - and _, unlike {name!r}.")
        path = self._path.with_name(f"{self._path.stem}-{name}{self._path.suffix}")
        file = StateFile(path)
        try:
            store(file, path, state)
            made = self._add(name, state, file, of.make)
        except BaseException:
            file.close()
            raise
        self._copies[name] = path
        return made

    def discard(self, key: EmulatedKey) -> None:
        """Take a copy away, with its file."""
        key.remove()
        del self._keys[key.name]
        path = self._copies.pop(key.name, None)
        if path is not None:
            path.unlink(missing_ok=True)
            path.with_name(path.name + ".lock").unlink(missing_ok=True)

    def close(self) -> None:
        """Unplug all keys and let go of their files."""
        for key in self:
            if key.name in self._copies:
                self.discard(key)
            else:
                key.remove()
                del self._keys[key.name]

    def _add(self, name: str, state: KeyState, file: StateFile, make: Make) -> EmulatedKey:
        made = self._keys[name] = EmulatedKey(name, state, file, make, self._bus, self._clock)
        return made
