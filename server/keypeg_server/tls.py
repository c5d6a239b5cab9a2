"""Certificates for a server that has none of its own.

Promises: the first start makes a development CA and a certificate under it for localhost, the loopback
addresses, this computer's name and the configured names, all P-256; later starts use the same CA, and
make a new certificate when the names changed or its end is near. `fingerprint` is what a person compares
before pinning the CA. Private keys are written with mode 0600.

Leaves to others: your own certificate (settings `server.tls_certificate`), and the time, an argument.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFETIME: Final = timedelta(days=3_650)
SERVER_LIFETIME: Final = timedelta(days=397)  # what strict clients accept at most
RENEW_BEFORE: Final = timedelta(days=30)
BACKDATED: Final = timedelta(hours=1)  # for clients whose clock is a little behind

CA_FILE: Final = "ca.pem"
_CA_KEY_FILE: Final = "ca.key"
SERVER_FILE: Final = "server.pem"
_SERVER_KEY_FILE: Final = "server.key"


@dataclass(frozen=True)
class Identity:
    """A certificate chain and its key, both PEM, and the file to trust."""

    chain: bytes
    key: bytes
    ca_file: Path

    def __repr__(self) -> str:
        return f"Identity(ca_file={str(self.ca_file)!r})"


def development_identity(folder: Path, more_names: Iterable[str], now: datetime) -> Identity:
    """The development CA and server certificate in `folder`, made or renewed as needed."""
    folder.mkdir(parents=True, exist_ok=True)
    ca_certificate, ca_key = _authority(folder, now)
    names = _names(more_names)
    chain_file, key_file = folder / SERVER_FILE, folder / _SERVER_KEY_FILE
    if not _still_good(chain_file, key_file, ca_certificate, names, now):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _server_certificate(ca_certificate, ca_key, key, names, now)
        write_secret(key_file, _key_pem(key))
        chain = certificate.public_bytes(serialization.Encoding.PEM)
        write_public(chain_file, chain + ca_certificate.public_bytes(serialization.Encoding.PEM))
    return Identity(chain_file.read_bytes(), key_file.read_bytes(), folder / CA_FILE)


def own_identity(certificate: Path, key: Path) -> Identity:
    """The operator's own certificate; clients trust it through their own ways, or pin the same file."""
    chain = certificate.read_bytes()
    leaf = x509.load_pem_x509_certificates(chain)[0]
    loaded = serialization.load_pem_private_key(key.read_bytes(), password=None)
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    der = serialization.Encoding.DER
    if loaded.public_key().public_bytes(der, spki) != leaf.public_key().public_bytes(der, spki):
        raise ValueError("the private key belongs to another certificate")
    return Identity(chain, key.read_bytes(), certificate)


def fingerprint(ca_file: Path) -> str:
    """SHA-256 of the first certificate of a file, as people compare it: `AB:CD:...`."""
    certificate = x509.load_pem_x509_certificates(ca_file.read_bytes())[0]
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; whole or not at all."""
    _write(path, content, 0o600)


def write_public(path: Path, content: bytes) -> None:
    """Write a file that everyone may read; whole or not at all."""
    _write(path, content, 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as handle:
        os.fchmod(descriptor, mode)  # whatever the umask is
        handle.write(content)
        handle.flush()
        os.fsync(descriptor)
    partial.replace(path)


def _authority(folder: Path, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate_file, key_file = folder / CA_FILE, folder / _CA_KEY_FILE
    if certificate_file.exists() and key_file.exists():
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key_file} is not a P-256 key")
        return certificate, key
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(
                NameOID.COMMON_NAME, f"keypeg development CA of {socket.gethostname()}"[:64]
            )
        ]
    )
    certificate = (
        _builder(name, name, key.public_key(), now, CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_secret(key_file, _key_pem(key))
    write_public(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def _server_certificate(
    ca_certificate: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    names: tuple[str, ...],
    now: datetime,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keypegd")])
    issuer_key = ca_certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _builder(subject, ca_certificate.subject, key.public_key(), now, SERVER_LIFETIME)
        .add_extension(
            x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key),
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
    )


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _names(more: Iterable[str]) -> tuple[str, ...]:
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname(), *more]
    return tuple(dict.fromkeys(name for name in names if name))


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _still_good(
    chain_file: Path,
    key_file: Path,
    ca_certificate: x509.Certificate,
    names: tuple[str, ...],
    now: datetime,
) -> bool:
    if not (chain_file.exists() and key_file.exists()):
        return False
    certificate = x509.load_pem_x509_certificates(chain_file.read_bytes())[0]
    covered = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        certificate.issuer == ca_certificate.subject
        and certificate.not_valid_after_utc > now + RENEW_BEFORE
        and {_general(name) for name in names} == set(covered)
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
