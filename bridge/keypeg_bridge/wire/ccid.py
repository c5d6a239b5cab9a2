"""CCID messages, both directions (USB CCID specification 1.1, sections 5 and 6).

Promises: `Command.decode` and `Reply.decode` take any bytes and give a message or `MalformedFrame`; `MessageBuffer` cuts
a byte stream into messages with bounded memory. Which reply answers which request is left to `ccid_host.py`; moving the
bytes, and time, to the transport; answering as a device to the emulator.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from keypeg_bridge.wire.errors import MalformedFrame

HEADER: Final = struct.Struct("<BIBB3s")
HEADER_BYTES: Final = 10
MAX_MESSAGE: Final = 65_536 + HEADER_BYTES  # bytes; an extended APDU and its header
INTERFACE_CLASS: Final = 0x0B


class Kind(IntEnum):
    """bMessageType of the messages spoken here; others are kept as plain numbers."""

    SET_PARAMETERS = 0x61
    ICC_POWER_ON = 0x62
    ICC_POWER_OFF = 0x63
    GET_SLOT_STATUS = 0x65
    SECURE = 0x69
    ESCAPE = 0x6B
    GET_PARAMETERS = 0x6C
    RESET_PARAMETERS = 0x6D
    XFR_BLOCK = 0x6F
    ABORT = 0x72
    SET_DATA_RATE = 0x73
    DATA_BLOCK = 0x80
    SLOT_STATUS = 0x81
    PARAMETERS = 0x82
    ESCAPE_REPLY = 0x83
    DATA_RATE = 0x84
    NOTIFY_SLOT_CHANGE = 0x50
    HARDWARE_ERROR = 0x51


class CardStatus(IntEnum):
    """bmICCStatus: the card in the slot."""

    ACTIVE = 0
    INACTIVE = 1
    ABSENT = 2


class Outcome(IntEnum):
    """bmCommandStatus: what became of the command."""

    DONE = 0
    FAILED = 1
    MORE_TIME = 2


class Error(IntEnum):
    """bError where the command failed; 1 to 127 name the offset of a bad field instead."""

    NOT_SUPPORTED = 0x00
    BAD_LENGTH = 0x01
    BAD_SLOT = 0x05
    SLOT_BUSY = 0xE0
    HARDWARE = 0xFB
    OVERRUN = 0xFC
    MUTE = 0xFE
    ABORTED = 0xFF


ERROR_WORDS: Final[dict[int, str]] = {
    Error.NOT_SUPPORTED: "command not supported",
    Error.BAD_LENGTH: "bad message length",
    Error.BAD_SLOT: "no such slot",
    Error.SLOT_BUSY: "slot busy",
    Error.HARDWARE: "hardware error",
    Error.OVERRUN: "transfer overrun",
    Error.MUTE: "the card does not answer",
    Error.ABORTED: "command aborted",
}
assert set(ERROR_WORDS) == set(Error)

# The reply that each command gets.
REPLY_KINDS: Final[dict[int, Kind]] = {
    Kind.ICC_POWER_ON: Kind.DATA_BLOCK,
    Kind.ICC_POWER_OFF: Kind.SLOT_STATUS,
    Kind.GET_SLOT_STATUS: Kind.SLOT_STATUS,
    Kind.XFR_BLOCK: Kind.DATA_BLOCK,
    Kind.GET_PARAMETERS: Kind.PARAMETERS,
    Kind.RESET_PARAMETERS: Kind.PARAMETERS,
    Kind.SET_PARAMETERS: Kind.PARAMETERS,
    Kind.ESCAPE: Kind.ESCAPE_REPLY,
    Kind.ABORT: Kind.SLOT_STATUS,
    Kind.SECURE: Kind.DATA_BLOCK,
    Kind.SET_DATA_RATE: Kind.DATA_RATE,
}


class Part(IntEnum):
    """wLevelParameter of XfrBlock, and bChainParameter of DataBlock: which part of an extended APDU it carries."""

    WHOLE = 0x00
    FIRST = 0x01
    LAST = 0x02
    MIDDLE = 0x03
    NONE = 0x10  # the host: go on with the answer; the reader: go on with the command


def part_of(number: int, count: int) -> Part:
    """Which part the piece with this number, from 0, is of `count` pieces."""
    if count == 1:
        return Part.WHOLE
    if number == 0:
        return Part.FIRST
    return Part.LAST if number == count - 1 else Part.MIDDLE


def _split(raw: bytes) -> tuple[int, int, int, bytes, bytes]:
    if len(raw) < HEADER_BYTES:
        raise MalformedFrame("CCID", f"a message has at least {HEADER_BYTES} bytes, not {len(raw)}")
    kind, length, slot, sequence, rest = HEADER.unpack_from(raw)
    if length != len(raw) - HEADER_BYTES:
        raise MalformedFrame(
            "CCID", f"dwLength says {length} bytes, {len(raw) - HEADER_BYTES} follow"
        )
    return kind, slot, sequence, rest, raw[HEADER_BYTES:]


@dataclass(frozen=True, slots=True)
class Command:
    """A message to the reader (PC_to_RDR); `parameters` are its three own header bytes."""

    kind: int
    slot: int
    sequence: int
    data: bytes = b""
    parameters: bytes = b"\x00\x00\x00"

    def encode(self) -> bytes:
        """The bytes of one bulk-OUT message."""
        head = HEADER.pack(self.kind, len(self.data), self.slot, self.sequence, self.parameters)
        return head + self.data

    @classmethod
    def decode(cls, raw: bytes) -> Command:
        """The command in `raw`; unknown kinds are kept, for the reader to refuse by number."""
        kind, slot, sequence, rest, data = _split(raw)
        return cls(kind, slot, sequence, data, rest)


@dataclass(frozen=True, slots=True)
class Reply:
    """A message from the reader (RDR_to_PC); `extra` is bChainParameter, bClockStatus or bProtocolNum."""

    kind: int
    slot: int
    sequence: int
    data: bytes = b""
    card: CardStatus = CardStatus.ACTIVE
    outcome: Outcome = Outcome.DONE
    error: int = 0
    extra: int = 0

    def encode(self) -> bytes:
        """The bytes of one bulk-IN message."""
        status = self.outcome << 6 | self.card
        rest = bytes((status, self.error, self.extra))
        return HEADER.pack(self.kind, len(self.data), self.slot, self.sequence, rest) + self.data

    @classmethod
    def decode(cls, raw: bytes) -> Reply:
        """The reply in `raw`; reserved card or command status values are malformed."""
        kind, slot, sequence, rest, data = _split(raw)
        status, error, extra = rest
        try:
            card, outcome = CardStatus(status & 0x03), Outcome(status >> 6)
        except ValueError:
            raise MalformedFrame("CCID", f"bStatus {status:#04x} is reserved") from None
        return cls(kind, slot, sequence, data, card, outcome, error, extra)


def describe_error(error: int) -> str:
    """A bError value in words."""
    if error in ERROR_WORDS:
        return ERROR_WORDS[error]
    return f"bad field at offset {error}" if error < 0x80 else f"error {error:#04x}"


def notify_slot_change(*, present: bool, changed: bool) -> bytes:
    """The interrupt message of a one-slot reader."""
    return bytes((Kind.NOTIFY_SLOT_CHANGE, present | changed << 1))


def card_present(notification: bytes) -> bool | None:
    """Whether slot 0 has a card, from an interrupt message; None when it says nothing about that."""
    if len(notification) < 2 or notification[0] != Kind.NOTIFY_SLOT_CHANGE:
        return None
    return bool(notification[1] & 0x01)


class MessageBuffer:
    """Cuts bytes into whole messages; holds at most one unfinished message of `limit` bytes."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, give the messages they complete; a length over the limit is malformed, and forgotten."""
        self._held += data
        messages: list[bytes] = []
        while len(self._held) >= HEADER_BYTES:
            size = HEADER_BYTES + int.from_bytes(self._held[1:5], "little")
            if size > self._limit:
                self._held.clear()
                raise MalformedFrame(
                    "CCID", f"a message of {size} bytes, the limit is {self._limit}"
                )
            if len(self._held) < size:
                break
            messages.append(bytes(self._held[:size]))
            del self._held[:size]
        return messages

    def clear(self) -> None:
        """Forget an unfinished message."""
        self._held.clear()


@dataclass(frozen=True, slots=True)
class ClassDescriptor:
    """The 54-byte class descriptor, as far as a host decides by it (section 5.1)."""

    max_slot_index: int
    protocols: int
    features: int
    max_message: int

    LAYOUT = struct.Struct("<BBHBBIIIBIIBIIIIIBBHBB")
    EXTENDED_APDU = 0x00040000
    SHORT_APDU = 0x00020000
    TPDU = 0x00010000
    _LEVELS = 0x00070000
    T1 = 0x02  # a bit of `protocols`

    @property
    def exchanges_apdus(self) -> bool:
        """Whether the reader takes whole APDUs; the others want T=0 or T=1 framing by the host."""
        return bool(self.features & (self.EXTENDED_APDU | self.SHORT_APDU))

    @property
    def exchanges_extended(self) -> bool:
        """Whether the reader takes extended APDUs, in parts where they are long."""
        return self.features & self._LEVELS == self.EXTENDED_APDU

    @property
    def exchanges_blocks(self) -> bool:
        """Whether the reader takes blocks of T=1, which the host frames."""
        return self.features & self._LEVELS == self.TPDU and bool(self.protocols & self.T1)

    def encode(self) -> bytes:
        """All 54 bytes, the electrical ones as a USB token has them."""
        return self.LAYOUT.pack(
            54, 0x21, 0x0110, self.max_slot_index, 0x01, self.protocols,
            4_000, 4_000, 0, 307_200, 307_200, 0, 254, 0, 0,
            self.features, self.max_message, 0xFF, 0xFF, 0, 0, 1,
        )  # fmt: skip

    @classmethod
    def decode(cls, raw: bytes) -> ClassDescriptor:
        """The class descriptor among the extra descriptors of an interface."""
        at = 0
        while at + 2 <= len(raw):
            length, kind = raw[at], raw[at + 1]
            if length < 2:
                break
            if kind == 0x21 and length == 54 and at + 54 <= len(raw):
                fields = cls.LAYOUT.unpack_from(raw, at)
                if fields[16] < HEADER_BYTES + 261:  # a short APDU must fit
                    raise MalformedFrame(
                        "CCID", f"dwMaxCCIDMessageLength {fields[16]} is too small"
                    )
                return cls(fields[3], fields[5], fields[15], min(fields[16], MAX_MESSAGE))
            at += length
        raise MalformedFrame("CCID", "the interface has no class descriptor")
