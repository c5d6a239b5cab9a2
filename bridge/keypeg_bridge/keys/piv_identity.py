"""The kinds of identity key that a PIV card may have: their numbers, their public halves, and how each signs a challenge.

Promises: pure functions; a public key in any form comes out as the bytes of its `KeyAlgorithm` (docs/formats.md, "Keys"),
or as None when it is no key that apps verify. What a card has of them is tried by the driver, in `piv.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from keypeg.v1 import document_pb2
from keypeg_bridge.wire import piv

RSA_BYTES: Final = 256
RSA_EXPONENT: Final = 65_537
_P384_BYTES: Final = 48
# What stands before a SHA-256 in a signature with PKCS #1 1.5 (RFC 8017, section 9.2).
_DIGEST_INFO: Final = bytes.fromhex("3031300d060960864801650304020105000420")


@dataclass(frozen=True, slots=True)
class PublicIdentity:
    """A public key, as licenses name it."""

    algorithm: int  # keypeg.v1.KeyAlgorithm
    key: bytes


@dataclass(frozen=True, slots=True)
class IdentityKind:
    """One kind of identity key."""

    name: str
    number: int  # of the card
    algorithm: int  # keypeg.v1.KeyAlgorithm
    to_sign: Callable[[bytes], bytes]  # what the card is given for a SHA-256


def _padded(digest: bytes) -> bytes:
    """PKCS #1 1.5, as the card only does the arithmetic."""
    info = _DIGEST_INFO + digest
    return b"\x00\x01" + b"\xff" * (RSA_BYTES - 3 - len(info)) + b"\x00" + info


P256: Final = IdentityKind(
    "P-256", piv.ALGORITHM_P256, document_pb2.KEY_ALGORITHM_ECDSA_P256, lambda digest: digest
)
P384: Final = IdentityKind(
    "P-384",
    piv.ALGORITHM_P384,
    document_pb2.KEY_ALGORITHM_ECDSA_P384,
    lambda digest: digest.rjust(_P384_BYTES, b"\x00"),  # the same number
)
ED25519: Final = IdentityKind(
    "Ed25519", piv.ALGORITHM_ED25519, document_pb2.KEY_ALGORITHM_ED25519, lambda digest: digest
)
RSA2048: Final = IdentityKind(
    "RSA-2048", piv.ALGORITHM_RSA2048, document_pb2.KEY_ALGORITHM_RSA_2048, _padded
)
KINDS: Final = (P256, P384, ED25519, RSA2048)  # in the order in which enrollment tries them
_BY_ALGORITHM: Final = {kind.algorithm: kind for kind in KINDS}


def kind_of(identity: PublicIdentity) -> IdentityKind:
    """The kind of a key that came from here."""
    return _BY_ALGORITHM[identity.algorithm]


def kinds_named(names: Sequence[str]) -> tuple[IdentityKind, ...]:
    """The kinds of these names, in their order; ValueError when there is none, or one is unknown."""
    by_name = {kind.name: kind for kind in KINDS}
    unknown = [name for name in names if name not in by_name]
    if unknown or not names:
        what = f"there is no {unknown[0]!r}" if unknown else "none is named"
        raise ValueError(f"Of the kinds of identity key, {', '.join(by_name)}, {what}.")
    return tuple(by_name[name] for name in names)


def from_template(kind: IdentityKind, fields: Mapping[int, bytes]) -> PublicIdentity | None:
    """From the elements of a card's public key (7F49), as long as they are a key of this kind."""
    try:
        if kind is RSA2048:
            exponent = int.from_bytes(fields.get(piv.TAG_RSA_EXPONENT, b""), "big")
            modulus = int.from_bytes(fields.get(piv.TAG_RSA_MODULUS, b""), "big")
            return from_key(rsa.RSAPublicNumbers(exponent, modulus).public_key())
        point = fields.get(piv.TAG_EC_POINT, b"")
        if kind is ED25519:
            return from_key(ed25519.Ed25519PublicKey.from_public_bytes(point))
        curve = ec.SECP256R1() if kind is P256 else ec.SECP384R1()
        if point[:1] != b"\x04":  # the other forms of a point are not those of the contract
            return None
        return from_key(ec.EllipticCurvePublicKey.from_encoded_point(curve, point))
    except ValueError:
        return None


def from_number(number: int | None, fields: Mapping[int, bytes]) -> PublicIdentity | None:
    """As `from_template`, for the kind that the card's own number names."""
    kind = next((kind for kind in KINDS if kind.number == number), None)
    return None if kind is None else from_template(kind, fields)


def from_key(key: Any) -> PublicIdentity | None:
    """From a key as `cryptography` has it."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return PublicIdentity(ED25519.algorithm, key.public_bytes_raw())
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        if (key.key_size, numbers.e) != (RSA_BYTES * 8, RSA_EXPONENT):
            return None
        return PublicIdentity(RSA2048.algorithm, numbers.n.to_bytes(RSA_BYTES, "big"))
    if isinstance(key, ec.EllipticCurvePublicKey):
        kind = {"secp256r1": P256, "secp384r1": P384}.get(key.curve.name)
        if kind is not None:
            point = key.public_bytes(
                serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
            )
            return PublicIdentity(kind.algorithm, point)
    return None


def to_key(identity: PublicIdentity) -> Any:
    """The other way round."""
    match kind_of(identity).name:
        case "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(identity.key)
        case "RSA-2048":
            modulus = int.from_bytes(identity.key, "big")
            return rsa.RSAPublicNumbers(RSA_EXPONENT, modulus).public_key()
        case name:
            curve = ec.SECP256R1() if name == "P-256" else ec.SECP384R1()
            return ec.EllipticCurvePublicKey.from_encoded_point(curve, identity.key)
