"""pyusb's errors as this package's, and the choice of a configuration: what every pipe over pyusb needs."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any, Final

import usb.core

from keypeg_bridge.transport.errors import (
    DeviceBusy,
    DeviceGone,
    DeviceRefused,
    DeviceTimeout,
    TransportError,
)
from keypeg_bridge.transport.permissions import not_permitted

GONE: Final = frozenset({errno.ENODEV, errno.ESHUTDOWN})
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM})


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """pyusb's errors as this package's."""
    try:
        yield
    except usb.core.USBTimeoutError as error:
        raise DeviceTimeout("The device did not answer in time.") from error
    except usb.core.USBError as error:
        raise _translate(error) from error


def _translate(error: Any) -> TransportError:
    if error.errno in GONE:
        return DeviceGone("The device was unplugged.")
    if error.errno == errno.ETIMEDOUT:
        return DeviceTimeout("The device did not answer in time.")
    if error.errno == errno.EBUSY:
        return DeviceBusy(
            "Another program holds the device. If that is the card service (pcscd), let the bridge ask"
            " it: pip install 'keypeg[pcsc]', and `pcsc` among keys.backends; or stop the service."
        )
    if error.errno in _REFUSED:
        return DeviceRefused(not_permitted("the device"))
    return TransportError(f"The USB transfer failed: {error.strerror or error}.")


def configure(device: Any) -> None:
    """Choose the first configuration, unless the system has chosen: others may be using it."""
    try:
        device.get_active_configuration()
    except usb.core.USBError as error:
        if error.errno in GONE | _REFUSED:
            raise
        device.set_configuration()
