"""What this computer is: its name, and the parts by which a license document knows it again.

Promises: reads only what any user may read, sends nothing, and leaves out what it can not read. The parts
come in the order of how much they tell.

Leaves to others: hashing and comparing them (fingerprint).
"""

from __future__ import annotations

import platform
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

HOST_NAME_SIZE: Final = 255  # characters, as the contract says
_VALUE_SIZE: Final = 4_096  # bytes read of one file


def host_name() -> str:
    """What this computer calls itself."""
    return (socket.gethostname() or platform.node() or "unknown")[:HOST_NAME_SIZE]


def parts(root: Path = Path("/")) -> Mapping[str, str]:
    """The parts of this computer, by kind; values as the system tells them."""
    found = {
        "machine_id": _first(root, "etc/machine-id", "var/lib/dbus/machine-id"),
        "board": _first(
            root,
            "sys/class/dmi/id/product_uuid",
            "sys/class/dmi/id/board_serial",
            "sys/firmware/devicetree/base/serial-number",
        ),
        "disk": _disk(root / "sys/block"),
        "mac": _mac(root / "sys/class/net"),
        "model": _first(
            root, "sys/class/dmi/id/product_name", "sys/firmware/devicetree/base/model"
        ),
        "cpu": _cpu(root / "proc/cpuinfo"),
    }
    return {kind: value for kind, value in found.items() if value}


def _first(root: Path, *paths: str) -> str:
    return next((text for path in paths if (text := _read(root / path))), "")


def _disk(blocks: Path) -> str:
    """The serial number or world-wide name of the first disk that has one and can not be taken out."""
    for disk in _entries(blocks):
        if _read(disk / "removable") == "1":
            continue
        for name in ("device/serial", "device/wwid", "wwid", "serial"):
            if text := _read(disk / name):
                return text
    return ""


def _mac(interfaces: Path) -> str:
    """The address of the first interface that is hardware, and whose address was not made up."""
    for interface in _entries(interfaces):
        address = _read(interface / "address")
        if (interface / "device").exists() and address and not _is_local(address):
            return address
    return ""


def _is_local(address: str) -> bool:
    first = address.partition(":")[0]
    try:
        return bool(int(first, 16) & 0b10)
    except ValueError:
        return True


def _cpu(cpuinfo: Path) -> str:
    for line in _read(cpuinfo).splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware"):
            return value.strip()
    return ""


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_VALUE_SIZE).decode(errors="replace").strip().strip("\0")
    except OSError:
        return ""
