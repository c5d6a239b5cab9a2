"""Command and response APDUs (ISO 7816-4 section 5), short and extended, and the status words met here.

Promises: `Command.decode` takes any bytes and gives a command or `MalformedFrame`; encoding and decoding are inverse.
Chaining and GET RESPONSE are in `conversation.py`; what a command means is the applet's and the driver's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from keypeg_bridge.wire.errors import MalformedFrame

MAX_SHORT_DATA: Final = 255
MAX_SHORT_RESPONSE: Final = 256
MAX_EXTENDED: Final = 65_535
CHAINING: Final = 0x10  # CLA bit: more of this command follows

INS_GET_RESPONSE: Final = 0xC0


class Status(IntEnum):
    """Status words that cards of this family answer with."""

    OK = 0x9000
    VERIFY_FAILED = 0x6300
    MEMORY_FAILURE = 0x6581
    WRONG_LENGTH = 0x6700
    CHANNEL_NOT_SUPPORTED = 0x6881
    SECURE_MESSAGING_NOT_SUPPORTED = 0x6882
    LAST_OF_CHAIN_EXPECTED = 0x6883
    CHAINING_NOT_SUPPORTED = 0x6884
    SECURITY_NOT_SATISFIED = 0x6982
    AUTH_METHOD_BLOCKED = 0x6983
    CONDITIONS_NOT_SATISFIED = 0x6985
    WRONG_DATA = 0x6A80
    FUNCTION_NOT_SUPPORTED = 0x6A81
    NOT_FOUND = 0x6A82
    NO_SPACE = 0x6A84
    WRONG_P1P2 = 0x6A86
    REFERENCE_NOT_FOUND = 0x6A88
    WRONG_P1P2_ALONE = 0x6B00
    INS_NOT_SUPPORTED = 0x6D00
    CLA_NOT_SUPPORTED = 0x6E00
    UNKNOWN_ERROR = 0x6F00


MEANINGS: Final[dict[int, str]] = {
    Status.OK: "done",
    Status.VERIFY_FAILED: "verification failed",
    Status.MEMORY_FAILURE: "memory failure",
    Status.WRONG_LENGTH: "wrong length",
    Status.CHANNEL_NOT_SUPPORTED: "logical channels are not supported",
    Status.SECURE_MESSAGING_NOT_SUPPORTED: "secure messaging is not supported",
    Status.LAST_OF_CHAIN_EXPECTED: "the last command of a chain was expected",
    Status.CHAINING_NOT_SUPPORTED: "command chaining is not supported",
    Status.SECURITY_NOT_SATISFIED: "security status not satisfied",
    Status.AUTH_METHOD_BLOCKED: "authentication method blocked",
    Status.CONDITIONS_NOT_SATISFIED: "conditions of use not satisfied",
    Status.WRONG_DATA: "wrong parameters in the data field",
    Status.FUNCTION_NOT_SUPPORTED: "function not supported",
    Status.NOT_FOUND: "object or application not found",
    Status.NO_SPACE: "not enough memory",
    Status.WRONG_P1P2: "wrong parameters P1-P2",
    Status.REFERENCE_NOT_FOUND: "referenced data or key not found",
    Status.WRONG_P1P2_ALONE: "wrong parameters P1-P2",
    Status.INS_NOT_SUPPORTED: "instruction not supported",
    Status.CLA_NOT_SUPPORTED: "class not supported",
    Status.UNKNOWN_ERROR: "no precise diagnosis",
}
assert set(MEANINGS) == set(Status)


def meaning(status: int) -> str:
    """What a status word says, in words; unknown ones are named by their number only."""
    if status in MEANINGS:
        return MEANINGS[status]
    if status & 0xFFF0 == 0x63C0:
        return f"verification failed, {status & 0xF} tries left"
    if status >> 8 == 0x61:
        return "more response bytes are waiting"
    if status >> 8 == 0x6C:
        return "wrong expected length"
    return "unknown status word"


@dataclass(frozen=True, slots=True)
class Command:
    """One command; `ne` is the number of response bytes asked for, None for none."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes = b""
    ne: int | None = None

    def encode(self, *, extended: bool = False) -> bytes:
        """The bytes to send; `ValueError` when data or `ne` do not fit in the form asked for."""
        head = bytes((self.cla, self.ins, self.p1, self.p2))
        limit_data, limit_ne = (
            (MAX_EXTENDED, MAX_EXTENDED + 1) if extended else (MAX_SHORT_DATA, MAX_SHORT_RESPONSE)
        )
        if len(self.data) > limit_data:
            raise ValueError(
                f"{len(self.data)} data bytes do not fit in one APDU of {limit_data}; chain them"
            )
        if self.ne is not None and not 1 <= self.ne <= limit_ne:
            raise ValueError(f"an expected length of {self.ne} is not in 1..{limit_ne}")
        if not extended:
            lc = bytes((len(self.data),)) if self.data else b""
            le = b"" if self.ne is None else bytes((self.ne & 0xFF,))
            return head + lc + self.data + le
        lc = b"\x00" + len(self.data).to_bytes(2, "big") if self.data else b""
        if self.ne is None:
            return head + lc + self.data
        le = (self.ne & 0xFFFF).to_bytes(2, "big")
        return head + lc + self.data + (le if self.data else b"\x00" + le)

    @classmethod
    def decode(cls, raw: bytes) -> Command:
        """The command in `raw`, whose length must agree with its length fields (cases 1 to 4)."""
        if len(raw) < 4:
            raise MalformedFrame("APDU", f"a command has at least 4 bytes, not {len(raw)}")
        cla, ins, p1, p2 = raw[:4]
        body = raw[4:]
        data, ne = _split_short(body) if len(body) < 3 or body[0] else _split_extended(body)
        return cls(cla, ins, p1, p2, data, ne)


def _split_short(body: bytes) -> tuple[bytes, int | None]:
    if not body:
        return b"", None
    if len(body) == 1:
        return b"", body[0] or MAX_SHORT_RESPONSE
    count = body[0]
    rest = body[1:]
    if count and len(rest) == count:
        return rest, None
    if count and len(rest) == count + 1:
        return rest[:-1], rest[-1] or MAX_SHORT_RESPONSE
    raise MalformedFrame("APDU", f"Lc says {count} bytes, {len(rest)} follow")


def _split_extended(body: bytes) -> tuple[bytes, int | None]:
    number = int.from_bytes(body[1:3], "big")
    rest = body[3:]
    if not rest:
        return b"", number or MAX_EXTENDED + 1
    if number and len(rest) == number:
        return rest, None
    if number and len(rest) == number + 2:
        return rest[:-2], int.from_bytes(rest[-2:], "big") or MAX_EXTENDED + 1
    raise MalformedFrame("APDU", f"extended Lc says {number} bytes, {len(rest)} follow")


@dataclass(frozen=True, slots=True)
class Response:
    """What a card answered: data, maybe empty, and the status word."""

    data: bytes
    status: int

    @property
    def ok(self) -> bool:
        """Whether the status word is 9000."""
        return self.status == Status.OK

    def encode(self) -> bytes:
        """Data and status word as sent."""
        return self.data + self.status.to_bytes(2, "big")

    @classmethod
    def decode(cls, raw: bytes) -> Response:
        """The response in `raw`: its last two bytes are the status word."""
        if len(raw) < 2:
            raise MalformedFrame("APDU", f"a response has at least 2 bytes, not {len(raw)}")
        if len(raw) > MAX_EXTENDED + 3:
            raise MalformedFrame("APDU", f"a response of {len(raw)} bytes is over the limit")
        return cls(raw[:-2], int.from_bytes(raw[-2:], "big"))
