"""The PIV subset that keypeg speaks: names and numbers, and the wrapping of objects (NIST SP 800-73-4, docs/protocols.md).

Promises: constants and pure functions shared by the driver and the emulated key. Behaviour is left to both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keypeg_bridge.wire import tlv
from keypeg_bridge.wire.errors import MalformedFrame

AID: Final = bytes.fromhex("A000000308000010000100")  # always in full: some keys refuse a prefix

INS_VERIFY: Final = 0x20
INS_CHANGE_REFERENCE: Final = 0x24
INS_RESET_RETRY: Final = 0x2C
INS_GENERATE: Final = 0x47
INS_AUTHENTICATE: Final = 0x87
INS_SELECT: Final = 0xA4
INS_GET_DATA: Final = 0xCB
INS_PUT_DATA: Final = 0xDB
# Vendor extensions, wide-spread: several makers' cards and tools speak them.
INS_MOVE_KEY: Final = 0xF6
INS_GET_METADATA: Final = 0xF7
INS_GET_SERIAL: Final = 0xF8
INS_ATTEST: Final = 0xF9
INS_SET_RETRIES: Final = 0xFA
INS_RESET: Final = 0xFB
INS_GET_VERSION: Final = 0xFD
INS_IMPORT: Final = 0xFE
INS_SET_MANAGEMENT_KEY: Final = 0xFF

SLOT_AUTHENTICATION: Final = 0x9A
SLOT_MANAGEMENT: Final = 0x9B
SLOT_SIGNATURE: Final = 0x9C
SLOT_KEY_MANAGEMENT: Final = 0x9D
SLOT_CARD_AUTHENTICATION: Final = 0x9E
SLOT_ATTESTATION: Final = 0xF9  # vendor extension
RETIRED_SLOTS: Final = range(0x82, 0x96)
REFERENCE_PIN: Final = 0x80
REFERENCE_PUK: Final = 0x81
PIN_BYTES: Final = 8  # of PIN and PUK, padded with FF

ALGORITHM_RSA3072: Final = 0x05
ALGORITHM_RSA1024: Final = 0x06
ALGORITHM_RSA2048: Final = 0x07
ALGORITHM_P256: Final = 0x11
ALGORITHM_P384: Final = 0x14
ALGORITHM_RSA4096: Final = 0x16
ALGORITHM_ED25519: Final = 0xE0  # vendor extension, as is the next
ALGORITHM_X25519: Final = 0xE1
POLICY_DEFAULT: Final = 0x00
POLICY_NEVER: Final = 0x01  # neither PIN nor touch
PIN_ONCE: Final = 0x02
PIN_ALWAYS: Final = 0x03
TOUCH_ALWAYS: Final = 0x02
TOUCH_CACHED: Final = 0x03  # for 15 s

# Management key algorithms of SP 800-78: identifier to (key length, block length), bytes.
MANAGEMENT_SIZES: Final = {0x03: (24, 8), 0x08: (16, 16), 0x0A: (24, 16), 0x0C: (32, 16)}

TAG_DYNAMIC: Final = 0x7C
TAG_WITNESS: Final = 0x80
TAG_CHALLENGE: Final = 0x81
TAG_RESPONSE: Final = 0x82
TAG_EXPONENTIATION: Final = 0x85  # the other side's point
TAG_GENERATE: Final = 0xAC
TAG_ALGORITHM: Final = 0x80
TAG_PARAMETER: Final = 0x81
TAG_PIN_POLICY: Final = 0xAA
TAG_TOUCH_POLICY: Final = 0xAB
TAG_PUBLIC_KEY: Final = 0x7F49
TAG_RSA_MODULUS: Final = 0x81
TAG_RSA_EXPONENT: Final = 0x82
TAG_EC_POINT: Final = 0x86
TAG_OBJECT_ID: Final = 0x5C
TAG_OBJECT: Final = 0x53
TAG_APPLICATION: Final = 0x61
TAG_LABEL: Final = 0x50

META_ALGORITHM: Final = 0x01
META_POLICY: Final = 0x02
META_ORIGIN: Final = 0x03
META_PUBLIC_KEY: Final = 0x04
META_DEFAULT: Final = 0x05
META_TRIES: Final = 0x06
ORIGIN_GENERATED: Final = 0x01
ORIGIN_IMPORTED: Final = 0x02

OBJECT_CHUID: Final = 0x5FC102
OBJECT_CARD_AUTHENTICATION: Final = 0x5FC101
OBJECT_CAPABILITIES: Final = 0x5FC107
OBJECT_DISCOVERY: Final = 0x7E
OBJECT_BIOMETRIC_GROUP: Final = 0x7F61
OBJECT_ATTESTATION: Final = 0x5FFF01  # vendor extension: the certificate of slot F9
OBJECT_FIRST_RETIRED: Final = 0x5FC10D
CONTAINERS: Final = 20  # retired key management certificates, 5FC10D to 5FC120
MAX_CONTAINER_DATA: Final = 32_768  # bytes; ten times what any known key takes

CERTIFICATE_TAG: Final = 0x70
CERTIFICATE_INFO_TAG: Final = 0x71
CHECK_TAG: Final = 0xFE

CHUID_FASC_N: Final = 0x30
CHUID_GUID: Final = 0x34
CHUID_EXPIRY: Final = 0x35
CHUID_SIGNATURE: Final = 0x3E
GUID_BYTES: Final = 16

# The application label of an emulated key: seen by whoever selects the applet, whatever the transport.
EMULATED_LABEL: Final = b"keypeg emulated key"


def container(slot: int) -> int:
    """The object tag of container `slot`: 0 is the index, 1 to 19 are licenses."""
    if not 0 <= slot < CONTAINERS:
        raise ValueError(f"slot {slot} is not in 0..{CONTAINERS - 1}")
    return OBJECT_FIRST_RETIRED + slot


def wrap_container(data: bytes) -> bytes:
    """`data` as the content of a certificate container: 70 data, 71 uncompressed, FE empty."""
    return (
        tlv.encode(CERTIFICATE_TAG, data)
        + tlv.encode(CERTIFICATE_INFO_TAG, b"\x00")
        + tlv.encode(CHECK_TAG, b"")
    )


def unwrap_container(content: bytes) -> bytes | None:
    """The data in a container's content; None when the container is empty."""
    if not content:
        return None
    data = tlv.find(content, CERTIFICATE_TAG)
    if data is None:
        raise MalformedFrame("PIV", "a container has content but no element 70")
    info = tlv.find(content, CERTIFICATE_INFO_TAG)
    if info not in (None, b"", b"\x00"):
        raise MalformedFrame("PIV", "a container is marked as compressed, which keypeg never does")
    return data


def object_path(tag: int) -> bytes:
    """The data of GET DATA for one object, and the start of PUT DATA's."""
    return tlv.encode(TAG_OBJECT_ID, tag.to_bytes((tag.bit_length() + 7) // 8, "big"))


@dataclass(frozen=True, slots=True)
class Chuid:
    """The card holder unique identifier, as far as keypeg uses it: its GUID."""

    guid: bytes

    def encode(self) -> bytes:
        """A CHUID with a zero FASC-N, this GUID, no expiry before 2099 and no signature."""
        if len(self.guid) != GUID_BYTES:
            raise ValueError(f"a GUID has {GUID_BYTES} bytes, not {len(self.guid)}")
        return b"".join(
            (
                tlv.encode(CHUID_FASC_N, bytes(25)),
                tlv.encode(CHUID_GUID, self.guid),
                tlv.encode(CHUID_EXPIRY, b"20991231"),
                tlv.encode(CHUID_SIGNATURE, b""),
                tlv.encode(CHECK_TAG, b""),
            )
        )

    @classmethod
    def decode(cls, content: bytes) -> Chuid | None:
        """The CHUID in an object's content; None when it names no card (absent or all-zero GUID)."""
        guid = tlv.find(content, CHUID_GUID) if content else None
        if guid is None or not any(guid):
            return None
        if len(guid) != GUID_BYTES:
            raise MalformedFrame("PIV", f"the CHUID's GUID has {len(guid)} bytes")
        return cls(guid)
