"""Yubico's python-fido2 on an emulated key: a third party's client, over the real USB/IP wire and pyusb.

Use `with plugged_in(emukey) as device:`; `device` is python-fido2's own CtapHidDevice, which wants three calls of a transport.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import usb.core
import usb.util
from fido2.hid import CtapHidDevice
from fido2.hid.base import CtapHidConnection, HidDescriptor

from keypeg.clock import monotonic
from keypeg_bridge.transport.usbip_backend import UsbIpBackend
from tests.bridge.emukey import Emukey

HID_CLASS: Final = 3
READ_MS: Final = 10_000


class UsbHid(CtapHidConnection):
    """The FIDO interface of the one device of a USB/IP server; its endpoints are taken from its descriptors."""

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self._device = usb.core.find(backend=UsbIpBackend(host, int(port), monotonic))
        assert self._device is not None
        self._device.set_configuration()
        interface = usb.util.find_descriptor(
            self._device.get_active_configuration(), bInterfaceClass=HID_CLASS
        )
        assert interface is not None
        self.number = interface.bInterfaceNumber
        into, out = (
            next(e for e in interface if usb.util.endpoint_direction(e.bEndpointAddress) == way)
            for way in (usb.util.ENDPOINT_IN, usb.util.ENDPOINT_OUT)
        )
        self._in, self._out = into.bEndpointAddress, out.bEndpointAddress

    def descriptor(self, kind: int) -> bytes:
        """A class descriptor of the interface."""
        raw = self._device.ctrl_transfer(0x81, 0x06, kind << 8, self.number, 256, 2_000)
        return bytes(raw)

    def read_packet(self) -> bytes:
        return bytes(self._device.read(self._in, 64, READ_MS))

    def write_packet(self, data: bytes) -> None:
        assert self._device.write(self._out, data, 2_000) == len(data)

    def send_by_control(self, data: bytes) -> None:
        """A report by SET_REPORT, as hosts without an OUT endpoint send it."""
        self._device.ctrl_transfer(0x21, 0x09, 0x0200, self.number, data, 2_000)

    def close(self) -> None:
        usb.util.dispose_resources(self._device)


@contextlib.contextmanager
def connected(key: Emukey) -> Iterator[UsbHid]:
    """The bare transport."""
    connection = UsbHid(key.address)
    try:
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def plugged_in(key: Emukey) -> Iterator[Any]:
    """python-fido2's device; plugging in is what an emulated key takes an import for."""
    with connected(key) as connection:
        facts = HidDescriptor("usbip", 0x1209, 1, 64, 64, "keypeg emulated key", None)
        yield CtapHidDevice(facts, connection)
