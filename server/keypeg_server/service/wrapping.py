"""Wrapping secrets that the database keeps, such as what one-time codes are made from.

Promises: `unwrap` gives back exactly what `wrap` took, under the same context, and raises for all else: a changed
byte, another server's key, a row that was copied to another place. Equal secrets are wrapped to different bytes.

Leaves to others: keeping the key (secret_files.py), storing what was wrapped.
"""

from __future__ import annotations

import os
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keypeg.errors import Internal

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12  # of AES-GCM; random: good for 2**32 secrets under one key
TAG_BYTES: Final = 16
_VERSION: Final = b"\x01"
_PURPOSE: Final = b"keypegd wrapping of secrets v1"


class UnwrapError(Internal):
    """What was wrapped was changed, moved, or wrapped by a server with other secrets."""


class Wrapping(Protocol):
    """Wraps what must not be read by who reads the database."""

    def wrap(self, secret: bytes, context: str) -> bytes:
        """The secret, unreadable; 29 bytes longer. `context` says whose and what for, and is not in it."""
        ...

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """The secret; UnwrapError when it was not wrapped so, for this context."""
        ...


class AesGcmWrapping:
    """AES-256-GCM with the context as associated data; implements `Wrapping`."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a wrapping key has {KEY_BYTES} bytes, not {len(key)}")
        self._cipher = AESGCM(key)

    @classmethod
    def of_master(cls, master: bytes) -> AesGcmWrapping:
        """The wrapping of all servers that have this secret."""
        return cls(HKDF(hashes.SHA256(), KEY_BYTES, None, _PURPOSE).derive(master))

    def wrap(self, secret: bytes, context: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, secret, _associated(context))

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        nonce, sealed = wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
        if wrapped[:1] != _VERSION or len(sealed) < TAG_BYTES:
            raise _unreadable(context)
        try:
            return self._cipher.decrypt(nonce, sealed, _associated(context))
        except InvalidTag as error:
            raise _unreadable(context) from error


def _associated(context: str) -> bytes:
    return _VERSION + context.encode()


def _unreadable(context: str) -> UnwrapError:
    return UnwrapError(
        f"The secret of {context} can not be read with this server's keys; put its secrets back from a backup."
    )
