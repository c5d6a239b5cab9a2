"""What a card says of itself in its answer to reset (ISO 7816-3 section 8, ISO 7816-4 section 12.1.1).

Promises: `parse` takes any bytes and gives the interface bytes that matter here and the historical bytes, or
`MalformedFrame`; what the card does not say is None or False.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keypeg_bridge.wire.errors import MalformedFrame

MAX_ATR: Final = 33  # bytes, TS included
_CAPABILITIES: Final = 0x7  # tag of the card capabilities
_EXTENDED_LENGTH: Final = 0x40  # a bit of their third byte
_CHAINING: Final = 0x80
_DEFAULT_IFSC: Final = 32


@dataclass(frozen=True, slots=True)
class Atr:
    """An answer to reset, as far as hosts here decide by it."""

    historical: bytes
    protocols: tuple[int, ...]  # T=0 where the card names none
    block_bytes: int  # the most that a block of T=1 may carry to the card

    @property
    def extended_length(self) -> bool:
        """Whether the card takes extended APDUs."""
        return bool(self._third_capability & _EXTENDED_LENGTH)

    @property
    def chaining(self) -> bool:
        """Whether the card says that it joins chained commands; many do and say nothing."""
        return bool(self._third_capability & _CHAINING)

    @property
    def _third_capability(self) -> int:
        """The third byte of the card capabilities, from compact TLV (category 80, or 00 with a status at the end)."""
        body = self.historical
        if not body or body[0] not in (0x00, 0x80):
            return 0
        body = body[1:-3] if body[0] == 0x00 else body[1:]
        at = 0
        while at < len(body):
            tag, length = body[at] >> 4, body[at] & 0x0F
            value = body[at + 1 : at + 1 + length]
            if tag == _CAPABILITIES and len(value) == length == 3:
                return value[2]
            at += 1 + length
        return 0


UNKNOWN: Final = Atr(b"", (0,), _DEFAULT_IFSC)  # of a card whose answer cannot be read


def parse(raw: bytes) -> Atr:
    """The parts of an answer to reset; its check byte is the reader's business, but must be there where it is due."""
    if not 2 <= len(raw) <= MAX_ATR or raw[0] not in (0x3B, 0x3F):
        raise MalformedFrame("ATR", f"{len(raw)} bytes are no answer to reset")
    count = raw[1] & 0x0F
    present, at, round_ = raw[1] >> 4, 2, 1
    protocols: list[int] = []
    block_bytes = _DEFAULT_IFSC
    named = 0  # the protocol that this round's bytes are about
    while True:
        values = {}
        for bit, name in enumerate("ABCD"):
            if present & 1 << bit:
                if at >= len(raw):
                    raise MalformedFrame("ATR", "its interface bytes are cut short")
                values[name] = raw[at]
                at += 1
        if round_ > 2 and named == 1 and "A" in values and block_bytes == _DEFAULT_IFSC:
            block_bytes = values["A"]
        if "D" not in values:
            break
        named, present = values["D"] & 0x0F, values["D"] >> 4
        if named not in protocols:
            protocols.append(named)
        round_ += 1
    check = 1 if any(protocol != 0 for protocol in protocols) else 0
    if len(raw) != at + count + check:
        raise MalformedFrame("ATR", f"it has {len(raw)} bytes, and names {at + count + check}")
    return Atr(raw[at : at + count], tuple(protocols) or (0,), block_bytes)
