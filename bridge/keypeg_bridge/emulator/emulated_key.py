"""One emulated key as a whole: what it keeps, its card and its FIDO side, the USB device, and the port it is plugged into.

Promises: all sides share one file, one finger and one memory; `change` gives it other contents as a laboratory does, past
every rule of the key. What goes wrong with it when is left to `faults_board.py`, transfers to `usbip_server.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keypeg_bridge.emulator.card import Card
from keypeg_bridge.emulator.ccid_reader import CcidReader, Level
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.faults_line import Line, Side
from keypeg_bridge.emulator.faults_memory import Wear
from keypeg_bridge.emulator.fido.core import PROFILES as FIDO_PROFILES
from keypeg_bridge.emulator.fido.core import Core
from keypeg_bridge.emulator.fido.hid import FidoHid
from keypeg_bridge.emulator.piv.applet import PivApplet
from keypeg_bridge.emulator.piv.session import PROFILES
from keypeg_bridge.emulator.smartkey_applet import SmartkeyApplet
from keypeg_bridge.emulator.state import KeyState, StateFile, Vault, new_key
from keypeg_bridge.emulator.touch import Finger, TouchPolicy
from keypeg_bridge.emulator.usb_device import UsbKey
from keypeg_bridge.emulator.usbip_bus import Bus


@dataclass(frozen=True, slots=True)
class Make:
    """What kind of key: its profile, its finger, and how its reader takes commands."""

    profile: str = "token"
    touch: TouchPolicy = TouchPolicy.ALWAYS
    reader: Level = Level.EXTENDED


class EmulatedKey:
    """One key with a name, kept in `file`."""

    def __init__(
        self,
        name: str,
        state: KeyState,
        file: StateFile,
        make: Make,
        bus: Bus,
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self.make = make
        self.wear = Wear()
        self._file = file
        self._bus = bus
        self.vault = Vault(state, file.save, self.wear.check)
        self.finger = Finger(make.touch, clock)
        fido = FIDO_PROFILES[make.profile]
        core = Core(state.seed, state.fido, fido, self.vault.save_fido, clock, os.urandom)
        self.fido = FidoHid(core, self.finger)
        self.piv = PivApplet(
            state.piv, PROFILES[make.profile], self.vault.save_piv,
            seed=state.seed, serial=state.serial, finger=self.finger, now=clock,
        )  # fmt: skip
        self.smartkey = SmartkeyApplet(state.seed, state.smartkey, self.vault.save_smartkey)
        vendors = PROFILES[make.profile].vendor_commands  # and applets: a standard card has one
        self.card = Card(self.piv, self.smartkey) if vendors else Card(self.piv)
        self._device = UsbKey(
            CcidReader(self.card, clock, level=make.reader), self.serial, self.fido, clock
        )
        self.port = bus.add(self._device)

    @property
    def serial(self) -> str:
        """Its serial number, as its USB descriptor has it."""
        return f"{self.vault.state.serial:010d}"

    @property
    def state(self) -> KeyState:
        """Its contents."""
        return self.vault.state

    def line(self, side: Side) -> Line:
        """Where answers of one interface pass."""
        return self._device.lines[side]

    def stick(self) -> None:
        """From now on signatures tell the present counter, however often it is raised."""
        fido, smartkey = self.state.fido.counter, self.state.smartkey.counter
        self.fido.core.told = lambda counter: fido
        self.smartkey.told = lambda counter: smartkey

    def unstick(self) -> None:
        """Signatures tell the counter as it is."""
        self.fido.core.told = self.smartkey.told = lambda counter: counter

    def change(self, state: KeyState) -> None:
        """Give it other contents, durably; security state and what is under way stay. `EmulatorError` when it cannot be."""
        try:
            self.vault.replace(state)
        except OSError as error:
            raise EmulatorError(
                f"The contents of {self.name} cannot be written: {error.strerror}."
            ) from error
        self.piv.state = state.piv
        self.smartkey.state = state.smartkey
        self.fido.core.adopt(state.fido)

    def status(self) -> dict[str, Any]:
        """What a laboratory sees of it."""
        return {
            "key": self.name,
            "serial": self.serial,
            "profile": self.make.profile,
            "touch": self.make.touch.value,
            "plugged": self.port.plugged,
            "attached": self.port.attached,
            "wants_touch": self.fido.wants_touch or self.piv.wants_touch,
            "winks": self.fido.winks,
        }

    def remove(self) -> None:
        """Unplug it for good; its file stays."""
        self._bus.remove(self.port)
        self._file.close()


def load_or_make(path: Path, seed: str | None, make: Make) -> tuple[KeyState, StateFile]:
    """The key in the file, or a new one, stored before it is used; the file is locked until it is closed."""
    file = StateFile(path)
    try:
        state = file.load()
        if state is None:
            algorithm = PROFILES[make.profile].management_algorithm
            state = new_key(seed, management_algorithm=algorithm)
            store(file, path, state)
        elif seed is not None and seed != state.seed:
            raise EmulatorError(
                f"The key in {path} was made from another seed. Leave --seed out to use it, or"
                " choose another file with --state."
            )
    except BaseException:
        file.close()
        raise
    return state, file


def store(file: StateFile, path: Path, state: KeyState) -> None:
    """Keep a key's contents for the first time."""
    try:
        file.save(state)
    except OSError as error:
        raise EmulatorError(
            f"Cannot write the state file {path}: {error.strerror}. Choose another with --state."
        ) from error
