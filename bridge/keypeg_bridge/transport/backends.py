"""Which devices there are, over all the ways to reach them: `pcsc`, `hidapi`, `libusb` and `usbip:HOST:PORT`.

Promises: one backend that fails never hides the others' devices; a device keeps its handle as long as it stays plugged in,
and a replugged one gets a new handle; listing is cheap enough to poll, as each device's strings are read once.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import usb.core
import usb.util

from keypeg_bridge.transport import hidapi, pcsc
from keypeg_bridge.transport.errors import (
    BackendUnavailable,
    DeviceGone,
    DeviceTimeout,
    TransportError,
)
from keypeg_bridge.transport.ports import (
    CARD,
    FIDO,
    Backend,
    CardPipe,
    FoundDevice,
    HidPipe,
    Listing,
    Monotonic,
    OnGone,
    Problem,
)
from keypeg_bridge.transport.strings import is_emulated, shown, usb_spot
from keypeg_bridge.transport.usb_ccid import Watch, ccid_interface, open_pipe
from keypeg_bridge.transport.usb_errors import translated_errors
from keypeg_bridge.transport.usb_hid import fido_interface, open_hid_pipe
from keypeg_bridge.transport.usbip_backend import UsbIpBackend

SETTLED_LOOKS: Final = (
    10  # at the same device nodes, after which libusb is asked only when they change
)
USB_NODES: Final = Path("/dev/bus/usb")
REST_LISTINGS: Final = 20  # that pass over a device that did not answer, so that it slows no other
FORMS: Final = "pcsc, hidapi, libusb, usbip:HOST:PORT"

_Identity = tuple[int, int, int, int]


class PyusbBackend:
    """The devices of one pyusb backend that hold a card, or speak FIDO with nobody else having them."""

    def __init__(
        self,
        name: str,
        backend: Any,
        now: Monotonic,
        watch: Callable[[int, int], Watch] | None = None,
        *,
        is_local: bool = False,
        nodes: Callable[[], object | None] = lambda: None,
    ) -> None:
        self.name = name
        self._backend = backend
        self._now = now
        self._watch = watch
        self._is_local = is_local
        self._nodes = nodes
        self._seen: object | None = None
        self._looks = 0
        self._listing = threading.Lock()  # one listing at a time; opening does not wait for it
        self._known: dict[_Identity, FoundDevice | None] = {}
        self._resting: dict[_Identity, tuple[int, Problem]] = {}
        self._troubled = True

    def devices(self) -> tuple[list[FoundDevice], list[Problem]]:
        """The devices of use that are there now, and what kept others from being looked at."""
        with self._listing:
            nodes = self._nodes()
            self._looks = self._looks + 1 if nodes is not None and nodes == self._seen else 0
            self._seen = nodes
            if self._looks > SETTLED_LOOKS and not self._troubled:
                return [f for f in self._known.values() if f is not None], []
            try:
                devices = list(usb.core.find(find_all=True, backend=self._backend))
            except usb.core.USBError as error:
                raise BackendUnavailable(f"{self.name}: {error.strerror or error}") from error
            problems: list[Problem] = []
            present = {_identity(d): d for d in devices}
            known = {i: f for i, f in self._known.items() if i in present}
            self._resting = {
                i: (left - 1, p) for i, (left, p) in self._resting.items() if i in present and left
            }
            for identity, device in present.items():
                if identity in self._resting:
                    problems.append(self._resting[identity][1])
                elif identity not in known:
                    try:
                        known[identity] = self._examine(device)
                    except TransportError as error:
                        where = f"{device.idVendor:04x}:{device.idProduct:04x}"
                        problem = Problem(self.name, f"Device {where}: {error}")
                        problems.append(problem)
                        if isinstance(error, DeviceTimeout):
                            self._resting[identity] = (REST_LISTINGS, problem)
            self._known, self._troubled = known, bool(problems)
            return [f for f in known.values() if f is not None], problems

    def open(self, handle: str, on_gone: OnGone | None = None) -> CardPipe:
        """Power the card of a listed device."""
        device, watch = self._find(handle)
        return open_pipe(device, self._now, on_gone=on_gone, watch=watch)

    def open_hid(self, handle: str, on_gone: OnGone | None = None) -> HidPipe:
        """Open the FIDO interface of a listed device."""
        device, watch = self._find(handle)
        return open_hid_pipe(device, on_gone=on_gone, watch=watch)

    def _find(self, handle: str) -> tuple[Any, Watch | None]:
        known = self._known  # replaced as a whole by a listing
        wanted = [i for i, f in known.items() if f is not None and f.handle == handle]
        if not wanted:
            raise DeviceGone("There is no such device; list the devices again.")
        identity = wanted[0]
        with translated_errors():
            devices = usb.core.find(find_all=True, backend=self._backend)
            device = next((d for d in devices if _identity(d) == identity), None)
        if device is None:
            raise DeviceGone("The device was unplugged.")
        watch = self._watch(identity[0], identity[1]) if self._watch else None
        return device, watch

    def _examine(self, device: Any) -> FoundDevice | None:
        """What is known of a device seen for the first time; None when it is of no use."""
        try:
            with translated_errors():
                interfaces = {CARD} if ccid_interface(device) is not None else set()
                if fido_interface(device) is not None:
                    interfaces.add(FIDO)
                if not interfaces:
                    return None
                texts = [
                    _text(device, index)
                    for index in (device.iManufacturer, device.iProduct, device.iSerialNumber)
                ]
        finally:
            usb.util.dispose_resources(device)
        identity = _identity(device)
        seed = "|".join((self.name, *map(str, identity), texts[2] or ""))
        return FoundDevice(
            handle=hashlib.sha256(seed.encode()).hexdigest()[:16],
            backend=self.name,
            vendor=device.idVendor,
            product=device.idProduct,
            bus=identity[0],
            address=identity[1],
            manufacturer=texts[0],
            product_name=texts[1],
            serial=texts[2],
            emulated=is_emulated(texts[0], texts[1]),
            interfaces=frozenset(interfaces),
            spot=usb_spot(identity[0], identity[1]) if self._is_local else "",
            is_local=self._is_local,
        )


def _identity(device: Any) -> _Identity:
    return (device.bus or 0, device.address or 0, device.idVendor, device.idProduct)


def _text(device: Any, index: int) -> str | None:
    """A string of the device's, printable and short whatever it says; None when it has none."""
    if not index:
        return None
    try:
        raw = usb.util.get_string(device, index)
    except (ValueError, IndexError):  # no languages, or no text in it
        return None
    return shown(raw)


def usb_nodes(folder: Path = USB_NODES) -> frozenset[tuple[str, int]] | None:
    """The nodes of USB devices, cheaply; None where there are none to look at."""
    found: set[tuple[str, int]] = set()
    try:
        with os.scandir(folder) as buses:
            for bus in buses:
                with os.scandir(bus.path) as entries:
                    found.update((entry.path, entry.inode()) for entry in entries)
    except OSError:
        return None
    return frozenset(found)


def make_backend(setting: str, now: Monotonic) -> Backend:
    """The backend that one setting names; `ValueError` with a sentence for anything else."""
    kind, _, rest = setting.partition(":")
    if setting == "libusb":
        return PyusbBackend(setting, _libusb(), now, is_local=True, nodes=usb_nodes)
    if setting == pcsc.NAME:
        return pcsc.PcscBackend(pcsc.load_library(), now)
    if setting == hidapi.NAME:
        return hidapi.HidapiBackend(hidapi.load_library())
    if kind == "usbip":
        host, _, port = rest.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if host and port.isascii() and port.isdigit() and 0 < int(port) < 65_536:
            backend = UsbIpBackend(host, int(port), now)

            def watch(bus: int, address: int) -> Watch:
                return lambda callback: backend.watch(bus, address, callback)

            return PyusbBackend(setting, backend, now, watch, nodes=backend.present)
    raise ValueError(f"The key backend {setting!r} is unknown. Use one of: {FORMS}.")


def _libusb() -> Any:
    import libusb_package

    backend = libusb_package.get_libusb1_backend()
    if backend is None:
        raise BackendUnavailable("The libusb library cannot be loaded on this system.")
    return backend


def list_all(backends: Iterable[Backend]) -> Listing:
    """Every backend's devices; a backend that fails is reported and does not stop the others."""
    devices: list[FoundDevice] = []
    problems: list[Problem] = []
    failed: set[str] = set()
    for backend in backends:
        try:
            found, own = backend.devices()
        except Exception as error:  # a broken backend must never hide the others
            failed.add(backend.name)
            problems.append(Problem(backend.name, str(error) or type(error).__name__))
            continue
        devices += found
        problems += own
    return Listing(tuple(devices), tuple(problems), frozenset(failed))
