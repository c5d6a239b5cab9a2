"""A secret in a text that only a passphrase opens: for root keys, which travel and lie in drawers.

Promises: `opened` gives back exactly what `sealed` took, or raises SealError; a guess at the passphrase costs a
tenth of a second and 64 MiB (Argon2id). The label stands in the text, readable and protected from change.

Leaves to others: asking for the passphrase, files (root_keys.py).
"""

from __future__ import annotations

import base64
import binascii
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

PREFIX: Final = "keypeg-sealed-1"
MEMORY_KIB: Final = 65_536  # with the next two: RFC 9106's second recommendation
ITERATIONS: Final = 3
LANES: Final = 4
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12
MIN_PASSPHRASE: Final = 12  # characters: what is guessed offline, on computers of another's choice
TEXT_CHARACTERS: Final = 4_096


class SealError(Exception):
    """Why a text does not open: one sentence."""


def is_sealed(text: str) -> bool:
    """Whether this needs a passphrase."""
    return text.startswith(PREFIX + ":")


def sealed(secret: bytes, label: str, passphrase: str) -> str:
    """The secret as one line; SealError for a passphrase that is too short."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise SealError(f"The passphrase needs {MIN_PASSPHRASE} characters or more.")
    salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
    key = _derived(passphrase, salt)
    content = AESGCM(key).encrypt(nonce, secret, _bound(label))
    body = base64.b64encode(salt + nonce + content).decode()
    return f"{PREFIX}:{label}:{body}"


def label_of(text: str) -> str:
    """What a sealed text says of itself; not verified before it is opened."""
    return _parts(text)[0]


def opened(text: str, passphrase: str) -> bytes:
    """The secret; SealError when the passphrase is another, or the text was changed."""
    label, body = _parts(text)
    salt, nonce = body[:SALT_BYTES], body[SALT_BYTES : SALT_BYTES + NONCE_BYTES]
    try:
        key = _derived(passphrase, salt)
        return AESGCM(key).decrypt(nonce, body[SALT_BYTES + NONCE_BYTES :], _bound(label))
    except (InvalidTag, ValueError) as error:
        raise SealError("The passphrase does not open it, or the file was changed.") from error


def _parts(text: str) -> tuple[str, bytes]:
    parts = text.strip().split(":")
    try:
        if len(text) > TEXT_CHARACTERS or len(parts) != 3 or parts[0] != PREFIX:
            raise ValueError
        body = base64.b64decode(parts[2], validate=True)
        if len(body) <= SALT_BYTES + NONCE_BYTES:
            raise ValueError
    except (ValueError, binascii.Error) as error:
        raise SealError(
            "It is no sealed key that this keypegd can read; is it complete?"
        ) from error
    return parts[1], body


def _bound(label: str) -> bytes:
    return f"{PREFIX}:{label}".encode()


def _derived(passphrase: str, salt: bytes) -> bytes:
    return Argon2id(
        salt=salt, length=32, iterations=ITERATIONS, lanes=LANES, memory_cost=MEMORY_KIB
    ).derive(passphrase.encode())
