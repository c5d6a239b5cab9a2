"""The authority that signs certificates of bridges and sites: X.509, and nothing else.

Promises: P-256 throughout; a certificate says its role and its name as one URI, serves for clients alone, and never
outlives what it was asked for. The authority's key is made of `management.key`, so that all servers of a database are
one authority, nothing more has to be backed up, and it is wrapped where that is. It signs certificates of clients and is
trusted by servers alone: it vouches for no server.

Leaves to others: whom to issue one, and who may still call (service/client_certificates.py).
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keypeg_server.domain.client_certificate import ClientCertificate
from keypeg_server.service.certificate_ports import Shown, Wanted
from keypeg_server.tls import BACKDATED, CA_LIFETIME, key_usage

_PURPOSE: Final = b"keypeg authority of client certificates v1"
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256
_SCALAR_BYTES: Final = 48  # 16 more than needed: the remainder is even to 2**-128
_NAME: Final = "keypeg authority of bridges and sites"
_URI: Final = "keypeg"


class ClientAuthority:
    """Signs, and is what servers trust."""

    def __init__(self, management_key: bytes, now: datetime) -> None:
        derived = HKDF(hashes.SHA256(), _SCALAR_BYTES, None, _PURPOSE).derive(management_key)
        scalar = int.from_bytes(derived, "big") % (_ORDER - 1) + 1
        self._key: Final = ec.derive_private_key(scalar, ec.SECP256R1())
        # The certificate's name is of the key, so that authorities of other secrets are other ones by name.
        digest = hashlib.sha256(
            self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
        self._name: Final = _common_name(f"{_NAME} {digest.hexdigest()[:16]}")
        self.pem: Final = (
            _builder(self._name, self._name, now, now + CA_LIFETIME)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(key_usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
        )

    def __repr__(self) -> str:
        return "ClientAuthority()"

    def wanted(self, request: bytes) -> Wanted:
        try:
            found = x509.load_pem_x509_csr(request)
            key = found.public_key()
            signed = found.is_signature_valid
        except (ValueError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion) as error:
            raise ValueError("is no certificate request (PKCS #10, PEM)") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
            key.curve, ec.SECP256R1
        ):
            raise ValueError("is for another kind of key than P-256")
        if not signed:
            raise ValueError("is not signed by the key that it is for")
        return Wanted(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def serial(self) -> str:
        return f"{x509.random_serial_number():x}"

    def issue(self, wanted: Wanted, certificate: ClientCertificate, now: datetime) -> str:
        key = load_der_public_key(wanted.public_key)
        assert isinstance(key, ec.EllipticCurvePublicKey)
        role, ends = certificate.role.word, certificate.expire_time
        uri = x509.UniformResourceIdentifier(f"{_URI}:{role}:{certificate.name}")
        made = (
            _builder(_common_name(f"keypeg {role}"), self._name, now, ends)
            .public_key(key)
            .serial_number(int(certificate.serial, 16))
            .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(Encoding.PEM).decode()

    def shown(self, pem: str) -> Shown:
        try:
            found = x509.load_pem_x509_certificate(pem.encode())
            self._key.public_key().verify(
                found.signature, found.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256())
            )
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        except InvalidSignature as error:
            raise ValueError("other authority") from error
        except (ValueError, x509.ExtensionNotFound, x509.InvalidVersion) as error:
            raise ValueError("not understood") from error
        scheme, _, rest = uri.partition(":")
        role, _, name = rest.partition(":")
        if scheme != _URI:
            raise ValueError("not understood")
        return Shown(
            role,
            name,
            f"{found.serial_number:x}",
            found.not_valid_before_utc,
            found.not_valid_after_utc,
        )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .not_valid_before(now - min(BACKDATED, (ends - now) / 10))
        .not_valid_after(ends)
    )
