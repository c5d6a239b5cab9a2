"""The protocol of the virtual smart card reader `vpcd` (vsmartcard), on a byte stream, from the card's side; without I/O.

Promises: `CardDecoder` takes bytes in any pieces and gives whole messages in order; no bytes are malformed, as every length
that can be said is a message: what it holds is at most one message of 64 KiB.

Each message is its length (2 bytes, big endian) and so many bytes. One byte is an order to the card, more are a command APDU. The
card answers APDUs, and the order to tell its answer to reset.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from keypeg_bridge.wire.errors import MalformedFrame

LENGTH_BYTES: Final = 2
MAX_MESSAGE: Final = 0xFFFF  # bytes, what the length can say


class Order(IntEnum):
    """What a message of one byte says; others are kept as plain numbers."""

    POWER_OFF = 0x00
    POWER_ON = 0x01
    RESET = 0x02
    TELL_ATR = 0x04


@dataclass(frozen=True, slots=True)
class Apdu:
    """A command for the card."""

    command: bytes


def frame(data: bytes) -> bytes:
    """A message of the card's; `MalformedFrame` when its length cannot be said."""
    if len(data) > MAX_MESSAGE:
        raise MalformedFrame("vpcd", f"a message of {len(data)} bytes, the limit is {MAX_MESSAGE}")
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


class CardDecoder:
    """What the reader sends."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Apdu | int]:
        """Take bytes, give the messages they complete: an APDU, or the number of an order. Empty ones are passed over."""
        self._held += data
        messages: list[Apdu | int] = []
        while len(self._held) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(self._held[:LENGTH_BYTES], "big")
            if len(self._held) < end:
                break
            body = bytes(self._held[LENGTH_BYTES:end])
            del self._held[:end]
            if len(body) == 1:
                messages.append(body[0])
            elif body:
                messages.append(Apdu(body))
        return messages
