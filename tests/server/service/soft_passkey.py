"""A security key of WebAuthn made of software, and the client at it: everything that either says can be said wrong.

Promises: what it makes and signs is right, unless it is told otherwise.

Leaves to others: who verifies (service/passkey_checks.py). The emulated key speaks CTAP over USB; this one speaks to tests.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from fido2 import cbor
from fido2.utils import websafe_encode

from keypeg_server.service.passkey_checks import Answer

NAME = "licenses.example.com"
ORIGIN = f"https://{NAME}:7400"
PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


@dataclass(frozen=True)
class Said:
    """What is said of a ceremony; the right things unless they are replaced."""

    origin: str = ORIGIN
    relying_party: str = NAME
    flags: int = PRESENT | VERIFIED
    kind: str = ""
    more: dict[str, Any] = field(default_factory=dict)  # of clientDataJSON

    def client_data(self, challenge: bytes, kind: str) -> bytes:
        said = {"type": self.kind or kind, "challenge": websafe_encode(challenge)}
        return json.dumps({**said, "origin": self.origin, **self.more}).encode()

    def data(self, counter: int, attested: bytes = b"") -> bytes:
        flags = self.flags | (ATTESTED if attested else 0)
        name = hashlib.sha256(self.relying_party.encode()).digest()
        return name + struct.pack(">BI", flags, counter) + attested


RIGHT = Said()


class SoftPasskey:
    """One credential."""

    def __init__(self, algorithm: int = -7) -> None:
        self.id = os.urandom(32)
        self.handle = b""
        self.counter = 1
        self.algorithm = algorithm
        self._p256 = ec.generate_private_key(ec.SECP256R1())
        self._ed25519 = ed25519.Ed25519PrivateKey.generate()

    def cose(self) -> dict[int, Any]:
        """Its public key."""
        if self.algorithm == -8:
            raw = self._ed25519.public_key().public_bytes_raw()
            return {1: 1, 3: -8, -1: 6, -2: raw}
        numbers = self._p256.public_key().public_numbers()
        point = {-2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        return {1: 2, 3: self.algorithm, -1: 1, **point}

    def make(self, challenge: bytes, handle: bytes, said: Said = RIGHT) -> tuple[bytes, bytes]:
        """clientDataJSON, and the attestation object."""
        self.handle = handle
        attested = bytes(16) + struct.pack(">H", len(self.id)) + self.id + cbor.encode(self.cose())
        made = {"fmt": "none", "attStmt": {}, "authData": said.data(self.counter, attested)}
        return said.client_data(challenge, "webauthn.create"), cbor.encode(made)

    def answer(self, challenge: bytes, said: Said = RIGHT, *, counts: int = 1) -> Answer:
        """An assertion."""
        self.counter += counts
        client_data = said.client_data(challenge, "webauthn.get")
        data = said.data(self.counter)
        signed = data + hashlib.sha256(client_data).digest()
        if self.algorithm == -8:
            signature = self._ed25519.sign(signed)
        else:
            signature = self._p256.sign(signed, ec.ECDSA(hashes.SHA256()))
        return Answer(self.id, client_data, data, signature, self.handle)
