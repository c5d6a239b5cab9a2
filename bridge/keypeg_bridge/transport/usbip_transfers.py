"""Transfers and descriptors of an imported USB/IP device, with pyusb's errors.

Promises: every failure is a `USBError` with the errno that pyusb users decide by; foreign descriptors are parsed with
bounds. Which device, and what is kept of it, is `usbip_backend.py`'s.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final

from usb.core import USBError, USBTimeoutError

from keypeg_bridge.transport import usbip_client
from keypeg_bridge.transport.errors import (
    DeviceBusy,
    DeviceGone,
    DeviceTimeout,
    TransportError,
)
from keypeg_bridge.wire import usb as chapter9
from keypeg_bridge.wire import usbip
from keypeg_bridge.wire.errors import MalformedFrame

DESCRIPTOR_SECONDS: Final = 2.0
MAX_CONFIGURATIONS: Final = 8
TO_DEVICE_IN: Final = 0x80
TO_DEVICE_OUT: Final = 0x00
TO_INTERFACE_OUT: Final = 0x01
TO_ENDPOINT_OUT: Final = 0x02


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What an imported device said about itself."""

    device: chapter9.DeviceDescriptor
    configurations: tuple[chapter9.Configuration, ...]


def translated(error: Exception) -> USBError:
    """A transport's error as pyusb users know it."""
    match error:
        case DeviceGone():
            return USBError(str(error), None, errno.ENODEV)
        case DeviceTimeout():
            return USBTimeoutError(str(error), None, errno.ETIMEDOUT)
        case DeviceBusy():
            return USBError(str(error), None, errno.EBUSY)
        case _:
            return USBError(str(error), None, errno.EIO)


def interface_numbers(configuration: chapter9.Configuration) -> list[int]:
    """Interface numbers in order, each once."""
    return list(dict.fromkeys(i.number for i in configuration.interfaces))


def read_descriptors(held: usbip_client.Imported) -> Descriptors:
    def get(kind: int, index: int, room: int) -> bytes:
        value = kind << 8 | index
        return control(held, TO_DEVICE_IN, chapter9.GET_DESCRIPTOR, value, 0, room=room)

    try:
        device = chapter9.DeviceDescriptor.decode(get(chapter9.DEVICE, 0, 18))
        configurations = []
        for index in range(min(device.configurations, MAX_CONFIGURATIONS)):
            total = chapter9.total_length(get(chapter9.CONFIGURATION, index, 9))
            whole = get(chapter9.CONFIGURATION, index, total)
            configurations.append(chapter9.parse_configuration(whole))
    except MalformedFrame as error:
        raise USBError(str(error), None, errno.EIO) from error
    return Descriptors(device, tuple(configurations))


def control(
    held: usbip_client.Imported, kind: int, request: int, value: int, index: int, *, room: int = 0
) -> bytes:
    setup = chapter9.Setup(kind, request, value, index, room)
    endpoint = kind & 0x80
    return transfer(held, endpoint, room, int(DESCRIPTOR_SECONDS * 1000), setup=setup).data


def transfer(
    held: usbip_client.Imported,
    endpoint: int,
    length: int,
    timeout: int,
    *,
    data: bytes = b"",
    setup: chapter9.Setup | None = None,
) -> usbip.Returned:
    direction = usbip.DIRECTION_IN if endpoint & 0x80 else usbip.DIRECTION_OUT
    try:
        answer = held.transfer(
            endpoint & 0x0F,
            direction,
            length,
            data=data,
            setup=setup.encode() if setup else bytes(8),
            timeout=timeout / 1000 if timeout else None,
        )
    except TransportError as error:
        raise translated(error) from error
    if answer.status:
        code = -answer.status
        words = "the device stalled" if code == errno.EPIPE else f"transfer failed ({code})"
        raise USBError(words, answer.status, code)
    return answer
