"""What Linux knows of the USB device behind a device node or a card reader: where it is plugged in, and what it says of itself.

Promises: reads files below /sys only, none of which wakes a device; None wherever it is not to be told, on other systems too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keypeg_bridge.transport.strings import shown, usb_spot

SYS: Final = Path("/sys")
BUS_FILE: Final = "busnum"


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """A USB device of this computer."""

    bus: int
    address: int
    vendor: int
    product: int
    manufacturer: str | None = None
    product_name: str | None = None
    serial: str | None = None

    @property
    def spot(self) -> str:
        """Where it is plugged in."""
        return usb_spot(self.bus, self.address)


def behind_hidraw(node: bytes, sys: Path = SYS) -> UsbDevice | None:
    """The device whose interface `/dev/hidrawN` is."""
    name = Path(node.decode(errors="replace")).name
    try:
        folder = (sys / "class" / "hidraw" / name / "device").resolve(strict=True)
    except (OSError, ValueError):  # nothing there, or no name of a file
        return None
    for above in (folder, *folder.parents):
        if (above / BUS_FILE).exists():
            return _read(above)
    return None


def at(bus: int, address: int, sys: Path = SYS) -> UsbDevice | None:
    """The device at a place of the bus."""
    try:
        folders = sorted((sys / "bus" / "usb" / "devices").iterdir())
    except OSError:
        return None
    for folder in folders:
        if (folder / BUS_FILE).exists():
            found = _read(folder)
            if found is not None and (found.bus, found.address) == (bus, address):
                return found
    return None


def _read(folder: Path) -> UsbDevice | None:
    try:
        return UsbDevice(
            int((folder / BUS_FILE).read_text()),
            int((folder / "devnum").read_text()),
            int((folder / "idVendor").read_text(), 16),
            int((folder / "idProduct").read_text(), 16),
            *(_text(folder / name) for name in ("manufacturer", "product", "serial")),
        )
    except (OSError, ValueError):  # it has just been unplugged
        return None


def _text(file: Path) -> str | None:
    try:
        return shown(file.read_bytes().decode(errors="replace").strip())
    except OSError:
        return None
