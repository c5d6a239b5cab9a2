"""Records of the log that are kept together: from JSON objects to one value of a row, and back.

Promises: what comes back are the bytes that were hashed, numbered and with their hashes; whatever is in the
row, something comes back, which the chain's verification judges.

Leaves to others: rows (log_writer.py, log_store.py), the chain itself (keypeg.log).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

from keypeg.log import Record, chained

BLOCK_RECORDS: Final = 1_000  # of one row
COMPRESSED_FROM: Final = 1_500  # bytes; less is kept as it is
LEVEL: Final = 1  # higher ones cost more time than they save in writing
BLOCK_BYTES: Final = 64_000_000  # above any block: what unpacks to more was not packed here
UNREADABLE: Final = b'{"event":"log_unreadable"}'


def packed(bodies: Sequence[bytes]) -> bytes:
    """Records as one value: lines, for JSON as it is written here has no line ends; compressed when long."""
    raw = b"\n".join(bodies)
    return zlib.compress(raw, LEVEL) if len(raw) >= COMPRESSED_FROM else raw


def unpacked(value: bytes) -> list[bytes]:
    """The records again."""
    if not value.startswith(b"{"):
        try:
            value = zlib.decompressobj().decompress(value, BLOCK_BYTES)
        except zlib.error:
            return [UNREADABLE]
    return value.split(b"\n")


def records(row: Any, before: bytes) -> list[Record]:
    """The records of a row; the hashes follow from the one before it, and the last is as it was kept."""
    bodies = unpacked(as_bytes(row.body))
    found: list[Record] = []
    for number, body in enumerate(bodies, row.first_sequence):
        before = chained(before, body)
        found.append(Record(number, before, body))
    found[-1] = Record(found[-1].sequence, as_bytes(row.hash), bodies[-1])
    return found


def as_bytes(value: bytes | str) -> bytes:
    """What is in a column of bytes, where someone else may have put a text."""
    return value.encode() if isinstance(value, str) else bytes(value)
