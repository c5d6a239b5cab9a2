"""Receipts of keys from fixed keys, right ones, and named changes of one thing each.

Promises: everything is deterministic, so that the published vectors can be made from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from keypeg import receipts
from keypeg.envelope import CONTENTS_TYPE
from keypeg.errors import Reason
from keypeg.receipts import Expected
from keypeg.v1.document_pb2 import Envelope, PublicKey
from keypeg.v1.key_contents_pb2 import Receipt
from tests.client.proof_cases import (
    ACCOUNT,
    ACTIVATION,
    BRIDGE,
    FIDO2_KEY,
    SMART_KEY,
    STRANGER,
    CountingSigner,
    P256Signer,
    fixed,
)

LOCATION = f"{ACCOUNT}/locations/key"
R = Reason


@dataclass(frozen=True)
class Case:
    """A receipt, what a server waits for, and why it is refused; None: it is right."""

    name: str
    reason: Reason | None = None
    said: dict[str, Any] = field(default_factory=dict)
    expected: dict[str, Any] = field(default_factory=dict)
    signer: Any = SMART_KEY
    named: Any = None  # whose key the location has; the signer's by default
    payload_type: str = ""
    signature: bytes = b""

    def made(self) -> tuple[Envelope, Expected]:
        right: dict[str, Any] = {
            "activation": ACTIVATION,
            "generation": 5,
            "location": LOCATION,
            "nonce": fixed("receipt nonce"),
            "contents_version": 7,
            "location_host": BRIDGE,
        }
        payload = Receipt(**{**right, **self.said}).SerializeToString(deterministic=True)
        signature = self.signature or self.signer.sign_challenge(receipts.challenge_of(payload))
        key = (self.named or self.signer).public_key
        envelope = receipts.sealed(payload, self.signer.public_key, signature)
        if self.payload_type:
            envelope.payload_type = self.payload_type
        del right["location_host"]
        expected = Expected(**right, location_key=PublicKey(algorithm=key.algorithm, key=key.key))
        return envelope, replace(expected, **self.expected)


class Ed25519Key:
    """A key that signs challenges as messages."""

    public_key = STRANGER.public_key

    def sign_challenge(self, challenge: bytes) -> bytes:
        return STRANGER.sign(challenge)


CASES = [
    Case("as it was made"),
    Case("of a FIDO2 key", signer=FIDO2_KEY),
    Case("of a key of Ed25519", signer=Ed25519Key()),
    Case("of a smartkey", signer=CountingSigner(SMART_KEY, counter=9)),
    Case("with newer contents", said={"contents_version": 8}),
    Case("of another key", R.SIGNER_UNKNOWN, signer=P256Signer("other key"), named=SMART_KEY),
    Case("with a wrong signature", R.KEY_PROOF_INVALID, signature=b"\x30\x00"),
    Case("under another type", R.DOCUMENT_TYPE, payload_type=CONTENTS_TYPE),
    Case("about another license", R.DOCUMENT_OTHER_DEVICE, said={"activation": ACTIVATION + "0"}),
    Case("about another place", R.DOCUMENT_OTHER_DEVICE, said={"location": LOCATION + "2"}),
    Case("to another nonce", R.NONCE_MISMATCH, said={"nonce": fixed("another nonce")}),
    Case("about another document", R.DOCUMENT_SUPERSEDED, said={"generation": 4}),
    Case("with older contents", R.DOCUMENT_SUPERSEDED, said={"contents_version": 6}),
]
