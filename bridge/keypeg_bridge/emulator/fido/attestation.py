"""Who vouches for an emulated key: an attestation key and certificate from its seed, under a root that everyone knows.

Promises: the same seed gives the same certificate, byte for byte. The root's private key is in this file: it vouches for
nothing, and its name says so.
"""

from __future__ import annotations

import datetime
from functools import cached_property
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from keypeg_bridge.emulator.fido.credential import p256_key, sha256

AAGUID: Final = b"keypeg-emulated!"
_AAGUID_EXTENSION: Final = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
_NOT_BEFORE: Final = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER: Final = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)
_ROOT_SECRET: Final = sha256(b"keypeg emulated attestation root, of no worth")


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "XX"),  # ISO 3166: never given to a country
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "keypeg"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Authenticator Attestation"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


class Attestation:
    """The attestation of the key with this seed."""

    def __init__(self, seed: str) -> None:
        secret = sha256(b"keypeg emulated key attestation\x00" + seed.encode())
        self._key = p256_key(secret, b"attestation")
        self._serial = int.from_bytes(sha256(secret)[:8], "big") >> 1 | 1

    def sign(self, data: bytes) -> bytes:
        """An ES256 signature by the attestation key."""
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))

    @cached_property
    def certificate(self) -> bytes:
        """The certificate, DER, as packed attestation wants it (WebAuthn, section 8.2.1)."""
        aaguid = x509.UnrecognizedExtension(_AAGUID_EXTENSION, b"\x04\x10" + AAGUID)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name("keypeg emulated key"))
            .issuer_name(_name("keypeg emulated keys, of no worth"))
            .public_key(self._key.public_key())
            .serial_number(self._serial)
            .not_valid_before(_NOT_BEFORE)
            .not_valid_after(_NOT_AFTER)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(aaguid, critical=False)
            .sign(p256_key(_ROOT_SECRET, b"root"), hashes.SHA256(), ecdsa_deterministic=True)
        )
        return certificate.public_bytes(serialization.Encoding.DER)
