"""What the kernel of the guest knows of USB devices and HID nodes, read from its files."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lab.processes import LabError

DEVICES = Path("/sys/bus/usb/devices")
NODES = Path("/sys/class/hidraw")
SECONDS = 30.0
PAUSE = 0.02

T = TypeVar("T")


@dataclass(frozen=True)
class Device:
    """One of our keys, as the kernel shows it."""

    folder: Path

    def text(self, name: str) -> str:
        """One of its attributes."""
        return (self.folder / name).read_text().strip()

    @property
    def drivers(self) -> dict[int, str]:
        """By the number of an interface, which driver has it; without those that none has."""
        found = {}
        for interface in self.folder.glob(f"{self.folder.name}:*"):
            if (interface / "driver").exists():
                number = int((interface / "bInterfaceNumber").read_text(), 16)
                found[number] = (interface / "driver").resolve().name
        return found

    @property
    def node(self) -> Path | None:
        """Its node for raw HID reports."""
        for entry in NODES.iterdir() if NODES.exists() else ():
            if entry.resolve().is_relative_to(self.folder.resolve()):
                return Path("/dev") / entry.name
        return None


def keys() -> list[Device]:
    """The emulated keys on the kernel's buses."""
    found = []
    for folder in sorted(DEVICES.iterdir()):
        ids = [folder / name for name in ("idVendor", "idProduct")]
        try:
            if [one.read_text().strip() for one in ids] == ["1209", "0001"]:
                found.append(Device(folder))
        except OSError:  # an interface, or one that is just leaving
            continue
    return found


def until(look: Callable[[], T], what: str) -> T:
    """What `look` gives once it gives something."""
    deadline = time.monotonic() + SECONDS
    while not (found := look()):
        if time.monotonic() > deadline:
            raise LabError(f"waited {SECONDS:.0f} s for {what}")
        time.sleep(PAUSE)
    return found


def plugged_in(count: int = 1) -> list[Device]:
    """So many keys, once the kernel has them and their nodes."""

    def has_node(key: Device) -> bool:
        node = key.node  # looked up once: of one that is leaving, it is gone the next time
        return node is not None and node.exists()

    def complete() -> list[Device]:
        found = [key for key in keys() if has_node(key)]
        return found if len(found) == count else []

    return until(complete, f"{count} keys on the kernel's buses")


def all_gone() -> None:
    """Once no key is there, nor a node of one."""
    until(lambda: not keys(), "the key to leave the kernel's buses")
