"""HID report descriptors (HID 1.11, section 6.2.2), as far as telling a FIDO interface from a keyboard takes.

Promises: any bytes end in an answer; nothing is read beyond them. What reports mean is left to `ctaphid.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

INTERFACE_CLASS: Final = 0x03
REPORT_DESCRIPTOR_KIND: Final = 0x22
MAX_DESCRIPTOR: Final = 4_096  # bytes; keyboards with everything have some hundred

_LONG_ITEM: Final = 0xFE
_USAGE_PAGE: Final = 0x04  # prefix without its size
_USAGE: Final = 0x08
_COLLECTION: Final = 0xA0
_SIZES: Final = (0, 1, 2, 4)


def top_usages(descriptor: bytes) -> list[tuple[int, int]]:
    """Usage page and usage of each outermost collection; what is cut off ends the list."""
    found: list[tuple[int, int]] = []
    page, usage, depth = 0, 0, 0
    for prefix, value in _items(descriptor):
        if prefix == _USAGE_PAGE:
            page = value
        elif prefix == _USAGE:
            usage = value
        elif prefix == _COLLECTION:
            if depth == 0:
                found.append((usage >> 16 or page, usage & 0xFFFF))
            depth += 1
        elif prefix == 0xC0:
            depth = max(0, depth - 1)
    return found


def _items(descriptor: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while at < len(descriptor):
        head = descriptor[at]
        if head == _LONG_ITEM:
            if at + 1 >= len(descriptor):
                return
            at += 3 + descriptor[at + 1]
            continue
        size = _SIZES[head & 0x03]
        data = descriptor[at + 1 : at + 1 + size]
        if len(data) < size:
            return
        yield head & 0xFC, int.from_bytes(data, "little")
        at += 1 + size
