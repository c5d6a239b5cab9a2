"""From a listed device to a driver: open its pipe, and take the first driver that the key answers to.

Promises: drivers are tried in the order that was chosen, as far as the device has an interface for them; on failure
nothing stays open, and the error is that of the last one tried.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from keypeg_bridge.keys.ctap import CtapLink
from keypeg_bridge.keys.driver import KeyDriver
from keypeg_bridge.keys.errors import NotSupported
from keypeg_bridge.keys.fido2 import Fido2Driver
from keypeg_bridge.keys.fido2_commands import Fido2Key
from keypeg_bridge.keys.fido2_shelf import Shelf
from keypeg_bridge.keys.piv import PivDriver
from keypeg_bridge.keys.piv_identity import KINDS, IdentityKind
from keypeg_bridge.keys.smartkey import SmartkeyDriver
from keypeg_bridge.keys.smartkey_counters import SmartkeyCounters
from keypeg_bridge.transport.errors import DeviceRefused
from keypeg_bridge.transport.ports import CARD, FIDO, Backend, FoundDevice, Monotonic, OnGone

INTERFACES: Final = {"piv": CARD, "smartkey": CARD, "fido2": FIDO}
DRIVERS: Final = tuple(
    INTERFACES
)  # the order when none was chosen: cards hold their licenses themselves


@dataclass(frozen=True, slots=True)
class Drivers:
    """What drivers need besides a device."""

    now: Monotonic
    folder: Path | None = (
        None  # where keys without room for licenses have theirs; None: no such keys
    )
    order: tuple[str, ...] = DRIVERS
    counters: SmartkeyCounters = field(default_factory=SmartkeyCounters)
    kinds: tuple[IdentityKind, ...] = KINDS  # of identity keys that PIV cards are asked to make


def open_driver(
    backend: Backend, device: FoundDevice, drivers: Drivers, on_gone: OnGone | None = None
) -> KeyDriver:
    """A driver for a listed device. `on_gone`: see `transport.ports.Backend.open`."""
    fitting = [
        name
        for name in drivers.order
        if INTERFACES[name] in device.interfaces and (name != "fido2" or drivers.folder)
    ]
    refused: NotSupported | None = None
    for name in fitting:
        try:
            return _open(name, backend, device, drivers, on_gone)
        except NotSupported as error:
            refused = error
    if refused is not None:
        raise refused
    raise DeviceRefused(f"None of the drivers {', '.join(drivers.order)} fits the device.")


def _open(
    name: str, backend: Backend, device: FoundDevice, drivers: Drivers, on_gone: OnGone | None
) -> KeyDriver:
    model = device.product_name or f"{device.vendor:04x}:{device.product:04x}"
    if INTERFACES[name] == CARD:
        card = backend.open(device.handle, on_gone)
        try:
            if name == "piv":
                return PivDriver(
                    card,
                    model=model,
                    serial=device.serial,
                    emulated=device.emulated,
                    kinds=drivers.kinds,
                )
            return SmartkeyDriver(
                card, drivers.counters, model=model, serial=device.serial, emulated=device.emulated
            )
        except BaseException:
            card.close()
            raise
    assert drivers.folder is not None
    pipe = backend.open_hid(device.handle, on_gone)
    try:
        return Fido2Driver(
            Fido2Key(CtapLink(pipe, drivers.now)),
            Shelf(drivers.folder),
            gone=lambda: pipe.gone,
            model=model,
            serial=device.serial,
            emulated=device.emulated,
        )
    except BaseException:
        pipe.close()
        raise
