"""An emulated USB key and a bridge in a lab: two programs, wired over USB/IP on loopback.

Promises: the key is real USB to the bridge; pulling and plugging go through the key's control socket.

Leaves to others: what is on the key (the command line and the server put it there).
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keypeg_bridge.emulator import control
from lab.processes import BIN, START_TIMEOUT, Lab, LabError, Program


class KeyLab:
    """One emulated key, and one bridge that finds it."""

    def __init__(self, lab: Lab, name: str = "key") -> None:
        self.lab = lab
        self.name = name
        # Unix socket paths are short, and the lab's folder may not be.
        self.sockets = Path(tempfile.mkdtemp(prefix="keypeg-"))
        self.control = self.sockets / "control"
        self.socket = self.sockets / "bridge.sock"
        self._starts = 0
        self.emukey: Program | None = None
        self.bridge: Program | None = None
        self.backend = ""

    @property
    def target(self) -> str:
        """What KEYPEG_BRIDGE says to reach the bridge."""
        return f"unix:{self.socket}"

    def start_key(self, profile: str = "token") -> Program:
        """Start keypeg-emukey; its contents outlive it."""
        ready = self._ready_file()
        self.emukey = self.lab.start(
            f"{self.name}-emukey-{self._starts}",
            [
                str(BIN / "keypeg-emukey"), "serve",
                "--state", str(self.lab.folder / f"{self.name}.json"),
                "--control", str(self.control),
                "--port", "0",
                "--profile", profile,
                "--ready-file", str(ready),
            ],
        )  # fmt: skip
        self.backend = f"usbip:{self.lab.ready(self.emukey, ready)['usbip']}"
        return self.emukey

    def start_bridge(
        self, *backends: str, drivers: str = "", settings: Mapping[str, str] | None = None
    ) -> Program:
        """Start keypeg-bridge with this key's backend, or with others; `drivers` as its setting has them.

        `settings` are others, by section and name: `server.address`.
        """
        ready = self._ready_file()
        chosen = {**({"keys.drivers": drivers} if drivers else {}), **(settings or {})}
        environment = {
            f"KEYPEG_BRIDGE_{name.upper().replace('.', '__')}": value
            for name, value in chosen.items()
        }
        ways = [word for way in (backends or (self.backend,)) for word in ("--backend", way)]
        self.bridge = self.lab.start(
            f"{self.name}-bridge-{self._starts}",
            [
                str(BIN / "keypeg-bridge"), "serve",
                "--socket", str(self.socket),
                "--state", str(self.lab.folder / f"{self.name}-bridge"),
                "--ready-file", str(ready),
                *ways,
            ],
            env=environment,
        )  # fmt: skip
        self.lab.ready(self.bridge, ready)
        return self.bridge

    def plug(self) -> None:
        """Put the key in."""
        control.call(self.control, "plug")

    def unplug(self) -> None:
        """Pull the key out."""
        control.call(self.control, "unplug")

    def wait_for_key(self, listing: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """What `listing` says as soon as it names a key."""
        deadline = time.monotonic() + START_TIMEOUT
        while not (found := listing()):
            if time.monotonic() > deadline:
                tail = self.bridge.tail() if self.bridge else ""
                raise LabError(f"the bridge did not find the key in {START_TIMEOUT:.0f} s.{tail}")
        return found

    def end(self) -> None:
        """Stop the programs that were started, and remove the sockets."""
        for program in (self.bridge, self.emukey):
            if program is not None:
                program.stop()
        self.close()

    def close(self) -> None:
        """Remove the sockets; the lab ends the programs."""
        shutil.rmtree(self.sockets, ignore_errors=True)

    def _ready_file(self) -> Path:
        self._starts += 1
        return self.lab.folder / f"{self.name}-{self._starts}.ready"
