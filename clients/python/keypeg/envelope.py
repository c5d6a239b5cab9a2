"""Envelopes: bytes, what they are, and who signed them (docs/formats.md, "Envelope").

Promises: seals and takes apart, and knows signatures of the algorithms that it names; whatever bytes or
text come in, the outcome is an Envelope, a bool, or a KeypegError. A private key is never in a repr.

Leaves to others: which key is trusted for what, and what the payload says (document.py).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from google.protobuf.message import DecodeError, Message

from keypeg.errors import DocumentMalformed, DocumentType
from keypeg.v1 import document_pb2
from keypeg.v1.document_pb2 import Envelope, PublicKey

DELEGATION_TYPE: Final = "application/vnd.keypeg.delegation.v1+protobuf"
LICENSE_TYPE: Final = "application/vnd.keypeg.license.v1+protobuf"
GRANT_TYPE: Final = "application/vnd.keypeg.grant.v1+protobuf"
RECEIPT_TYPE: Final = "application/vnd.keypeg.receipt.v1+protobuf"
CONTENTS_TYPE: Final = "application/vnd.keypeg.contents.v1+protobuf"
BORROW_TYPE: Final = "application/vnd.keypeg.borrow.v1+protobuf"
RETURN_TYPE: Final = "application/vnd.keypeg.return.v1+protobuf"
CREDENTIAL_TYPE: Final = "application/vnd.keypeg.credential.v1+protobuf"
LOG_TYPE: Final = "application/vnd.keypeg.log.v1+protobuf"

PAYLOAD_BYTES: Final = 65_536  # a bundle of 256 products with 256 features takes under 48,000
SIGNATURE_COUNT: Final = 8  # bounds the work of a verifier; a rotation with two algorithms needs 4
SIGNATURE_BYTES: Final = (
    8_192  # the largest known post-quantum signature in view, ML-DSA-87, has 4,627
)
KEY_ID_CHARACTERS: Final = 32  # exactly what key_id() makes
TYPE_CHARACTERS: Final = 128  # the longest type in use has 48
ENVELOPE_BYTES: Final = 135_168  # what the limits above add up to, and the framing
TEXT_CHARACTERS: Final = 262_144  # an envelope in base64, and the mail around it

RSA_BYTES: Final = 256  # of the modulus, and of a signature
RSA_EXPONENT: Final = 65_537
_CURVES: Final[dict[int, tuple[ec.EllipticCurve, int]]] = {
    document_pb2.KEY_ALGORITHM_ECDSA_P256: (ec.SECP256R1(), 65),
    document_pb2.KEY_ALGORITHM_ECDSA_P384: (ec.SECP384R1(), 97),
}

_LINE_CHARACTERS: Final = 64
_TYPE: Final = re.compile(r"application/vnd\.keypeg\.([a-z]{1,32})\.v1\+protobuf", re.ASCII)
_BEGIN: Final = re.compile(r"-----BEGIN KEYPEG ([A-Z]{1,32})-----", re.ASCII)


class Signer(Protocol):
    """Who can sign: a key in memory, in a file, in hardware."""

    @property
    def public_key(self) -> PublicKey:
        """The key by which others verify."""
        ...

    def sign(self, data: bytes) -> bytes:
        """The signature over `data`, as the algorithm of `public_key` says."""
        ...


class Ed25519Signer:
    """An Ed25519 key in memory, from its 32 private bytes."""

    def __init__(self, private_key: bytes) -> None:
        if len(private_key) != 32:
            raise ValueError(f"an Ed25519 private key has 32 bytes, not {len(private_key)}")
        self._key = ed25519.Ed25519PrivateKey.from_private_bytes(private_key)
        self.public_key = ed25519_key(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> Ed25519Signer:
        """A new random key."""
        return cls(ed25519.Ed25519PrivateKey.generate().private_bytes_raw())

    def sign(self, data: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(data)

    def private_bytes(self) -> bytes:
        """The 32 private bytes, to be stored; a secret."""
        return self._key.private_bytes_raw()

    def __repr__(self) -> str:
        return f"Ed25519Signer(key_id={key_id(self.public_key)})"


def ed25519_key(key: bytes) -> PublicKey:
    """A PublicKey of 32 bytes of Ed25519."""
    return PublicKey(algorithm=document_pb2.KEY_ALGORITHM_ED25519, key=key)


def key_id(public_key: PublicKey) -> str:
    """The first 16 bytes of SHA-256 over the algorithm (4 bytes, big endian) and the key's bytes, in hex."""
    algorithm = (public_key.algorithm & 0xFFFFFFFF).to_bytes(4, "big")
    return hashlib.sha256(algorithm + public_key.key).digest()[:16].hex()


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: the pre-authentication encoding of DSSE version 1."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(message: Message, payload_type: str, *signers: Signer) -> Envelope:
    """The document in an envelope, signed by each of 1 to 8 signers.

    DocumentMalformed when it is too large to be accepted by anyone.
    """
    if not 1 <= len(signers) <= SIGNATURE_COUNT:
        raise ValueError(f"an envelope takes 1 to {SIGNATURE_COUNT} signers, not {len(signers)}")
    payload = message.SerializeToString(deterministic=True)
    envelope = Envelope(payload=payload, payload_type=payload_type)
    signed = pae(payload_type, payload)
    for signer in signers:
        envelope.signatures.add(key_id=key_id(signer.public_key), signature=signer.sign(signed))
    check_limits(envelope)
    return envelope


def check_limits(envelope: Envelope) -> None:
    """Step 1: DocumentMalformed when an envelope breaks a limit."""
    if not envelope.payload or len(envelope.payload) > PAYLOAD_BYTES:
        raise _malformed(f"its payload has {len(envelope.payload)} bytes, not 1 to {PAYLOAD_BYTES}")
    if len(envelope.payload_type) > TYPE_CHARACTERS:
        raise _malformed(f"its type is longer than {TYPE_CHARACTERS} characters")
    if not 1 <= len(envelope.signatures) <= SIGNATURE_COUNT:
        raise _malformed(
            f"it has {len(envelope.signatures)} signatures, not 1 to {SIGNATURE_COUNT}"
        )
    for one in envelope.signatures:
        if len(one.key_id) > KEY_ID_CHARACTERS or len(one.signature) > SIGNATURE_BYTES:
            raise _malformed("one of its signatures is longer than any that is known")


def check_type(envelope: Envelope, payload_type: str) -> None:
    """Step 2: DocumentType when an envelope holds another type of document."""
    if envelope.payload_type != payload_type:
        raise DocumentType(
            f"The document is a {_label(envelope.payload_type).lower()}, "
            f"and a {_label(payload_type).lower()} is needed; give the right one.",
            payload_type=envelope.payload_type,
            expected=payload_type,
        )


def signature_is_right(
    public_key: PublicKey, data: bytes, signature: bytes, *, hashed: bool = False
) -> bool:
    """Whether `signature` is this key's over `data`; False for algorithms that are not known.

    With `hashed`, `data` is the 32-byte SHA-256 that ECDSA and RSA sign; Ed25519 signs it as it is.
    """
    digest = Prehashed(hashes.SHA256()) if hashed else hashes.SHA256()
    try:
        if public_key.algorithm == document_pb2.KEY_ALGORITHM_ED25519:
            ed25519.Ed25519PublicKey.from_public_bytes(public_key.key).verify(signature, data)
        elif public_key.algorithm in _CURVES:
            point = _point(public_key.key, *_CURVES[public_key.algorithm])
            point.verify(signature, data, ec.ECDSA(digest))
        elif public_key.algorithm == document_pb2.KEY_ALGORITHM_RSA_2048:
            _rsa(public_key.key).verify(signature, data, padding.PKCS1v15(), digest)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _point(key: bytes, curve: ec.EllipticCurve, size: int) -> ec.EllipticCurvePublicKey:
    if len(key) != size or key[0] != 4:
        raise ValueError(f"a key on {curve.name} is an uncompressed point of {size} bytes")
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, key)


def _rsa(key: bytes) -> rsa.RSAPublicKey:
    if len(key) != RSA_BYTES or key[0] < 0x80:
        raise ValueError(f"an RSA key is a modulus of {RSA_BYTES} bytes")
    return rsa.RSAPublicNumbers(RSA_EXPONENT, int.from_bytes(key, "big")).public_key()


def parse_envelope(data: bytes) -> Envelope:
    """An envelope from its bytes, within all limits; DocumentMalformed otherwise. Nothing is verified."""
    if len(data) > ENVELOPE_BYTES:
        raise _malformed(f"it has {len(data)} bytes, and at most {ENVELOPE_BYTES} are read")
    try:
        envelope = Envelope.FromString(data)
    except DecodeError as error:
        raise _malformed("its bytes are not those of an envelope") from error
    check_limits(envelope)
    return envelope


def to_text(envelope: Envelope) -> str:
    """The text form, for files and pasting: base64 between BEGIN and END lines."""
    label = _label(envelope.payload_type)
    body = base64.b64encode(envelope.SerializeToString(deterministic=True)).decode()
    lines = [body[i : i + _LINE_CHARACTERS] for i in range(0, len(body), _LINE_CHARACTERS)]
    return "\n".join(
        [f"-----BEGIN KEYPEG {label}-----", *lines, f"-----END KEYPEG {label}-----", ""]
    )


def from_text(text: str) -> Envelope:
    """The one envelope of a text; DocumentMalformed when there is none, or more than one."""
    found = all_from_text(text)
    if len(found) != 1:
        raise _malformed(f"the text holds {len(found)} documents, and one is needed")
    return found[0]


def all_from_text(text: str) -> tuple[Envelope, ...]:
    """Every envelope of a text, in order; what stands around them is passed over."""
    if len(text) > TEXT_CHARACTERS:
        raise _malformed(
            f"the text has {len(text)} characters, and at most {TEXT_CHARACTERS} are read"
        )
    found = []
    position = 0
    while begin := _BEGIN.search(text, position):
        end = f"-----END KEYPEG {begin[1]}-----"
        stop = text.find(end, begin.end())
        if stop < 0:
            raise _malformed(f"the text has no line {end}: it was cut off")
        envelope = _from_base64(text[begin.end() : stop])
        if _label(envelope.payload_type) != begin[1]:
            raise _malformed(f"it is headed {begin[1]}, and is of another type")
        found.append(envelope)
        position = stop + len(end)
    return tuple(found)


def _from_base64(body: str) -> Envelope:
    try:
        return parse_envelope(base64.b64decode("".join(body.split()), validate=True))
    except (binascii.Error, ValueError) as error:
        raise _malformed("what stands between its BEGIN and END lines is not base64") from error


def _label(payload_type: str) -> str:
    found = _TYPE.fullmatch(payload_type)
    return found[1].upper() if found else "DOCUMENT"


def _malformed(what: str) -> DocumentMalformed:
    return DocumentMalformed(
        f"This is no keypeg document that can be read: {what}. Fetch it again from where it came."
    )
