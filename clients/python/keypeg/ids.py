"""Ids that sort by time: UUID version 7 (RFC 9562, 5.7), from a time and randomness that come in.

Promises: ids of different microseconds sort by time, as UUIDs and as texts, to a quarter of a
microsecond's error; 62 bits are the caller's randomness.

Leaves to others: the clock, and the source of randomness.
"""

from __future__ import annotations

import uuid
from typing import Final

RANDOM_BYTES: Final = 8  # at least; 62 of their bits are used
_MILLISECONDS_BITS: Final = 48
_FRACTION_BITS: Final = 12  # the part of a millisecond, in rand_a (RFC 9562, 6.2, method 3)


def uuid7(unix_us: int, random: bytes) -> uuid.UUID:
    """The id of a time in microseconds since 1970 and of at least 8 random bytes.

    ValueError when the time does not fit 48 bits of milliseconds or the randomness is too short.
    """
    return uuid.UUID(int=_number(unix_us, random))


def uuid7_text(unix_us: int, random: bytes) -> str:
    """`id_text(uuid7(...))`, at once."""
    return f"{_number(unix_us, random):032x}"


def _number(unix_us: int, random: bytes) -> int:
    if len(random) < RANDOM_BYTES:
        raise ValueError(f"uuid7 needs {RANDOM_BYTES} random bytes, not {len(random)}")
    milliseconds, microseconds = divmod(unix_us, 1000)
    if not 0 <= milliseconds < 1 << _MILLISECONDS_BITS:
        raise ValueError(f"{unix_us} microseconds do not fit a version 7 UUID")
    fraction = (microseconds << _FRACTION_BITS) // 1000
    tail = int.from_bytes(random[:RANDOM_BYTES], "big") & ((1 << 62) - 1)
    return milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | tail


def id_text(value: uuid.UUID) -> str:
    """An id as resource names carry it: 32 lower-case hexadecimal characters."""
    return value.hex
