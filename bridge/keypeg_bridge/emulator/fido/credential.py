"""Credentials of an emulated key: every secret is derived from the key's seed, its generation and the credential's id.

Promises: an id tells nothing and opens only on the key and for the relying party that it was made for; the same seed gives
the same credentials in the same order. An id is `options, 32 bytes of nonce, 32 bytes of MAC`; the MAC covers the relying party.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from keypeg_bridge.emulator.fido.state import FidoState
from keypeg_bridge.wire import ctap

ALGORITHMS: Final = (ctap.ES256, ctap.EDDSA)  # in the order of getInfo
ID_BYTES: Final = 65
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Trait(IntFlag):
    """What a credential was made with; the first byte of its id. The two lowest bits are its protection."""

    PROTECTION = 0x03  # credProtect: 0 to 2 for levels 1 to 3
    HMAC_SECRET = 0x04
    EDDSA = 0x08
    RESIDENT = 0x10  # ours only as long as the key has it stored


def sha256(data: bytes) -> bytes:
    """The digest."""
    return hashlib.sha256(data).digest()


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential that is ours: its id and the secret that its keys are made from."""

    id: bytes
    rp_id_hash: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"Credential({self.id[:4].hex()}...)"

    @property
    def traits(self) -> Trait:
        """What it was made with."""
        return Trait(self.id[0])

    @property
    def algorithm(self) -> int:
        """The COSE number of its signatures."""
        return ctap.EDDSA if Trait.EDDSA in self.traits else ctap.ES256

    @property
    def protection(self) -> int:
        """credProtect: 1 optional, 2 optional with an id, 3 only with verification."""
        return (self.traits & Trait.PROTECTION) + 1

    def sign(self, data: bytes) -> bytes:
        """A signature by its private key, DER for ES256."""
        key = self._key()
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(data)
        return key.sign(data, ec.ECDSA(hashes.SHA256()))

    def cose_key(self) -> dict[int, Any]:
        """Its public key."""
        key = self._key()
        if isinstance(key, ed25519.Ed25519PrivateKey):
            raw = key.public_key().public_bytes(
                serialization.Encoding.Raw, serialization.PublicFormat.Raw
            )
            return {1: 1, 3: ctap.EDDSA, -1: 6, -2: raw}
        return cose_point(key.public_key(), ctap.ES256)

    def point(self) -> bytes:
        """Its P-256 point, uncompressed, as U2F wants it."""
        key = self.cose_key()
        return b"".join((b"\x04", key[-2], key[-3]))

    def hmac_key(self, *, verified: bool) -> bytes:
        """CredRandom: one for verified users, one for the others."""
        return _derive(self.secret, b"hmac-secret with" if verified else b"hmac-secret without")

    def blob_key(self) -> bytes:
        """largeBlobKey."""
        return _derive(self.secret, b"large blob key")

    def _key(self) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
        if self.algorithm == ctap.EDDSA:
            return ed25519.Ed25519PrivateKey.from_private_bytes(_derive(self.secret, b"ed25519"))
        return p256_key(self.secret, b"p256")


class Wallet:
    """Makes and opens the credentials of one key in its present generation."""

    def __init__(self, seed: str, state: FidoState) -> None:
        root = sha256(b"keypeg emulated key fido\x00" + seed.encode())
        self._master = _derive(root, b"generation" + state.generation.to_bytes(8, "big"))

    def make(self, rp_id_hash: bytes, traits: Trait, number: int) -> Credential:
        """A new credential; `number` must never come twice."""
        nonce = _derive(self._master, b"nonce" + number.to_bytes(8, "big"))
        identifier = bytes((traits,)) + nonce
        return self._credential(identifier + self._mac(identifier, rp_id_hash), rp_id_hash)

    def open(self, identifier: bytes, rp_id_hash: bytes) -> Credential | None:
        """The credential with this id, if this key made it for this relying party."""
        if len(identifier) != ID_BYTES or identifier[0] >= 2 * Trait.RESIDENT:
            return None
        if not hmac.compare_digest(identifier[33:], self._mac(identifier[:33], rp_id_hash)):
            return None
        return self._credential(identifier, rp_id_hash)

    def _credential(self, identifier: bytes, rp_id_hash: bytes) -> Credential:
        return Credential(identifier, rp_id_hash, _derive(self._master, b"secret" + identifier))

    def _mac(self, identifier: bytes, rp_id_hash: bytes) -> bytes:
        return _derive(self._master, b"id" + identifier + rp_id_hash)


def p256_key(secret: bytes, label: bytes) -> ec.EllipticCurvePrivateKey:
    """A P-256 key of a secret; 64 bytes modulo the order leave no bias."""
    wide = _derive(secret, label + b" 1") + _derive(secret, label + b" 2")
    scalar = int.from_bytes(wide, "big") % (_P256_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


def cose_point(key: ec.EllipticCurvePublicKey, algorithm: int) -> dict[int, Any]:
    """A P-256 public key as COSE writes it."""
    numbers = key.public_numbers()
    return {
        1: 2,
        3: algorithm,
        -1: 1,
        -2: numbers.x.to_bytes(32, "big"),
        -3: numbers.y.to_bytes(32, "big"),
    }


def _derive(secret: bytes, label: bytes) -> bytes:
    return hmac.digest(secret, label, "sha256")
