"""The certificate by which a bridge calls its server, and the private key for it.

Promises: keys are made here and never leave the state directory; key and certificate are one file, readable by the bridge's
user alone, which is replaced whole, so that they always fit together. What is wrong with it is an `EnrollmentError` of one
sentence.

Leaves to others: asking the server (rpc/renewing.py), the time, an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from keypeg_bridge.secret_file import write_secret

FILE: Final = "server-certificate.pem"
PENDING_FILE: Final = "server-certificate.key"
"""The key of a request that no certificate was installed for yet."""
_SHARE: Final = 3
"""A certificate is renewed when this part of its time is left."""
_HOW: Final = "enroll this bridge: keypeg-bridge certificate request"


class EnrollmentError(Exception):
    """Why there is no certificate to call by; one sentence."""


@dataclass(frozen=True, slots=True)
class Request:
    """A key that was just made, and what is sent to have a certificate for it."""

    key: bytes = field(repr=False)
    text: bytes
    """PKCS #10, PEM."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A certificate and its key, PEM."""

    key: bytes = field(repr=False)
    certificate: bytes
    says: str
    """What the certificate says of its owner."""
    starts: datetime
    ends: datetime

    def is_due(self, now: datetime) -> bool:
        """Whether it is time for the next one."""
        return now >= self.due

    @property
    def due(self) -> datetime:
        """When it is time for the next one."""
        return self.ends - (self.ends - self.starts) / _SHARE

    def check(self, now: datetime) -> None:
        """Say so when it has ended: a server would only hang up."""
        if now >= self.ends:
            raise EnrollmentError(
                f"The certificate of this bridge has ended ({self.ends:%Y-%m-%d %H:%M} UTC); {_HOW}."
            )


def make_request() -> Request:
    """A new key, and the request for it; nothing is kept."""
    return _request(ec.generate_private_key(ec.SECP256R1()))


def begin(folder: Path) -> Request:
    """The request of this bridge; the same key until its certificate is installed."""
    file = folder / PENDING_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not file.exists():
            write_secret(file, make_request().key)
        return _request(_key(file.read_bytes()))
    except OSError as error:
        raise EnrollmentError(
            f"{error.filename} cannot be used: {error.strerror}. Choose another directory with --state."
        ) from error
    except ValueError as error:
        raise EnrollmentError(f"{file} is damaged. Remove it and make another request.") from error


def install(folder: Path, certificate: bytes) -> Enrolled:
    """Keep the certificate for what was requested."""
    file = folder / PENDING_FILE
    try:
        key = file.read_bytes()
    except OSError as error:
        raise EnrollmentError(
            f"{folder} waits for no certificate; make a request with keypeg-bridge certificate request."
        ) from error
    enrolled = keep(folder, key, certificate)
    file.unlink()
    return enrolled


def keep(folder: Path, key: bytes, certificate: bytes) -> Enrolled:
    """Call by this from now on."""
    try:
        enrolled = _read(key + certificate)
    except ValueError as error:
        raise EnrollmentError(
            f"This is not the certificate for the key of this bridge: {error}."
        ) from error
    try:
        write_secret(folder / FILE, enrolled.key + enrolled.certificate)
    except OSError as error:
        raise EnrollmentError(
            f"{folder / FILE} cannot be written: {error.strerror}. Choose another directory with --state."
        ) from error
    return enrolled


def load(folder: Path) -> Enrolled:
    """What this bridge calls by."""
    file = folder / FILE
    try:
        return _read(file.read_bytes())
    except FileNotFoundError as error:
        raise EnrollmentError(f"There is no {file}; {_HOW}.") from error
    except OSError as error:
        raise EnrollmentError(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise EnrollmentError(f"{file} is damaged: {error}; restore it, or {_HOW}.") from error


def _read(both: bytes) -> Enrolled:
    """ValueError says what is wrong."""
    try:
        key = _key(both)
        found = x509.load_pem_x509_certificate(both)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (says,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, x509.ExtensionNotFound, x509.InvalidVersion) as error:
        raise ValueError("it holds no private key with a certificate of keypeg") from error
    if found.public_key() != key.public_key():
        raise ValueError("it was issued for another key")
    return Enrolled(
        _pem(key),
        found.public_bytes(Encoding.PEM),
        says,
        found.not_valid_before_utc,
        found.not_valid_after_utc,
    )


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("a key that needs a password, or of an unknown kind") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("no P-256 key")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _request(key: ec.EllipticCurvePrivateKey) -> Request:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keypeg-bridge")])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return Request(_pem(key), made.public_bytes(Encoding.PEM))
