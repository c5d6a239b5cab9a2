"""The two PIN/UV auth protocols of CTAP 2.1 (sections 6.5.6 and 6.5.7), the authenticator's end.

Promises: `decapsulate` refuses points that are not on the curve; `decrypt` gives None for lengths that cannot be; MACs are
compared in constant time. Whose secrets these are, and when they change, is `client_pin.py`'s.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, Final, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keypeg_bridge.emulator.fido.credential import sha256
from keypeg_bridge.wire import ctap

BLOCK: Final = 16  # bytes
_ZERO_IV: Final = bytes(BLOCK)


class PinProtocol(Protocol):
    """One version; a shared secret is whatever its `derive` gives."""

    number: int

    def derive(self, z: bytes) -> bytes:
        """The shared secret of an ECDH result."""
        ...

    def encrypt(self, secret: bytes, plain: bytes) -> bytes:
        """Whole blocks under the shared secret."""
        ...

    def decrypt(self, secret: bytes, cipher: bytes) -> bytes | None:
        """The inverse; None when the length is wrong."""
        ...

    def verify(self, key: bytes, message: bytes, mac: bytes) -> bool:
        """Whether the MAC is right under a shared secret or a token."""
        ...


def _cbc(key: bytes, iv: bytes) -> Cipher[modes.CBC]:
    return Cipher(algorithms.AES(key), modes.CBC(iv))


def _encrypt(key: bytes, iv: bytes, plain: bytes) -> bytes:
    encryptor = _cbc(key, iv).encryptor()
    return encryptor.update(plain) + encryptor.finalize()


def _decrypt(key: bytes, iv: bytes, cipher: bytes) -> bytes | None:
    if not cipher or len(cipher) % BLOCK:
        return None
    decryptor = _cbc(key, iv).decryptor()
    return decryptor.update(cipher) + decryptor.finalize()


class ProtocolOne:
    """SHA-256, AES-256-CBC with a zero IV, HMAC cut to 16 bytes."""

    number = 1

    def derive(self, z: bytes) -> bytes:
        return sha256(z)

    def encrypt(self, secret: bytes, plain: bytes) -> bytes:
        return _encrypt(secret, _ZERO_IV, plain)

    def decrypt(self, secret: bytes, cipher: bytes) -> bytes | None:
        return _decrypt(secret, _ZERO_IV, cipher)

    def verify(self, key: bytes, message: bytes, mac: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(key, message, "sha256")[:16], mac)


class ProtocolTwo:
    """HKDF-SHA-256 into a MAC key and an AES key, AES-256-CBC with a random IV before it, whole HMACs."""

    number = 2

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random

    def derive(self, z: bytes) -> bytes:
        def part(info: bytes) -> bytes:
            return HKDF(hashes.SHA256(), 32, bytes(32), info).derive(z)

        return part(b"CTAP2 HMAC key") + part(b"CTAP2 AES key")

    def encrypt(self, secret: bytes, plain: bytes) -> bytes:
        iv = self._random(BLOCK)
        return iv + _encrypt(secret[32:], iv, plain)

    def decrypt(self, secret: bytes, cipher: bytes) -> bytes | None:
        return (
            _decrypt(secret[32:], cipher[:BLOCK], cipher[BLOCK:]) if len(cipher) > BLOCK else None
        )

    def verify(self, key: bytes, message: bytes, mac: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(key[:32], message, "sha256"), mac)


def ecdh(key: ec.EllipticCurvePrivateKey, peer: dict[Any, Any]) -> bytes | None:
    """The shared x coordinate with a COSE key as platforms send it; None for anything that is not one on P-256."""
    if peer.keys() != {1, 3, -1, -2, -3}:
        return None
    if (peer[1], peer[3], peer[-1]) != (2, ctap.ECDH_ES_HKDF_256, 1):
        return None
    x, y = peer[-2], peer[-3]
    if not isinstance(x, bytes) or not isinstance(y, bytes) or (len(x), len(y)) != (32, 32):
        return None
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)
    except ValueError:
        return None
    return key.exchange(ec.ECDH(), point)
