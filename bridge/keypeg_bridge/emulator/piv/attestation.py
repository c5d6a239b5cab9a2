"""Who vouches for keys made inside an emulated card: its slot F9, under a root that everyone knows.

Promises: the same seed gives the same attestation key and certificate, byte for byte; every name in the chain says that
the key is emulated. The root's private key follows from this file: it vouches for nothing.
"""

from __future__ import annotations

import datetime
import hashlib
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from keypeg_bridge.emulator.piv import keys
from keypeg_bridge.emulator.piv.keys import StoredKey
from keypeg_bridge.wire import piv

_ROOT_NAME: Final = "keypeg emulated keys root, of no worth"
_ISSUER_NAME: Final = "keypeg emulated key, PIV attestation, of no worth"
_NOT_BEFORE: Final = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER: Final = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# What makers' tools look for in the certificate of a key: version, serial number, policies of PIN and touch.
_ARC: Final = "1.3.6.1.4.1.41482.3"
_VERSION_EXTENSION: Final = x509.ObjectIdentifier(f"{_ARC}.3")
_SERIAL_EXTENSION: Final = x509.ObjectIdentifier(f"{_ARC}.7")
_POLICY_EXTENSION: Final = x509.ObjectIdentifier(f"{_ARC}.8")


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "keypeg"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _derived(label: str) -> ec.EllipticCurvePrivateKey:
    digest = hashlib.sha512(b"keypeg emulated PIV attestation\x00" + label.encode()).digest()
    return ec.derive_private_key(
        int.from_bytes(digest, "big") % (_P256_ORDER - 1) + 1, ec.SECP256R1()
    )


def _certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, label: str, depth: int
) -> x509.Certificate:
    number = int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big") >> 1 | 1
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(_ROOT_NAME))
        .public_key(key.public_key())
        .serial_number(number)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=depth), critical=True)
        .add_extension(usage, critical=True)
        .sign(_derived("root"), hashes.SHA256(), ecdsa_deterministic=True)
    )


@lru_cache(maxsize=1)
def root() -> bytes:
    """The root certificate, DER: the same for all emulated keys, so that a laboratory may trust it."""
    return _certificate(_ROOT_NAME, _derived("root"), "root", 1).public_bytes(
        serialization.Encoding.DER
    )


@lru_cache(maxsize=64)
def intermediate(seed: str) -> bytes:
    """The certificate of slot F9 of the key with this seed, DER."""
    label = f"key {seed}"
    return _certificate(_ISSUER_NAME, _derived(label), label, 0).public_bytes(
        serialization.Encoding.DER
    )


def factory_key(seed: str) -> StoredKey:
    """What slot F9 holds when nobody has put another key there."""
    pkcs8 = _derived(f"key {seed}").private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return StoredKey(piv.ALGORITHM_P256, pkcs8, piv.POLICY_NEVER, generated=False)


def attest(
    slot: int, key: StoredKey, signer: StoredKey, serial: int, version: bytes, number: int
) -> bytes:
    """A certificate (DER) which says that the key in this slot was made inside the card."""
    issuing = keys.private_key(signer)
    assert isinstance(issuing, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    policies = bytes((key.pin_policy, key.touch_policy))
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(f"keypeg emulated key, PIV attestation {slot:02x}"))
        .issuer_name(_name(_ISSUER_NAME))
        .public_key(keys.public_key(key))
        .serial_number(number)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
    )
    for extension, value in (
        (_VERSION_EXTENSION, version),
        (_SERIAL_EXTENSION, _der_integer(serial)),
        (_POLICY_EXTENSION, policies),
    ):
        builder = builder.add_extension(x509.UnrecognizedExtension(extension, value), False)
    return builder.sign(issuing, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _der_integer(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return bytes((0x02, len(content))) + content
