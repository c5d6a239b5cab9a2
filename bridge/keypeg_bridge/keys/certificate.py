"""A self-signed certificate for a key that lives in a card: how a standard card remembers its own public key.

Promises: pure functions; the signature comes from a callback, as the private key never leaves the card. The certificate
carries no trust: licenses name the public key itself.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from keypeg_bridge.wire import tlv

_NOT_BEFORE: Final = datetime(2020, 1, 1, tzinfo=UTC)
_NOT_AFTER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # RFC 5280: no end
POINT_BYTES: Final = 65
_SEQUENCE: Final = 0x30
_BIT_STRING: Final = 0x03
_ECDSA_WITH_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")


def self_signed(point: bytes, sign_digest: Callable[[bytes], bytes]) -> bytes:
    """A certificate (DER) for the public key `point`, signed by `sign_digest(sha256) -> DER signature`."""
    subject = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keypeg key")])
    # The builder signs only with keys in memory: a throw-away one gives the part to be signed.
    draft = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(subject)
        .serial_number(1)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    signed_part = draft.tbs_certificate_bytes
    digest = hashes.Hash(hashes.SHA256())
    digest.update(signed_part)
    signature = tlv.encode(_BIT_STRING, b"\x00" + sign_digest(digest.finalize()))
    return tlv.encode(_SEQUENCE, signed_part + _ECDSA_WITH_SHA256 + signature)


def public_point_of(certificate: bytes) -> bytes | None:
    """The uncompressed point of the P-256 key in a certificate, or None when there is no such key in it."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except Exception:  # whatever a foreign parser makes of foreign bytes: no usable certificate
        return None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        return None
    return key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def is_p256_point(point: bytes) -> bool:
    """Whether the bytes are an uncompressed point on the curve."""
    if len(point) != POINT_BYTES:
        return False
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        return False
    return True
