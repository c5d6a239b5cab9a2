"""Whose word a key's private key needs: a chain of certificates from the key to a root that the operator trusts.

Promises: pure functions of bytes and time; `Roots.check` returns for a chain that says of this very key that it was made
inside of hardware of a trusted maker, and raises KeyNotAttested with what to do for anything else, in any bytes.

Leaves to others: which roots are trusted, and whether attestation is asked for at all (settings).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keypeg.envelope import RSA_BYTES, RSA_EXPONENT
from keypeg.errors import KeyNotAttested
from keypeg.v1 import document_pb2
from keypeg.v1.document_pb2 import PublicKey

MAX_CERTIFICATES: Final = 8  # of a chain; makers use two or three
MAX_CERTIFICATE: Final = 4_096  # bytes
_CURVES: Final = {
    "secp256r1": document_pb2.KEY_ALGORITHM_ECDSA_P256,
    "secp384r1": document_pb2.KEY_ALGORITHM_ECDSA_P384,
}


class RootsUnusable(Exception):
    """The file of roots cannot be used; one sentence."""


class Roots:
    """The makers that an operator trusts."""

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        self._certificates = tuple(certificates)

    @classmethod
    def from_pem(cls, text: bytes) -> Roots:
        """From one or more certificates, PEM. Raises RootsUnusable."""
        try:
            found = x509.load_pem_x509_certificates(text)
        except ValueError as error:
            raise RootsUnusable("it holds no certificates in PEM, or broken ones") from error
        for one in found:
            if not _may_sign(one):
                name = one.subject.rfc4514_string()
                raise RootsUnusable(f"the certificate of {name} is not of an authority")
        return cls(found)

    def check(self, chain: Sequence[bytes], public_key: PublicKey, now: datetime) -> None:
        """Raise KeyNotAttested unless the chain vouches for the key."""
        if not chain:
            raise _refused("it tells nothing of its maker")
        if len(chain) > MAX_CERTIFICATES or any(len(one) > MAX_CERTIFICATE for one in chain):
            raise _refused("what it tells of its maker is too long")
        try:
            certificates = [x509.load_der_x509_certificate(one) for one in chain]
            own = _public_key(certificates[0].public_key())
            signers = [*certificates[1:], None]
            for one, signer in zip(certificates, signers, strict=True):
                if not one.not_valid_before_utc <= now <= one.not_valid_after_utc:
                    raise _refused("a certificate of its maker is out of its time")
                if signer is not None and not _signed(one, signer):
                    raise _refused("the certificates of its maker do not hold together")
            last = certificates[-1]
            if not any(_vouches(root, last, now) for root in self._certificates):
                raise _refused(f"this server does not know {last.issuer.rfc4514_string()}")
        except KeyNotAttested:
            raise
        except Exception as error:  # whatever a parser makes of foreign bytes
            raise _refused("what it tells of its maker cannot be read") from error
        if own is None or own != public_key:
            raise _refused("its maker vouches for another private key")


def _vouches(root: x509.Certificate, last: x509.Certificate, now: datetime) -> bool:
    if not root.not_valid_before_utc <= now <= root.not_valid_after_utc:
        return False
    return last == root or _signed(last, root)


def _signed(one: x509.Certificate, signer: x509.Certificate) -> bool:
    """Whether `signer`, an authority, has signed `one`."""
    if not _may_sign(signer):
        return False
    try:
        one.verify_directly_issued_by(signer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _public_key(key: Any) -> PublicKey | None:
    """A certificate's key in the form of the contract; None for kinds that no key of ours has."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return PublicKey(algorithm=document_pb2.KEY_ALGORITHM_ED25519, key=key.public_bytes_raw())
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return PublicKey(algorithm=_CURVES[key.curve.name], key=point)
    if isinstance(key, rsa.RSAPublicKey) and key.key_size == RSA_BYTES * 8:
        numbers = key.public_numbers()
        if numbers.e == RSA_EXPONENT:
            modulus = numbers.n.to_bytes(RSA_BYTES, "big")
            return PublicKey(algorithm=document_pb2.KEY_ALGORITHM_RSA_2048, key=modulus)
    return None


def _refused(why: str) -> KeyNotAttested:
    return KeyNotAttested(
        f"This server takes only keys whose maker it trusts, and this one cannot be told: {why}. "
        "Use a key that attests to its private key, by a maker whose root certificate stands in "
        "keys.attestation_roots; ask whoever runs the server which those are."
    )
