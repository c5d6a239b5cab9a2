"""The few operations an emulated card computes: P-256 keys and signatures, and blocks under the management key."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

TRIPLE_DES: Final = 0x03


def generate_p256() -> tuple[bytes, bytes]:
    """A new key: its PKCS #8 DER, and its public point, uncompressed (65 bytes)."""
    key = ec.generate_private_key(ec.SECP256R1())
    pkcs8 = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pkcs8, _point(key)


def public_point(pkcs8: bytes) -> bytes:
    """The public point of a stored key."""
    return _point(_load(pkcs8))


def sign_digest(pkcs8: bytes, digest: bytes) -> bytes:
    """An ECDSA signature over 32 bytes as given, DER."""
    return _load(pkcs8).sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))


def encrypt_block(algorithm: int, key: bytes, block: bytes) -> bytes:
    """One block under the management key, as the card does it."""
    encryptor = _cipher(algorithm, key).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def _cipher(algorithm: int, key: bytes) -> Cipher[modes.ECB]:
    chosen = TripleDES(key) if algorithm == TRIPLE_DES else algorithms.AES(key)
    return Cipher(chosen, modes.ECB())  # noqa: S305 - one random block, as PIV defines it


def _load(pkcs8: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_der_private_key(pkcs8, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the stored private key is not an elliptic curve key")
    return key


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
