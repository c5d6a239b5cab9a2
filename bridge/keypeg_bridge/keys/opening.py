"""From a listed device to a driver: open the pipe, pick the driver that the card answers to."""

from __future__ import annotations

from keypeg_bridge.keys.driver import KeyDriver
from keypeg_bridge.keys.piv import PivDriver
from keypeg_bridge.transport.ports import Backend, FoundDevice, OnGone


def open_driver(backend: Backend, device: FoundDevice, on_gone: OnGone | None = None) -> KeyDriver:
    """A driver for a listed device; on failure nothing stays open. `on_gone`: see `transport.ports.Backend.open`."""
    pipe = backend.open(device.handle, on_gone)
    try:
        return PivDriver(
            pipe,
            model=device.product_name or f"{device.vendor:04x}:{device.product:04x}",
            serial=device.serial,
            emulated=device.emulated,
        )
    except BaseException:
        pipe.close()
        raise
