"""Receipts: a key's own word that a license is not on it any more.

Promises: pure; what a key has to sign, and how a server verifies it (docs/formats.md, "Receipt").

Leaves to others: removing the license before the key signs (the bridge). A key signs what its bridge asks it to:
a receipt proves that this key was there after the server's nonce, and that its bridge says so.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from keypeg import document
from keypeg.envelope import RECEIPT_TYPE, check_limits, check_type, key_id, pae
from keypeg.errors import (
    DocumentOtherDevice,
    DocumentSuperseded,
    NonceMismatch,
    SignerUnknown,
)
from keypeg.possession import check_possession
from keypeg.v1.document_pb2 import Envelope, PublicKey
from keypeg.v1.key_contents_pb2 import Receipt


@dataclass(frozen=True)
class Expected:
    """What a server waits for."""

    activation: str
    generation: int
    location: str
    location_key: PublicKey
    nonce: bytes
    contents_version: int  # of the contents that it gave out without the license


def challenge_of(payload: bytes) -> bytes:
    """What the key signs: 32 bytes, as any challenge."""
    return hashlib.sha256(pae(RECEIPT_TYPE, payload)).digest()


def sealed(payload: bytes, public_key: PublicKey, signature: bytes) -> Envelope:
    """The receipt with the key's signature over `challenge_of(payload)`."""
    envelope = Envelope(payload=payload, payload_type=RECEIPT_TYPE)
    envelope.signatures.add(key_id=key_id(public_key), signature=signature)
    check_limits(envelope)
    return envelope


def verify_receipt(envelope: Envelope, expected: Expected) -> Receipt:
    """The receipt that is waited for, signed by the key itself. Raises the error of the step that failed."""
    check_limits(envelope)  # step 1
    check_type(envelope, RECEIPT_TYPE)  # step 2
    # Step 3: by the key of the location, as it signs challenges.
    mine = key_id(expected.location_key)
    signatures = [one.signature for one in envelope.signatures if one.key_id == mine]
    if not signatures:
        raise SignerUnknown(
            f"The receipt is not signed by the key {expected.location}; plug in that key, and do the "
            "same again.",
            payload_type=envelope.payload_type,
        )
    check_possession(expected.location_key, challenge_of(envelope.payload), signatures[0])
    receipt = document.parsed(Receipt, envelope.payload)  # step 5
    # Step 18: it is about this license, on this key, asked for by this server, after the removal.
    if receipt.activation != expected.activation or receipt.location != expected.location:
        raise DocumentOtherDevice(
            f"The receipt is about {receipt.activation!r} on {receipt.location!r}, and this is "
            f"{expected.activation} on {expected.location}; hand in the right one.",
            activation=receipt.activation,
            expected=expected.activation,
        )
    if not hmac.compare_digest(receipt.nonce, expected.nonce):
        raise NonceMismatch(
            f"The receipt for {expected.activation} answers an earlier deactivation, which was undone; "
            "begin again.",
            activation=expected.activation,
        )
    if (
        receipt.generation != expected.generation
        or receipt.contents_version < expected.contents_version
    ):
        raise DocumentSuperseded(
            f"The receipt for {expected.activation} is about another document, or the key carries older "
            "contents than it was given; begin again.",
            activation=expected.activation,
            seen=str(expected.contents_version),
        )
    return receipt


def read(envelope: Envelope) -> Receipt:
    """What a receipt says; NOT verified, only to know what it is about. Steps 1, 2 and 5."""
    check_limits(envelope)
    check_type(envelope, RECEIPT_TYPE)
    return document.parsed(Receipt, envelope.payload)
