"""Security keys for tests of drivers: the emulated authenticator behind hidapi's module, in this process, with no USB in between."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from keypeg.clock import monotonic
from keypeg_bridge.emulator.fido.core import PROFILES, Core
from keypeg_bridge.emulator.fido.hid import FidoHid
from keypeg_bridge.emulator.fido.state import FidoState
from keypeg_bridge.emulator.touch import Finger, TouchPolicy
from keypeg_bridge.keys.fido2 import Fido2Driver
from keypeg_bridge.keys.opening import Drivers, open_driver
from keypeg_bridge.transport.errors import DeviceGone
from keypeg_bridge.transport.hidapi import HidapiBackend
from tests.bridge.hid_library import HidLibrary, Key

FIDO2_ONLY = ("fido2",)


class SecurityKey:
    """One authenticator; it and its bridge's disk (`folder`) outlive unplugging."""

    def __init__(
        self,
        folder: Path,
        *,
        counts: bool = True,
        silent: bool = True,
        touch: TouchPolicy = TouchPolicy.ALWAYS,
    ) -> None:
        profile = replace(PROFILES["token"], counts=counts, silent=silent)
        self.core = Core("a test", FidoState(), profile, self._save, monotonic, os.urandom)
        self.finger = Finger(touch, monotonic)
        self.hid = FidoHid(self.core, self.finger)
        self.library = HidLibrary()
        self.backend = HidapiBackend(
            self.library,
            node=self.library.node,
            nodes=self.library.nodes,
            may_open=self.library.may_open,
        )
        self.drivers = Drivers(monotonic, folder, FIDO2_ONLY)
        self.change: Callable[[Sequence[bytes]], Sequence[bytes]] = lambda reports: reports
        self._key: Key | None = None
        self.plug()

    def _save(self, state: FidoState) -> None:
        """Nothing to do: the key lives as long as its test."""

    def plug(self) -> None:
        """Put it in."""
        self.hid.power_up()
        self._key = self.library.plug(
            self._answer, manufacturer_string="keypeg", product_string="keypeg emulated key"
        )

    def unplug(self) -> None:
        """Pull it."""
        if self._key is not None:
            self.library.pull(self._key)
            self._key = None

    def _answer(self, report: bytes) -> list[bytes]:
        self.hid.receive(report)
        reports = []
        while (one := self.hid.take()) is not None:
            reports.append(one)
        return list(self.change(reports))

    def open(self, on_gone: Callable[[], None] | None = None) -> Fido2Driver:
        """Open it as the bridge does."""
        found, problems = self.backend.devices()
        assert problems == []
        if not found:
            raise DeviceGone("The device was unplugged.")
        driver = open_driver(self.backend, found[0], self.drivers, on_gone)
        assert isinstance(driver, Fido2Driver)
        return driver

    def count_back(self, steps: int) -> None:
        """As a copy does that was made a while ago."""
        self.core.state = replace(self.core.state, counter=self.core.state.counter - steps)
