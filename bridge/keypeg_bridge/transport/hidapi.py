"""FIDO interfaces through hidapi: the system's own HID driver, which holds them on every desktop.

Promises: the `hidraw` flavour of the library on Linux and `hid` elsewhere, since only those know what an interface is for;
a listing that still shows an unplugged key does no harm; a replugged key gets a new handle; a key that may not be opened
says what to do. Reading and noticing departures is `hid_pipe.py`'s.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from keypeg_bridge.transport.errors import (
    BackendUnavailable,
    DeviceBusy,
    DeviceGone,
    DeviceRefused,
    TransportError,
)
from keypeg_bridge.transport.hid_pipe import ReportPipe
from keypeg_bridge.transport.permissions import not_permitted
from keypeg_bridge.transport.ports import (
    FIDO,
    CardPipe,
    FoundDevice,
    HidPipe,
    OnGone,
    Problem,
)
from keypeg_bridge.transport.strings import is_emulated, shown
from keypeg_bridge.transport.sysfs import UsbDevice, behind_hidraw
from keypeg_bridge.wire import ctaphid

NAME: Final = "hidapi"
SETTLED_LOOKS: Final = (
    10  # at the same device nodes, after which the library is asked only when they change
)
_NO_REPORT_NUMBER: Final = b"\x00"
# The library's calls that touch its global state; listing and opening are not safe at once.
_library: Final = threading.Lock()


def load_library(platform: str = sys.platform) -> Any:
    """hidapi's module for this system; `BackendUnavailable` with a sentence when there is none."""
    name = "hidraw" if platform == "linux" else "hid"
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BackendUnavailable(
            f"{NAME}: the module {name} cannot be loaded ({error}). Install hidapi's own wheel."
        ) from error


def node_of(path: bytes) -> int | None:
    """What tells a device node from a later one of the same name; None where paths are no files."""
    try:
        return os.stat(path).st_ino
    except (OSError, ValueError):
        return None


def nodes_there(platform: str = sys.platform) -> frozenset[tuple[str, int]] | None:
    """The HID device nodes, cheaply; None where there are none to look at."""
    if platform != "linux":
        return None
    try:
        with os.scandir("/dev") as entries:
            return frozenset((e.name, e.inode()) for e in entries if e.name.startswith("hidraw"))
    except OSError:
        return None


class HidapiBackend:
    """The FIDO interfaces that the system's HID driver knows."""

    name = NAME

    def __init__(
        self,
        library: Any,
        *,
        node: Callable[[bytes], int | None] = node_of,
        nodes: Callable[[], object | None] = nodes_there,
        behind: Callable[[bytes], UsbDevice | None] = behind_hidraw,
        may_open: Callable[[bytes], bool] = lambda path: os.access(path, os.R_OK | os.W_OK),
    ) -> None:
        self._library = library
        self._node = node
        self._nodes = nodes
        self._behind = behind
        self._may_open = may_open
        self._seen: object | None = None
        self._looks = 0
        self._last: list[FoundDevice] = []
        self._known: dict[str, tuple[bytes, int | None]] = {}

    def devices(self) -> tuple[list[FoundDevice], list[Problem]]:
        """The FIDO interfaces there now. Asking the library takes milliseconds, so it is spared while nothing changes."""
        nodes = self._nodes()
        self._looks = self._looks + 1 if nodes is not None and nodes == self._seen else 0
        self._seen = nodes
        if self._looks > SETTLED_LOOKS:
            return list(self._last), []
        try:
            with _library:
                listed = self._library.enumerate()
        except OSError as error:
            self._looks = 0
            raise BackendUnavailable(f"{self.name}: {error}") from error
        known: dict[str, tuple[bytes, int | None]] = {}
        found: list[FoundDevice] = []
        for one in listed:
            if (one["usage_page"], one["usage"]) != (ctaphid.USAGE_PAGE, ctaphid.USAGE):
                continue
            path = bytes(one["path"])
            node = self._node(path)
            if node is None and path.startswith(b"/dev/"):
                continue  # unplugged, and listed still
            device = self._found(one, path, node)
            known[device.handle] = (path, node)
            found.append(device)
        self._known, self._last = known, found
        return list(found), []

    def _found(self, one: dict[str, Any], path: bytes, node: int | None) -> FoundDevice:
        maker, product, serial = (
            shown(one[field])
            for field in ("manufacturer_string", "product_string", "serial_number")
        )
        usb = self._behind(path)
        seed = b"|".join((self.name.encode(), path, str(node).encode(), (serial or "").encode()))
        return FoundDevice(
            handle=hashlib.sha256(seed).hexdigest()[:16],
            backend=self.name,
            vendor=one["vendor_id"],
            product=one["product_id"],
            bus=usb.bus if usb else 0,
            address=usb.address if usb else 0,
            manufacturer=maker,
            product_name=product,
            serial=serial,
            emulated=is_emulated(maker, product),
            interfaces=frozenset({FIDO}),
            spot=usb.spot if usb else "",
            is_local=True,
        )

    def open(self, handle: str, on_gone: OnGone | None = None) -> CardPipe:
        """Never: a HID interface holds no card."""
        raise DeviceRefused("The device has no card reader that hidapi can reach.")

    def open_hid(self, handle: str, on_gone: OnGone | None = None) -> HidPipe:
        """Open a listed interface."""
        path, node = self._known.get(handle, (b"", None))
        if not path:
            raise DeviceGone("There is no such device; list the devices again.")
        if self._node(path) != node:
            raise DeviceGone("The key was unplugged.")
        device = self._library.device()
        try:
            with _library:
                device.open_path(path)
        except OSError as error:
            raise self._refusal(path, node) from error
        pipe = ReportPipe(_OpenHid(device, lambda: self._node(path) == node), on_gone)
        pipe.start(None)
        return pipe

    def _refusal(self, path: bytes, node: int | None) -> TransportError:
        """hidapi does not say why."""
        if self._node(path) != node:
            return DeviceGone("The key was unplugged.")
        where = path.decode(errors="replace")
        if node is None or not self._may_open(path):
            return DeviceRefused(not_permitted(where))
        return DeviceBusy(f"{where} cannot be opened. Another program may hold it; close that one.")


class _OpenHid:
    """One of the library's devices, as `ReportPipe` wants it."""

    def __init__(self, device: Any, there: Callable[[], bool]) -> None:
        self._device = device
        self._there = there

    def write(self, report: bytes, timeout_ms: int) -> None:
        """After unplugging the library gives -1, and raises nothing."""
        try:
            written = self._device.write(_NO_REPORT_NUMBER + report)
        except (OSError, ValueError) as error:
            raise self._failed(str(error)) from error
        if written < 0:
            raise self._failed("nothing was written")

    def read(self, timeout_ms: int) -> bytes:
        """After unplugging the library raises OSError."""
        try:
            return bytes(self._device.read(ctaphid.PACKET_BYTES, timeout_ms))
        except (OSError, ValueError) as error:
            raise DeviceGone("The key was unplugged.") from error

    def close(self) -> None:
        """Never fails."""
        self._device.close()

    def _failed(self, why: str) -> TransportError:
        if not self._there():
            return DeviceGone("The key was unplugged.")
        return TransportError(f"A report could not be sent: {why}.")
