"""What each step of a document's verification refuses, and in which words (docs/formats.md numbers the steps).

Promises: pure; each step has its own error, which says what to do.

Leaves to others: the order of the steps (document.py).
"""

from __future__ import annotations

from datetime import datetime

from keypeg.envelope import key_id
from keypeg.errors import (
    DelegationExpired,
    DelegationNotYetValid,
    DocumentOtherPublisher,
    DocumentSuperseded,
    KeypegError,
    PurposeNotDelegated,
    SignatureInvalid,
    SignerUnknown,
)
from keypeg.instants import BEGIN_TOLERANCE, after, time_text
from keypeg.v1 import document_pb2
from keypeg.v1.document_pb2 import DelegatedKey, Envelope


def signature_error(envelope: Envelope, known_key_is_wrong: bool) -> KeypegError:
    """Step 3: why no signature counts."""
    ids = ", ".join(repr(one.key_id) for one in envelope.signatures)
    if known_key_is_wrong:
        return SignatureInvalid(
            "The signature of the document is wrong: it was changed, or it is forged. "
            "Fetch it again from where it came.",
            payload_type=envelope.payload_type,
            key_ids=ids,
        )
    return SignerUnknown(
        f"The document is signed by {ids}, which is not trusted here; "
        "check that it comes from this app's publisher, and that its delegation is the newest.",
        payload_type=envelope.payload_type,
        key_ids=ids,
    )


def purpose_error(key: DelegatedKey, purpose: int) -> KeypegError | None:
    """Step 4: why a key may not sign for a purpose; None when it may."""
    if purpose in key.purposes:
        return None
    wanted = _purpose_name(purpose)
    has = ", ".join(_purpose_name(one) for one in key.purposes) or "nothing"
    return PurposeNotDelegated(
        f"Key {key_id(key.public_key)} may sign {has}, not {wanted}; "
        "the publisher must delegate it for that.",
        key_id=key_id(key.public_key),
        purpose=wanted,
    )


def _purpose_name(purpose: int) -> str:
    known = document_pb2.Purpose.DESCRIPTOR.values_by_number.get(purpose)
    return known.name.removeprefix("PURPOSE_") if known else str(purpose)


def period_error(key: DelegatedKey, now: datetime) -> KeypegError | None:
    """Steps 4 and 7: why a key may not sign at this time; None when it may."""
    one = key_id(key.public_key)
    if not after(now + BEGIN_TOLERANCE, key.not_before_time):
        when = time_text(key.not_before_time)
        return DelegationNotYetValid(
            f"Key {one} may sign from {when} on, and it is {now:%Y-%m-%dT%H:%M:%SZ} here; "
            "check this computer's clock.",
            key_id=one,
            not_before_time=when,
        )
    if after(now, key.not_after_time):
        when = time_text(key.not_after_time)
        return DelegationExpired(
            f"Key {one} might sign until {when}; connect, so that a newer delegation can be fetched, "
            "and check this computer's clock.",
            key_id=one,
            not_after_time=when,
        )
    return None


def check_publisher(what: str, found: str, expected: str) -> None:
    """Step 8: the publisher is the one that is expected."""
    if found != expected:
        raise DocumentOtherPublisher(
            f"The {what} is of {found!r}, not of {expected!r}; use one of the app's own publisher.",
            publisher=found,
            expected=expected,
        )


def check_generation(what: str, name: str, generation: int, seen: int) -> None:
    """Steps 7 and 8: no later generation has been seen."""
    if generation < seen:
        raise DocumentSuperseded(
            f"The {what} of {name} has generation {generation}, and {seen} has been seen; "
            "fetch the newest.",
            name=name,
            generation=str(generation),
            seen=str(seen),
        )
