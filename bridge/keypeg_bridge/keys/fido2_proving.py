"""Silent assertions of a FIDO2 key, checked as the app will check them: whose they are, and whether they are silent.

Promises: what comes out was signed over the challenge by the credential's own key; anything else is the error that it
means. What is kept of it, and what a counter says, is the driver's business, in `fido2.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from keypeg.errors import KeyProofInvalid
from keypeg.possession import Assertion, check_possession
from keypeg.v1.document_pb2 import PublicKey
from keypeg_bridge.keys.driver import CHALLENGE_BYTES, Signature
from keypeg_bridge.keys.errors import KeyMissing, MalformedReply, NotSupported
from keypeg_bridge.keys.fido2_commands import Fido2Key, Info, NewCredential
from keypeg_bridge.keys.fido2_shelf import CredentialRecord

_ADVICE: Final = (
    "It cannot serve as a key; use a security key that signs silently, or a smart card."
)


def recognized(
    key: Fido2Key,
    info: Info,
    records: Sequence[CredentialRecord],
    random: Callable[[int], bytes],
) -> tuple[CredentialRecord, Assertion] | None:
    """The record whose credential the key signs with; `NotSupported` when it does not sign silently."""
    known = {record.credential: record for record in records}
    for group in key.room_for(list(known), info):
        challenge = random(CHALLENGE_BYTES)
        signed = key.get_assertion(group, challenge)
        if signed is None:
            continue
        record = known.get(signed.credential or group[0])
        if record is None or (signed.credential is None and len(group) > 1):
            raise MalformedReply("The key signs with a credential that it was not asked for.")
        proof = Signature(signed.data + signed.signature)
        return record, _checked(record.key_algorithm, record.public_key, challenge, proof)
    return None


def asserted(
    key: Fido2Key, credential: bytes, algorithm: int, public_key: bytes, challenge: bytes
) -> tuple[Signature, Assertion]:
    """A proof over the challenge, and what it tells; `KeyMissing` when the key does not know the credential."""
    signed = key.get_assertion([credential], challenge)
    if signed is None:
        raise KeyMissing("The key has lost its credential: it was reset. Enroll it again.")
    proof = Signature(signed.data + signed.signature)
    return proof, _checked(algorithm, public_key, challenge, proof)


def silent_counter(key: Fido2Key, made: NewCredential, random: Callable[[int], bytes]) -> int:
    """The counter of a silent assertion by a new credential, or `NotSupported` with what the key lacks."""
    challenge = random(CHALLENGE_BYTES)
    try:
        _, assertion = asserted(key, made.id, made.algorithm, made.public_key, challenge)
    except NotSupported as error:
        raise NotSupported(f"{error} {_ADVICE}") from error
    except KeyMissing as error:
        raise NotSupported(
            f"The key does not find its new credential when it is asked silently. {_ADVICE}"
        ) from error
    if assertion.touched:
        raise NotSupported(
            f"The key says that it was touched when it was not to ask for that. {_ADVICE}"
        )
    return assertion.counter


def _checked(algorithm: int, public_key: bytes, challenge: bytes, proof: Signature) -> Assertion:
    named = PublicKey(algorithm=algorithm, key=public_key)  # type: ignore[arg-type]
    try:
        assertion = check_possession(named, challenge, proof.value)
    except KeyProofInvalid as error:
        raise MalformedReply("The key's signature is wrong.") from error
    if not isinstance(assertion, Assertion):  # a record of another kind of key
        raise MalformedReply("The key's record names no FIDO2 credential.")
    return assertion
