"""CBOR as CTAP speaks it: the canonical encoding form of CTAP 2.1, section 8, and nothing beside it.

Promises: `decode` takes any bytes and gives a value or `MalformedFrame`; it accepts exactly what `encode` writes, so both
are each other's inverse. What is refused: longer forms than needed, indefinite lengths, unsorted or repeated map keys, keys
other than numbers and text, tags, floating point, more than four levels, bytes left over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from keypeg_bridge.wire.errors import MalformedFrame

MAX_DEPTH: Final = 4  # levels of maps and arrays (section 8)

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP = range(6)
_SIMPLE: Final = {0xF4: False, 0xF5: True, 0xF6: None}
_SIMPLE_CODES: Final = {False: b"\xf4", True: b"\xf5", None: b"\xf6"}


def encode(value: Any) -> bytes:
    """The canonical bytes of integers, bytes, text, booleans, None, sequences and mappings; `ValueError` for others."""
    match value:
        case bool() | None:
            return _SIMPLE_CODES[value]
        case int():
            return _head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value)
        case bytes() | bytearray():
            return _head(_BYTES, len(value)) + bytes(value)
        case str():
            raw = value.encode()
            return _head(_TEXT, len(raw)) + raw
        case Mapping():
            pairs = sorted(((encode(k), encode(v)) for k, v in value.items()), key=_order)
            return _head(_MAP, len(pairs)) + b"".join(k + v for k, v in pairs)
        case Sequence():
            return _head(_ARRAY, len(value)) + b"".join(encode(v) for v in value)
    raise ValueError(f"CBOR has no {type(value).__name__} here")


def decode(raw: bytes) -> Any:
    """The one value in `raw`, as encode takes it."""
    value, end = _Reader(raw).value(0, 0)
    if end != len(raw):
        raise _malformed(f"{len(raw) - end} bytes after the value")
    return value


def _order(pair: tuple[bytes, bytes]) -> tuple[int, int, bytes]:
    """The order of map keys: major type, then length, then bytes."""
    key = pair[0]
    return key[0] >> 5, len(key), key


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes((major << 5 | number,))
    for information, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes((major << 5 | information,)) + number.to_bytes(size, "big")
    raise ValueError(f"{number} is too large for CBOR")


def _malformed(detail: str) -> MalformedFrame:
    return MalformedFrame("CBOR", detail)


class _Reader:
    """Values by their offset; every method gives what it read and where it ended."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        if at >= len(self._raw):
            raise _malformed("it ends early")
        first = self._raw[at]
        if first >= 0xE0:
            if first not in _SIMPLE:
                raise _malformed(f"initial byte {first:#04x}")
            return _SIMPLE[first], at + 1
        major = first >> 5
        number, at = self._number(at)
        match major:
            case 0:
                return number, at
            case 1:
                return -1 - number, at
            case 2:
                return self._take(at, number)
            case 3:
                raw, end = self._take(at, number)
                try:
                    return raw.decode(), end
                except UnicodeDecodeError:
                    raise _malformed("text that is no UTF-8") from None
            case 4 | 5 if depth >= MAX_DEPTH:
                raise _malformed(f"more than {MAX_DEPTH} levels")
            case 4:
                return self._array(at, number, depth + 1)
            case 5:
                return self._map(at, number, depth + 1)
        raise _malformed("a tag")

    def _number(self, at: int) -> tuple[int, int]:
        information = self._raw[at] & 0x1F
        if information < 24:
            return information, at + 1
        if information > 27:
            raise _malformed("an indefinite or reserved length")
        size = 1 << information - 24
        raw, end = self._take(at + 1, size)
        number = int.from_bytes(raw, "big")
        if number < 24 or (size > 1 and number < 1 << 4 * size):
            raise _malformed(f"{number} in {size} bytes")
        return number, end

    def _take(self, at: int, size: int) -> tuple[bytes, int]:
        if size > len(self._raw) - at:
            raise _malformed("it ends early")
        return self._raw[at : at + size], at + size

    def _array(self, at: int, count: int, depth: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        for _ in range(count):
            value, at = self.value(at, depth)
            values.append(value)
        return values, at

    def _map(self, at: int, count: int, depth: int) -> tuple[dict[int | str, Any], int]:
        values: dict[int | str, Any] = {}
        before: tuple[int, int, bytes] | None = None
        for _ in range(count):
            start = at
            if at < len(self._raw) and self._raw[at] >> 5 not in (_UNSIGNED, _NEGATIVE, _TEXT):
                raise _malformed("a map key that is neither a number nor text")
            key, at = self.value(at, depth)
            order = _order((self._raw[start:at], b""))
            if before is not None and order <= before:
                raise _malformed("map keys out of order or repeated")
            before = order
            values[key], at = self.value(at, depth)
        return values, at
