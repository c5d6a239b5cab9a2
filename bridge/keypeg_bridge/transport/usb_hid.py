"""A FIDO interface over its interrupt endpoints, through any pyusb device, whatever backend it came from.

Promises: an interface is a FIDO one when its own report descriptor says so; one that the system's driver holds is left to
that driver (`hidapi.py` reaches it there), and never taken away from it.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any, Final

import usb.core
import usb.util

from keypeg_bridge.transport.errors import DeviceGone, DeviceRefused, TransportError
from keypeg_bridge.transport.hid_pipe import ReportPipe, Watch
from keypeg_bridge.transport.ports import OnGone
from keypeg_bridge.transport.usb_errors import configure, translated_errors
from keypeg_bridge.wire import ctaphid, hid
from keypeg_bridge.wire import usb as chapter9

FIDO_USAGE: Final = (ctaphid.USAGE_PAGE, ctaphid.USAGE)
_FROM_INTERFACE: Final = 0x81  # control transfer: in, standard, interface
_ASK_MS: Final = 1_000


def fido_interface(device: Any) -> Any | None:
    """The interface of a device that speaks CTAPHID, or None; asks HID interfaces with two interrupt endpoints."""
    for configuration in device:
        for interface in usb.util.find_descriptor(
            configuration, find_all=True, bInterfaceClass=hid.INTERFACE_CLASS
        ):
            if _endpoint(interface, usb.util.ENDPOINT_OUT) is None:
                continue  # a keyboard, or a mouse
            if _endpoint(interface, usb.util.ENDPOINT_IN) is not None and _is_fido(
                device, interface
            ):
                return interface
    return None


def _endpoint(interface: Any, direction: int) -> Any | None:
    return usb.util.find_descriptor(
        interface,
        custom_match=lambda e: (
            usb.util.endpoint_direction(e.bEndpointAddress) == direction
            and usb.util.endpoint_type(e.bmAttributes) == usb.util.ENDPOINT_TYPE_INTR
            and e.wMaxPacketSize == ctaphid.PACKET_BYTES
        ),
    )


def _is_fido(device: Any, interface: Any) -> bool:
    kind = hid.REPORT_DESCRIPTOR_KIND << 8
    number = interface.bInterfaceNumber
    try:
        with translated_errors():
            configure(device)
            raw = device.ctrl_transfer(
                _FROM_INTERFACE, chapter9.GET_DESCRIPTOR, kind, number, hid.MAX_DESCRIPTOR, _ASK_MS
            )
    except DeviceGone:
        raise
    except (TransportError, NotImplementedError):
        return False  # held by the system's driver, or it does not say what it is
    return FIDO_USAGE in hid.top_usages(bytes(raw))


@contextlib.contextmanager
def _cleared(endpoint: Any) -> Iterator[None]:
    """A stalled endpoint is made usable again; its error stays one."""
    try:
        yield
    except usb.core.USBError as error:
        if error.errno == errno.EPIPE:
            with contextlib.suppress(usb.core.USBError):
                endpoint.clear_halt()
        raise


class UsbHid:
    """The claimed interface of one device, as `ReportPipe` wants it."""

    def __init__(self, device: Any, interface: Any) -> None:
        self._device = device
        self._number = interface.bInterfaceNumber
        self._out: Any = _endpoint(interface, usb.util.ENDPOINT_OUT)
        self._in: Any = _endpoint(interface, usb.util.ENDPOINT_IN)
        with translated_errors():
            configure(device)
            usb.util.claim_interface(device, self._number)

    def write(self, report: bytes, timeout_ms: int) -> None:
        """One interrupt transfer out."""
        with translated_errors(), _cleared(self._out):
            self._out.write(report, timeout_ms)

    def read(self, timeout_ms: int) -> bytes:
        """One interrupt transfer in."""
        with translated_errors(), _cleared(self._in):
            received: bytes = self._in.read(ctaphid.PACKET_BYTES, timeout_ms).tobytes()
        return received

    def close(self) -> None:
        """Give the interface and the device back."""
        with contextlib.suppress(usb.core.USBError):
            usb.util.dispose_resources(self._device)


def open_hid_pipe(
    device: Any, *, on_gone: OnGone | None = None, watch: Watch | None = None
) -> ReportPipe:
    """The FIDO interface of `device` (a `usb.core.Device`); on failure the device is let go."""
    try:
        with translated_errors():
            interface = fido_interface(device)
        if interface is None:
            raise DeviceRefused("The device has no FIDO interface that is free.")
        pipe = ReportPipe(UsbHid(device, interface), on_gone)
        pipe.start(watch)
    except BaseException:
        with contextlib.suppress(usb.core.USBError):
            usb.util.dispose_resources(device)
        raise
    return pipe
