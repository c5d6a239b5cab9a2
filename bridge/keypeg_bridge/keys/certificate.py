"""A self-signed certificate for a key that lives in a card: how a standard card remembers its own public key.

Promises: pure functions; the signature comes from a callback, as the private key never leaves the card. The certificate
carries no trust: licenses name the public key itself.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from keypeg_bridge.keys import piv_identity
from keypeg_bridge.keys.piv_identity import PublicIdentity
from keypeg_bridge.wire import piv, tlv

_NOT_BEFORE: Final = datetime(2020, 1, 1, tzinfo=UTC)
_NOT_AFTER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # RFC 5280: no end
_SEQUENCE: Final = 0x30
_BIT_STRING: Final = 0x03
_ECDSA_WITH_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")
_ED25519: Final = bytes.fromhex("300506032b6570")
_RSA_WITH_SHA256: Final = bytes.fromhex("300d06092a864886f70d01010b0500")


def self_signed(identity: PublicIdentity, sign: Callable[[bytes], bytes]) -> bytes:
    """A certificate (DER) for this key, of which `sign` gives the signature over a SHA-256; Ed25519 signs the whole."""
    subject = piv_identity.to_key(identity)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keypeg key")])
    throwaway, algorithm = _of_its_kind(subject)
    whole = isinstance(throwaway, ed25519.Ed25519PrivateKey)
    # The builder signs only with keys in memory: a throw-away one gives the part to be signed.
    draft = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(subject)
        .serial_number(1)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .sign(throwaway, None if whole else hashes.SHA256())
    )
    signed_part = draft.tbs_certificate_bytes
    signature = sign(signed_part if whole else _sha256(signed_part))
    return tlv.encode(
        _SEQUENCE, signed_part + algorithm + tlv.encode(_BIT_STRING, b"\x00" + signature)
    )


def _of_its_kind(subject: Any) -> tuple[Any, bytes]:
    """A private key that signs as the card's does, and how a certificate names that."""
    if isinstance(subject, ed25519.Ed25519PublicKey):
        return ed25519.Ed25519PrivateKey.generate(), _ED25519
    if isinstance(subject, rsa.RSAPublicKey):
        return _throwaway_rsa(), _RSA_WITH_SHA256
    return ec.generate_private_key(ec.SECP256R1()), _ECDSA_WITH_SHA256


@lru_cache(maxsize=1)
def _throwaway_rsa() -> rsa.RSAPrivateKey:
    """Slow to make, and of no meaning."""
    return rsa.generate_private_key(piv_identity.RSA_EXPONENT, 2_048)


def _sha256(data: bytes) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(data)
    return digest.finalize()


def identity_of(certificate: bytes) -> PublicIdentity | None:
    """The key in a certificate, or None when there is none that apps verify."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except Exception:  # whatever a foreign parser makes of foreign bytes: no usable certificate
        return None
    return piv_identity.from_key(key)


def is_p256_point(point: bytes) -> bool:
    """Whether the bytes are an uncompressed point on the curve."""
    return piv_identity.from_template(piv_identity.P256, {piv.TAG_EC_POINT: point}) is not None
