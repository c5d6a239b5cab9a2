"""BER-TLV as smart cards use it (ISO 7816-4 section 5.2.2, NIST SP 800-73-4 part 1 appendix A).

Promises: `parse` reads any byte string to the end or raises `MalformedFrame`; `encode` writes the shortest form. Tags are
integers of their bytes as written (0x5FC102, not a tag number), one to three bytes; lengths are definite, up to 65,535.
What the values mean is left to the caller: nothing here descends into constructed values by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keypeg_bridge.wire.errors import MalformedFrame

MAX_LENGTH: Final = 0xFFFF  # bytes; no card object here comes near it
MAX_TAG_BYTES: Final = 3  # PIV object tags have three bytes


@dataclass(frozen=True, slots=True)
class Tlv:
    """One element: the tag as written, and its value."""

    tag: int
    value: bytes


def encode(tag: int, value: bytes) -> bytes:
    """One element in the shortest form."""
    if len(value) > MAX_LENGTH:
        raise ValueError(f"a TLV value of {len(value)} bytes is over the limit of {MAX_LENGTH}")
    return encode_tag(tag) + _encode_length(len(value)) + value


def encode_tag(tag: int) -> bytes:
    """The bytes of a tag, one to three of them; `ValueError` for one that would not read back."""
    size = max(1, (tag.bit_length() + 7) // 8)
    if tag < 0 or size > MAX_TAG_BYTES:
        raise ValueError(f"tag {tag:#x} does not fit in {MAX_TAG_BYTES} bytes")
    raw = tag.to_bytes(size, "big")
    if _tag_size(raw, 0) != size:
        raise ValueError(f"{tag:#x} is not the writing of one tag")
    return raw


def _encode_length(length: int) -> bytes:
    if length < 0x80:
        return bytes((length,))
    if length <= 0xFF:
        return bytes((0x81, length))
    return b"\x82" + length.to_bytes(2, "big")


def parse(data: bytes) -> tuple[Tlv, ...]:
    """All elements of `data`, which they must fill exactly."""
    elements: list[Tlv] = []
    at = 0
    while at < len(data):
        element, at = _parse_one(data, at)
        elements.append(element)
    return tuple(elements)


def find(data: bytes, tag: int) -> bytes | None:
    """The value of the first element with this tag on the top level, or None."""
    for element in parse(data):
        if element.tag == tag:
            return element.value
    return None


def unwrap(data: bytes, tag: int) -> bytes:
    """The value of `data`, which must be exactly one element with this tag."""
    elements = parse(data)
    if len(elements) != 1 or elements[0].tag != tag:
        seen = ", ".join(f"{e.tag:X}" for e in elements[:4]) or "nothing"
        raise MalformedFrame("TLV", f"expected one element {tag:X}, found {seen}")
    return elements[0].value


def _tag_size(data: bytes, at: int) -> int:
    """How many bytes the tag at `at` has; 0 when it does not end within the limit or the data."""
    if data[at] & 0x1F != 0x1F:
        return 1
    for size in range(2, MAX_TAG_BYTES + 1):
        if at + size > len(data):
            return 0
        if data[at + size - 1] & 0x80 == 0:
            return size
    return 0


def _parse_one(data: bytes, at: int) -> tuple[Tlv, int]:
    size = _tag_size(data, at)
    if size == 0:
        raise MalformedFrame("TLV", f"the tag at offset {at} does not end")
    tag = int.from_bytes(data[at : at + size], "big")
    at += size
    if at >= len(data):
        raise MalformedFrame("TLV", f"element {tag:X} has no length")
    first = data[at]
    at += 1
    if first < 0x80:
        length = first
    else:
        count = first & 0x7F
        if not 1 <= count <= 3:
            raise MalformedFrame("TLV", f"element {tag:X} has length form {first:#04x}")
        if at + count > len(data):
            raise MalformedFrame("TLV", f"the length of element {tag:X} is cut short")
        length = int.from_bytes(data[at : at + count], "big")
        at += count
    if length > MAX_LENGTH:
        raise MalformedFrame("TLV", f"element {tag:X} claims {length} bytes")
    if at + length > len(data):
        raise MalformedFrame(
            "TLV", f"element {tag:X} claims {length} bytes, {len(data) - at} follow"
        )
    return Tlv(tag, data[at : at + length]), at + length
