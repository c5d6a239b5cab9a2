"""The FIDO HID interface as USB sees it: descriptors and control requests (HID 1.11, section 7).

Promises: the report descriptor is the specification's, so that systems take the interface for a security key. Reports go
over the interrupt endpoints; an output report may come by SET_REPORT too.
"""

from __future__ import annotations

import struct
from typing import Final

from keypeg_bridge.wire import usb
from keypeg_bridge.wire.ctaphid import PACKET_BYTES, REPORT_DESCRIPTOR

INTERFACE: Final = 1
OUT: Final = 0x04
IN: Final = 0x84
_HID_CLASS: Final = 0x03
_INTERVAL: Final = 2  # ms between polls at full speed
_HID: Final = 0x21
_REPORT: Final = 0x22
_DESCRIPTOR: Final = struct.pack("<BBHBBBH", 9, _HID, 0x0111, 0, 1, _REPORT, len(REPORT_DESCRIPTOR))

SET_REPORT: Final = (0x21, 0x09)
SET_IDLE: Final = (0x21, 0x0A)
GET_IDLE: Final = (0xA1, 0x02)
OUTPUT_REPORT: Final = 0x0200  # type and number in wValue


def describe(name_index: int) -> usb.Interface:
    """The interface with its endpoints."""
    return usb.Interface(
        number=INTERFACE,
        alternate=0,
        interface_class=_HID_CLASS,
        subclass=0,
        protocol=0,
        name_index=name_index,
        extra=_DESCRIPTOR,
        endpoints=(
            usb.Endpoint(OUT, 3, PACKET_BYTES, interval=_INTERVAL),
            usb.Endpoint(IN, 3, PACKET_BYTES, interval=_INTERVAL),
        ),
    )


def descriptor(setup: usb.Setup) -> bytes | None:
    """The answer to GET_DESCRIPTOR addressed to this interface."""
    return {_HID << 8: _DESCRIPTOR, _REPORT << 8: REPORT_DESCRIPTOR}.get(setup.value)
