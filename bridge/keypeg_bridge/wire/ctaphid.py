"""CTAPHID framing, both directions (CTAP 2.1, section 11.2): packets of 64 bytes, messages of up to 7,609, channels.

Promises: `Packet.decode` takes any bytes and gives a packet or `MalformedFrame`; `fragment` and `Assembly` are each
other's inverse.

Leaves to others: the driver's end of a channel (ctaphid_host.py) and the device's, with its rules of arbitration
(ctaphid_device.py); moving packets (transports).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from keypeg_bridge.wire.errors import MalformedFrame

PACKET_BYTES: Final = 64
INIT_DATA: Final = PACKET_BYTES - 7
CONTINUATION_DATA: Final = PACKET_BYTES - 5
MAX_CONTINUATIONS: Final = 128  # sequence numbers 0 to 127
MAX_MESSAGE: Final = INIT_DATA + MAX_CONTINUATIONS * CONTINUATION_DATA
BROADCAST: Final = 0xFFFFFFFF
RESERVED: Final = 0
NONCE_BYTES: Final = 8
INIT_REPLY_BYTES: Final = 17
PROTOCOL_VERSION: Final = 2
USAGE_PAGE: Final = 0xF1D0
USAGE: Final = 0x01

# One collection of 64-byte reports without numbers, in and out (section 11.2.8.2).
REPORT_DESCRIPTOR: Final = bytes.fromhex(
    "06d0f1 0901 a1010920 1500 26ff00 7508 9540 81020921 1500 26ff00 7508 9540 9102c0"
)


class Command(IntEnum):
    """CTAPHID commands without the bit that marks an initialization packet."""

    PING = 0x01
    MSG = 0x03
    LOCK = 0x04
    INIT = 0x06
    WINK = 0x08
    CBOR = 0x10
    CANCEL = 0x11
    KEEPALIVE = 0x3B
    ERROR = 0x3F


class ErrorCode(IntEnum):
    """What the one byte of a CTAPHID_ERROR says (section 11.2.9.1.6)."""

    INVALID_CMD = 0x01
    INVALID_PAR = 0x02
    INVALID_LEN = 0x03
    INVALID_SEQ = 0x04
    MSG_TIMEOUT = 0x05
    CHANNEL_BUSY = 0x06
    LOCK_REQUIRED = 0x0A
    INVALID_CHANNEL = 0x0B
    OTHER = 0x7F


class KeepaliveStatus(IntEnum):
    """Why an answer is not there yet."""

    PROCESSING = 1
    UP_NEEDED = 2


class Capability(IntFlag):
    """The capability byte of an INIT answer."""

    WINK = 0x01
    CBOR = 0x04
    NMSG = 0x08  # set when CTAPHID_MSG is *not* there


_ERROR_WORDS: Final = {
    ErrorCode.INVALID_CMD: "the key does not know the command",
    ErrorCode.INVALID_PAR: "the key refuses a parameter",
    ErrorCode.INVALID_LEN: "the key refuses the length",
    ErrorCode.INVALID_SEQ: "the key saw a packet out of turn",
    ErrorCode.MSG_TIMEOUT: "the key waited too long for the rest of a message",
    ErrorCode.CHANNEL_BUSY: "the key is busy with another program",
    ErrorCode.LOCK_REQUIRED: "the key wants a lock on the channel",
    ErrorCode.INVALID_CHANNEL: "the key does not know the channel",
    ErrorCode.OTHER: "the key failed without a reason",
}


def describe_error(code: int) -> str:
    """Words for the code of a CTAPHID_ERROR; codes of vendors and later versions by number."""
    known = code in ErrorCode.__members__.values()
    return _ERROR_WORDS[ErrorCode(code)] if known else f"CTAPHID error {code:#04x}"


@dataclass(frozen=True, slots=True)
class Packet:
    """One report. An initialization packet has a command and a length, a continuation packet a sequence number."""

    channel: int
    command: int | None  # None: a continuation packet
    length: int  # of the whole message; 0 in a continuation packet
    sequence: int  # 0 in an initialization packet
    data: bytes  # all that the packet carries, padding included

    @property
    def starts(self) -> bool:
        """Whether it is an initialization packet."""
        return self.command is not None

    def encode(self) -> bytes:
        """The 64 bytes."""
        head = self.channel.to_bytes(4, "big")
        if self.command is None:
            head += bytes((self.sequence,))
        else:
            head += bytes((0x80 | self.command,)) + self.length.to_bytes(2, "big")
        return (head + self.data).ljust(PACKET_BYTES, b"\x00")

    @classmethod
    def decode(cls, raw: bytes) -> Packet:
        """From exactly 64 bytes."""
        if len(raw) != PACKET_BYTES:
            raise MalformedFrame("CTAPHID", f"a packet has {PACKET_BYTES} bytes, not {len(raw)}")
        channel = int.from_bytes(raw[:4], "big")
        if raw[4] & 0x80:
            return cls(channel, raw[4] & 0x7F, int.from_bytes(raw[5:7], "big"), 0, raw[7:])
        return cls(channel, None, 0, raw[4], raw[5:])


def fragment(channel: int, command: int, payload: bytes) -> list[bytes]:
    """One message as packets; `ValueError` for one longer than 7,609 bytes."""
    if len(payload) > MAX_MESSAGE:
        raise ValueError(f"a CTAPHID message has at most {MAX_MESSAGE} bytes, not {len(payload)}")
    packets = [Packet(channel, command, len(payload), 0, payload[:INIT_DATA])]
    rest = range(INIT_DATA, len(payload), CONTINUATION_DATA)
    packets += [
        Packet(channel, None, 0, sequence, payload[at : at + CONTINUATION_DATA])
        for sequence, at in enumerate(rest)
    ]
    return [packet.encode() for packet in packets]


class Assembly:
    """A message of which the first packet came. `MalformedFrame` for a length or a sequence number that is not right."""

    def __init__(self, first: Packet) -> None:
        if first.command is None:
            raise MalformedFrame("CTAPHID", "a continuation packet without a beginning")
        if first.length > MAX_MESSAGE:
            raise MalformedFrame("CTAPHID", f"a message of {first.length} bytes")
        self.channel = first.channel
        self.command = first.command
        self._length = first.length
        self._next = 0
        self._data = bytearray(first.data[: first.length])

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return len(self._data) >= self._length

    @property
    def payload(self) -> bytes:
        """What came so far, without padding."""
        return bytes(self._data)

    def add(self, packet: Packet) -> None:
        """Take the next packet of this channel."""
        if packet.starts or self.whole or packet.sequence != self._next:
            raise MalformedFrame("CTAPHID", f"packet {packet.sequence} where {self._next} was due")
        self._next += 1
        self._data += packet.data[: self._length - len(self._data)]


@dataclass(frozen=True, slots=True)
class InitReply:
    """The answer to CTAPHID_INIT (section 11.2.9.1.3)."""

    nonce: bytes
    channel: int
    version: tuple[int, int, int]  # of the device: major, minor, build
    capabilities: Capability
    protocol: int = PROTOCOL_VERSION

    def encode(self) -> bytes:
        """The 17 bytes."""
        return (
            self.nonce
            + self.channel.to_bytes(4, "big")
            + bytes((self.protocol, *self.version, self.capabilities))
        )

    @classmethod
    def decode(cls, raw: bytes) -> InitReply:
        """From 17 bytes or more; later versions may add some."""
        if len(raw) < INIT_REPLY_BYTES:
            raise MalformedFrame("CTAPHID", f"an answer to INIT of {len(raw)} bytes")
        channel = int.from_bytes(raw[8:12], "big")
        if channel in (BROADCAST, RESERVED):
            raise MalformedFrame("CTAPHID", f"channel {channel:#010x} was given out")
        return cls(raw[:8], channel, (raw[13], raw[14], raw[15]), Capability(raw[16]), raw[12])
