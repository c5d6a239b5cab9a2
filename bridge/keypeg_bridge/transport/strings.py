"""What devices say of themselves, for people: printable and short, whatever it was."""

from __future__ import annotations

from typing import Final

EMULATED_STRINGS: Final = ("keypeg", "keypeg emulated key")
MAX_TEXT: Final = 126  # characters of a string descriptor


def shown(text: str | None) -> str | None:
    """A device's string; None when it has none."""
    return "".join(c for c in text[:MAX_TEXT] if c.isprintable()) or None if text else None


def is_emulated(manufacturer: str | None, product: str | None) -> bool:
    """Whether a device says that it is keypeg's own emulated key."""
    return (manufacturer, product) == EMULATED_STRINGS


def usb_spot(bus: int, address: int) -> str:
    """Where a device is on this computer's own USB: the same from every backend that knows."""
    return f"usb {bus}-{address}"
