"""The smartkey applet's commands and answers as bytes (docs/key-protocol.md): one format for driver and applet.

Promises: pure; every `decode` takes any bytes and gives a value or `MalformedFrame`, and is the inverse of its `encode`.
Numbers are big endian. What a command does, and which status word it gets, is the applet's and the driver's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keypeg_bridge.wire import tlv
from keypeg_bridge.wire.errors import MalformedFrame

AID: Final = b"\xf0keypeg\x01"  # F0: a name of one's own (ISO/IEC 7816-5), registered by nobody
VERSION: Final = 1
CLA: Final = 0x80

INS_SELECT: Final = 0xA4  # of class 00, as every application's
P1_BY_NAME: Final = 0x04

INS_INFO: Final = 0x10
INS_READ: Final = 0x20
INS_WRITE: Final = 0x22
INS_CHALLENGE: Final = 0x30
INS_AUTHENTICATE: Final = 0x32
INS_SET_MANAGEMENT_KEY: Final = 0x34
INS_GENERATE: Final = 0x40
INS_SIGN: Final = 0x42

P2_BEGIN: Final = 0x00  # of a write: how much will come
P2_PIECE: Final = 0x01  # of a write: some of it

# Management key algorithms, numbered as in NIST SP 800-78: (key length, block length), bytes.
MANAGEMENT_SIZES: Final = {0x08: (16, 16), 0x0A: (24, 16), 0x0C: (32, 16)}

MAX_PIECE: Final = 253  # bytes of one write; with its offset, what a short APDU holds
MAX_READ: Final = 256  # bytes of one read
MAX_SLOT_BYTES: Final = 0xFFFF
MAX_COUNTER: Final = 2**64 - 1
CARD_ID_BYTES: Final = 16
CHALLENGE_BYTES: Final = 32
POINT_BYTES: Final = 65  # an uncompressed point of P-256
COUNTER_BYTES: Final = 8

TAG_FCI: Final = 0x6F
TAG_NAME: Final = 0x84
TAG_LABEL: Final = 0x50

# The label of an emulated key: seen by whoever selects the applet, whatever the transport.
EMULATED_LABEL: Final = b"keypeg emulated key"

_SIGNED: Final = b"keypeg counted signature v1\x00"
_HAS_DEFAULT_KEY: Final = 0x01
_HAS_IDENTITY_KEY: Final = 0x02
_INFO_BYTES: Final = 34  # without the public key


def signed_message(counter: int, challenge: bytes) -> bytes:
    """What the identity key signs, with ECDSA over its SHA-256 (docs/formats.md, K7)."""
    return _SIGNED + counter.to_bytes(COUNTER_BYTES, "big") + challenge


@dataclass(frozen=True, slots=True)
class Selected:
    """The answer to SELECT."""

    label: bytes

    def encode(self) -> bytes:
        """6F { 84 name, 50 label }."""
        return tlv.encode(TAG_FCI, tlv.encode(TAG_NAME, AID) + tlv.encode(TAG_LABEL, self.label))

    @classmethod
    def decode(cls, raw: bytes) -> Selected:
        """Other elements are passed over."""
        template = tlv.unwrap(raw, TAG_FCI)
        if tlv.find(template, TAG_NAME) != AID:
            raise MalformedFrame("smartkey", "another application has answered")
        return cls(tlv.find(template, TAG_LABEL) or b"")


@dataclass(frozen=True, slots=True)
class Info:
    """What an applet says of itself. Nothing of it is signed."""

    management_algorithm: int
    management_is_default: bool
    slots: int
    slot_bytes: int  # the most that one slot holds
    room: int  # bytes that can still be stored in all
    card_id: bytes  # 16 bytes, for life
    counter: int  # of the last signature
    public_key: bytes | None = None  # 65 bytes; None before there is an identity key
    version: int = VERSION

    def encode(self) -> bytes:
        """34 bytes, and the public key's 65."""
        flags = _HAS_DEFAULT_KEY * self.management_is_default
        flags |= _HAS_IDENTITY_KEY * (self.public_key is not None)
        return b"".join(
            (
                bytes((self.version, flags, self.management_algorithm, self.slots)),
                self.slot_bytes.to_bytes(2, "big"),
                self.room.to_bytes(4, "big"),
                self.card_id,
                self.counter.to_bytes(COUNTER_BYTES, "big"),
                self.public_key or b"",
            )
        )

    @classmethod
    def decode(cls, raw: bytes) -> Info:
        """Flags that are not known, and bytes after the last field, are passed over."""
        size = len(raw)
        if size < _INFO_BYTES:
            raise MalformedFrame("smartkey", f"the key says {size} bytes of itself, not 34 or more")
        point = None
        if raw[1] & _HAS_IDENTITY_KEY:
            point = raw[_INFO_BYTES : _INFO_BYTES + POINT_BYTES]
            if len(point) != POINT_BYTES:
                raise MalformedFrame("smartkey", "the key's public key is cut short")
        return cls(
            management_algorithm=raw[2],
            management_is_default=bool(raw[1] & _HAS_DEFAULT_KEY),
            slots=raw[3],
            slot_bytes=int.from_bytes(raw[4:6], "big"),
            room=int.from_bytes(raw[6:10], "big"),
            card_id=raw[10:26],
            counter=int.from_bytes(raw[26:34], "big"),
            public_key=point,
            version=raw[0],
        )


@dataclass(frozen=True, slots=True)
class Read:
    """Which bytes of a slot are asked for."""

    offset: int
    count: int  # 1 to 256

    def encode(self) -> bytes:
        """Offset (2 bytes), and count (1 byte; 00 is 256)."""
        return self.offset.to_bytes(2, "big") + bytes((self.count & 0xFF,))

    @classmethod
    def decode(cls, raw: bytes) -> Read:
        """The inverse."""
        if len(raw) != 3:
            raise MalformedFrame("smartkey", f"a read has 3 bytes, not {len(raw)}")
        return cls(int.from_bytes(raw[:2], "big"), raw[2] or MAX_READ)


def encode_size(size: int) -> bytes:
    """How many bytes a write will bring."""
    return size.to_bytes(2, "big")


def decode_size(raw: bytes) -> int:
    """The inverse."""
    if len(raw) != 2:
        raise MalformedFrame("smartkey", f"a size has 2 bytes, not {len(raw)}")
    return int.from_bytes(raw, "big")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a write."""

    offset: int
    data: bytes

    def encode(self) -> bytes:
        """Offset (2 bytes), and 1 to 253 bytes."""
        return self.offset.to_bytes(2, "big") + self.data

    @classmethod
    def decode(cls, raw: bytes) -> Piece:
        """The inverse."""
        if not 3 <= len(raw) <= 2 + MAX_PIECE:
            raise MalformedFrame("smartkey", f"a piece has 3 to 255 bytes, not {len(raw)}")
        return cls(int.from_bytes(raw[:2], "big"), raw[2:])


@dataclass(frozen=True, slots=True)
class Proof:
    """A signature, and its number."""

    counter: int
    signature: bytes

    def encode(self) -> bytes:
        """Counter (8 bytes), and the signature in DER."""
        return self.counter.to_bytes(COUNTER_BYTES, "big") + self.signature

    @classmethod
    def decode(cls, raw: bytes) -> Proof:
        """The inverse; whether the signature is right is not looked at."""
        if len(raw) <= COUNTER_BYTES:
            raise MalformedFrame("smartkey", f"a proof has over 8 bytes, not {len(raw)}")
        return cls(int.from_bytes(raw[:COUNTER_BYTES], "big"), raw[COUNTER_BYTES:])
