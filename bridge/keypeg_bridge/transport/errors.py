"""What can go wrong between here and a card. One class per thing that a caller decides differently about."""

from __future__ import annotations


class TransportError(Exception):
    """A transfer failed, and trying again may help."""


class DeviceGone(TransportError):
    """The device or its card is not there any more; this pipe will not come back."""


class DeviceTimeout(TransportError):
    """The device did not answer in time; it may still be there."""


class DeviceBusy(TransportError):
    """Another program holds the device."""


class DeviceRefused(TransportError):
    """The device or the system does not let us: no permission, or a kind of reader that cannot be driven."""


class BackendUnavailable(TransportError):
    """A way to reach devices cannot be used now; others are not affected."""
