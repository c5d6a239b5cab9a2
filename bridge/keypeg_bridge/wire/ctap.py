"""CTAP 2.1: commands, status bytes, flags and algorithms as numbers with names (sections 6 and 8.2).

Promises: names only. What a command carries is CBOR (`cbor.py`) in CTAPHID messages (`ctaphid.py`).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

ES256: Final = -7
EDDSA: Final = -8
ECDH_ES_HKDF_256: Final = -25  # what COSE calls it; CTAP derives differently


class Command(IntEnum):
    """The first byte of a CTAPHID_CBOR request."""

    MAKE_CREDENTIAL = 0x01
    GET_ASSERTION = 0x02
    GET_INFO = 0x04
    CLIENT_PIN = 0x06
    RESET = 0x07
    GET_NEXT_ASSERTION = 0x08
    CREDENTIAL_MANAGEMENT = 0x0A
    SELECTION = 0x0B
    LARGE_BLOBS = 0x0C
    CREDENTIAL_MANAGEMENT_PREVIEW = 0x41  # of FIDO_2_1_PRE; libfido2 spoke no other up to 1.13


class Status(IntEnum):
    """The first byte of a CTAPHID_CBOR answer."""

    OK = 0x00
    INVALID_COMMAND = 0x01
    INVALID_PARAMETER = 0x02
    INVALID_LENGTH = 0x03
    INVALID_SEQ = 0x04
    CBOR_UNEXPECTED_TYPE = 0x11
    INVALID_CBOR = 0x12
    MISSING_PARAMETER = 0x14
    LIMIT_EXCEEDED = 0x15
    LARGE_BLOB_STORAGE_FULL = 0x18
    CREDENTIAL_EXCLUDED = 0x19
    UNSUPPORTED_ALGORITHM = 0x26
    OPERATION_DENIED = 0x27
    KEY_STORE_FULL = 0x28
    UNSUPPORTED_OPTION = 0x2B
    INVALID_OPTION = 0x2C
    KEEPALIVE_CANCEL = 0x2D
    NO_CREDENTIALS = 0x2E
    USER_ACTION_TIMEOUT = 0x2F
    NOT_ALLOWED = 0x30
    PIN_INVALID = 0x31
    PIN_BLOCKED = 0x32
    PIN_AUTH_INVALID = 0x33
    PIN_AUTH_BLOCKED = 0x34
    PIN_NOT_SET = 0x35
    PUAT_REQUIRED = 0x36
    PIN_POLICY_VIOLATION = 0x37
    REQUEST_TOO_LARGE = 0x39
    UP_REQUIRED = 0x3B
    INTEGRITY_FAILURE = 0x3D
    INVALID_SUBCOMMAND = 0x3E
    UNAUTHORIZED_PERMISSION = 0x40
    OTHER = 0x7F


class Flag(IntFlag):
    """The flags of authenticator data."""

    USER_PRESENT = 0x01
    USER_VERIFIED = 0x04
    ATTESTED = 0x40
    EXTENSIONS = 0x80


class Permission(IntFlag):
    """What a PIN token may be used for (section 6.5.5.7)."""

    MAKE_CREDENTIAL = 0x01
    GET_ASSERTION = 0x02
    CREDENTIAL_MANAGEMENT = 0x04
    BIO_ENROLLMENT = 0x08
    LARGE_BLOB_WRITE = 0x10
    CONFIGURATION = 0x20


class PinCommand(IntEnum):
    """Subcommands of clientPIN."""

    GET_RETRIES = 0x01
    GET_KEY_AGREEMENT = 0x02
    SET_PIN = 0x03
    CHANGE_PIN = 0x04
    GET_TOKEN = 0x05
    GET_TOKEN_WITH_PERMISSIONS = 0x09


class ManagementCommand(IntEnum):
    """Subcommands of credentialManagement."""

    METADATA = 0x01
    RPS_BEGIN = 0x02
    RPS_NEXT = 0x03
    CREDENTIALS_BEGIN = 0x04
    CREDENTIALS_NEXT = 0x05
    DELETE = 0x06
    UPDATE_USER = 0x07
