"""What a key signs to prove that it is there, and whether it did (docs/formats.md, "Challenges").

Promises: a signature over one challenge is of no use for another bridge, session, nonce, card or account,
nor for another purpose; a wrong signature is KeyProofInvalid and nothing else.

Leaves to others: choosing nonces that never come again, and which key is the right one.
"""

from __future__ import annotations

import hashlib
from typing import Final

from keypeg.envelope import key_id, signature_is_right
from keypeg.errors import KeyProofInvalid
from keypeg.v1.document_pb2 import PublicKey

_KEY_PROOF: Final = b"keypeg key proof v1\0"
_ENROLLMENT: Final = b"keypeg key enrollment v1\0"


def challenge(location_host: str, session: str, nonce: bytes) -> bytes:
    """What a key signs to prove that it is there: a SHA-256, 32 bytes.

    A P-256 key signs it as the digest itself (it is not hashed again), an Ed25519 key as the message.
    """
    return _challenge(_KEY_PROOF, location_host.encode(), session.encode(), nonce)


def enrollment_challenge(card_id: str, account: str, nonce: bytes) -> bytes:
    """What a key signs when it is enrolled at an account: a SHA-256, 32 bytes, signed as in `challenge`."""
    return _challenge(_ENROLLMENT, card_id.encode(), account.encode(), nonce)


def check_possession(public_key: PublicKey, challenge: bytes, signature: bytes) -> None:
    """KeyProofInvalid when `signature` is not this key's over the challenge."""
    if not signature_is_right(public_key, challenge, signature, hashed=True):
        raise KeyProofInvalid(
            "The key's own signature is wrong: it is another key, or an answer to another challenge. "
            "Plug in the key that the license was put on.",
            key_id=key_id(public_key),
        )


def _challenge(domain: bytes, *parts: bytes) -> bytes:
    hashed = hashlib.sha256(domain)
    for part in parts:
        hashed.update(len(part).to_bytes(4, "big") + part)
    return hashed.digest()
