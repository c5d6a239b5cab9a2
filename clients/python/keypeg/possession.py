"""What a key signs to prove that it is there, and whether it did (docs/formats.md, "Challenges").

Promises: a signature over one challenge is of no use for another bridge, session, nonce, card or account,
nor for another purpose; a wrong signature is KeyProofInvalid and nothing else. How a key signs, the algorithm
of its public key says: FIDO2 keys sign their own 37 bytes with the challenge, smartkeys their counter.

Leaves to others: choosing nonces that never come again, which key is the right one, and remembering counters.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from keypeg.envelope import key_id, signature_is_right
from keypeg.errors import KeyProofInvalid, KeyRolledBack
from keypeg.v1 import document_pb2
from keypeg.v1.document_pb2 import PublicKey

# No name under .invalid is ever a web site's (RFC 2606), so no web page gets these credentials to sign.
FIDO2_RP_ID: Final = "keypeg.invalid"
FIDO2_RP_ID_HASH: Final = hashlib.sha256(FIDO2_RP_ID.encode()).digest()
AUTHENTICATOR_DATA_BYTES: Final = 37  # without extensions: 32 of hash, 1 of flags, 4 of counter
_CARRIES_MORE: Final = 0xC0  # flags: attested data or extensions follow

COUNTER_BYTES: Final = 8  # before a smartkey's signature; big endian

# The same curve and form of the key without the FIDO2 form of the signature.
_FIDO2: Final = {
    document_pb2.KEY_ALGORITHM_FIDO2_P256: document_pb2.KEY_ALGORITHM_ECDSA_P256,
    document_pb2.KEY_ALGORITHM_FIDO2_ED25519: document_pb2.KEY_ALGORITHM_ED25519,
}

_KEY_PROOF: Final = b"keypeg key proof v1\0"
_ENROLLMENT: Final = b"keypeg key enrollment v1\0"
_COUNTED: Final = b"keypeg counted signature v1\0"


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a FIDO2 key says beside its signature, and signs with it: signals, never a reason to refuse by themselves."""

    flags: int
    counter: int  # 32 bits; 0 on keys that do not count

    @property
    def touched(self) -> bool:
        """Whether somebody touched the key for it."""
        return bool(self.flags & 0x01)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a smartkey signs with a challenge: the number of this signature among all that it ever gave."""

    counter: int  # 64 bits, from 1; only grows


def challenge(location_host: str, session: str, nonce: bytes) -> bytes:
    """What a key signs to prove that it is there: a SHA-256, 32 bytes.

    A P-256 key signs it as the digest itself (it is not hashed again), an Ed25519 key as the message.
    """
    return _challenge(_KEY_PROOF, location_host.encode(), session.encode(), nonce)


def enrollment_challenge(card_id: str, account: str, nonce: bytes) -> bytes:
    """What a key signs when it is enrolled at an account: a SHA-256, 32 bytes, signed as in `challenge`."""
    return _challenge(_ENROLLMENT, card_id.encode(), account.encode(), nonce)


def check_possession(
    public_key: PublicKey, challenge: bytes, signature: bytes
) -> Assertion | Counted | None:
    """KeyProofInvalid when `signature` is not this key's over the challenge; what the key has signed beside it."""
    if public_key.algorithm in _FIDO2:
        return _check_assertion(public_key, challenge, signature)
    if public_key.algorithm == document_pb2.KEY_ALGORITHM_SMARTKEY_P256:
        return _check_counted(public_key, challenge, signature)
    if not signature_is_right(public_key, challenge, signature, hashed=True):
        raise _wrong(public_key)
    return None


def _check_assertion(public_key: PublicKey, challenge: bytes, proof: bytes) -> Assertion:
    # Step K1: 37 bytes of authenticator data, and a signature.
    data, signature = proof[:AUTHENTICATOR_DATA_BYTES], proof[AUTHENTICATOR_DATA_BYTES:]
    if len(data) < AUTHENTICATOR_DATA_BYTES or not signature:
        raise _wrong(public_key)
    # Step K2: the credential is keypeg's.
    if not hmac.compare_digest(data[:32], FIDO2_RP_ID_HASH):
        raise _wrong(public_key)
    # Step K3: nothing follows the 37 bytes, as the flags say.
    flags = data[32]
    if flags & _CARRIES_MORE:
        raise _wrong(public_key)
    # Step K4: the key has signed both, with the challenge as the hash of the client's data.
    plain = PublicKey(algorithm=_FIDO2[public_key.algorithm], key=public_key.key)
    if not signature_is_right(plain, data + challenge, signature):
        raise _wrong(public_key)
    # Step K5: flags and counter are told, and decide nothing here.
    return Assertion(flags, int.from_bytes(data[33:], "big"))


def _check_counted(public_key: PublicKey, challenge: bytes, proof: bytes) -> Counted:
    # Step K6: 8 bytes of a counter, which begins with 1, and a signature.
    number, signature = proof[:COUNTER_BYTES], proof[COUNTER_BYTES:]
    if not any(number) or not signature:
        raise _wrong(public_key)
    # Step K7: the key has signed both.
    plain = PublicKey(algorithm=document_pb2.KEY_ALGORITHM_ECDSA_P256, key=public_key.key)
    if not signature_is_right(plain, _COUNTED + number + challenge, signature):
        raise _wrong(public_key)
    return Counted(int.from_bytes(number, "big"))


def check_counter(public_key: PublicKey, counted: Counted, seen: int) -> None:
    """Step K8: KeyRolledBack unless the counter is above the highest seen when the nonce was given out."""
    if counted.counter > seen:
        return
    raise KeyRolledBack(
        f"The key counts {counted.counter}, and {seen} was seen of it before: there is a copy of it, or "
        "it was put back. Report it to whoever gave you the license, and use another key.",
        told=str(counted.counter),
        seen=str(seen),
        key_id=key_id(public_key),
    )


def _wrong(public_key: PublicKey) -> KeyProofInvalid:
    return KeyProofInvalid(
        "The key's own signature is wrong: it is another key, or an answer to another challenge. "
        "Plug in the key that the license was put on.",
        key_id=key_id(public_key),
    )


def _challenge(domain: bytes, *parts: bytes) -> bytes:
    hashed = hashlib.sha256(domain)
    for part in parts:
        hashed.update(len(part).to_bytes(4, "big") + part)
    return hashed.digest()
