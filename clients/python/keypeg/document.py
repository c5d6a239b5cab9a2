"""Signed documents: who may sign what, and what a signed document must say to be believed.

Promises: bytes are verified before they are parsed; steps 1 to 9 of docs/formats.md, in their order, each
with its own error; the one time that every check uses comes in as `now`. Unknown fields are kept, unknown
algorithms passed over. A document whose verification does not raise is one that the root stands behind.

Leaves to others: what is said of what is wrong (document_checks.py), what a document means for this app, on
this device, in this session (proof.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from keypeg.document_checks import (
    check_generation,
    check_publisher,
    period_error,
    purpose_error,
    signature_error,
)
from keypeg.envelope import (
    BORROW_TYPE,
    DELEGATION_TYPE,
    GRANT_TYPE,
    LICENSE_TYPE,
    PAYLOAD_BYTES,
    RECEIPT_TYPE,
    SIGNATURE_COUNT,
    Ed25519Signer,
    Signer,
    all_from_text,
    check_limits,
    check_type,
    ed25519_key,
    from_text,
    key_id,
    pae,
    parse_envelope,
    seal,
    signature_is_right,
    to_text,
)
from keypeg.errors import (
    DocumentExpired,
    DocumentMalformed,
    KeypegError,
    PurposeNotDelegated,
)
from keypeg.instants import BEGIN_TOLERANCE, after, instant, span, time_text
from keypeg.v1 import document_pb2
from keypeg.v1.document_pb2 import (
    Delegation,
    Envelope,
    Grant,
    LicenseDocument,
    PublicKey,
)

__all__ = [
    "BEGIN_TOLERANCE",
    "BORROW_TYPE",
    "DELEGATED_KEY_COUNT",
    "DELEGATION_TYPE",
    "GRANT_TYPE",
    "LICENSE_TYPE",
    "PAYLOAD_BYTES",
    "RECEIPT_TYPE",
    "SIGNATURE_COUNT",
    "Ed25519Signer",
    "Signer",
    "all_from_text",
    "check_publisher",
    "ed25519_key",
    "from_text",
    "instant",
    "key_id",
    "pae",
    "parse_envelope",
    "parsed",
    "seal",
    "signature_is_right",
    "span",
    "to_text",
    "verify_delegation",
    "verify_document",
    "verify_grant",
    "verify_license",
    "verify_site_grant",
    "verify_with_key",
]

DELEGATED_KEY_COUNT: Final = 64  # years of overlapping rotations; bounds the work of a verifier


_NOTHING_SEEN: Final[Mapping[str, int]] = MappingProxyType({})
_M = TypeVar("_M", bound=Message)


def verify_delegation(
    envelope: Envelope,
    *,
    publisher: str | None,
    root: bytes,
    now: datetime,
    seen: Mapping[str, int] = _NOTHING_SEEN,
) -> Delegation:
    """The delegation that the pinned root (32 bytes) signed; steps 1 to 7.

    `seen` has the highest generation seen before, by the publisher's name.
    """
    payload = verify_with_key(envelope, DELEGATION_TYPE, ed25519_key(root))
    delegation = parsed(Delegation, payload)
    # Step 6: the publisher.
    if publisher is not None:
        check_publisher("delegation", delegation.publisher, publisher)
    # Step 7: its keys, and its generation.
    if not 1 <= len(delegation.keys) <= DELEGATED_KEY_COUNT:
        raise DocumentMalformed(
            f"The delegation of {delegation.publisher} names {len(delegation.keys)} keys, "
            f"not 1 to {DELEGATED_KEY_COUNT}; ask the publisher for a new one."
        )
    check_generation(
        "delegation", delegation.publisher, delegation.generation, seen.get(delegation.publisher, 0)
    )
    errors = [period_error(key, now) for key in delegation.keys]
    if errors[0] is not None and all(type(error) is type(errors[0]) for error in errors):
        raise errors[0]
    return delegation


def verify_document(
    envelope: Envelope,
    payload_type: str,
    purpose: int,
    delegation: Delegation,
    now: datetime,
) -> bytes:
    """The payload, when a key signed it that is delegated for the purpose at `now`; steps 1 to 4."""
    check_limits(envelope)  # step 1
    check_type(envelope, payload_type)  # step 2
    signed = pae(envelope.payload_type, envelope.payload)
    known_key_is_wrong = False
    refusals: list[KeypegError] = []
    for signature in envelope.signatures:
        # Step 3: the key id only chooses which keys are tried; the signature decides.
        keys = [key for key in delegation.keys if key_id(key.public_key) == signature.key_id]
        if not keys:
            continue
        if not signature_is_right(keys[0].public_key, signed, signature.signature):
            known_key_is_wrong = True
            continue
        # Step 4: the same key may be delegated more than once, for other purposes and periods.
        for key in keys:
            error = purpose_error(key, purpose) or period_error(key, now)
            if error is None:
                return envelope.payload
            refusals.append(error)
    if refusals:
        # An entry for the purpose, at another time, says more than one for another purpose.
        raise next((e for e in refusals if not isinstance(e, PurposeNotDelegated)), refusals[0])
    raise signature_error(envelope, known_key_is_wrong)


def verify_with_key(envelope: Envelope, payload_type: str, public_key: PublicKey) -> bytes:
    """The payload, when this one key signed it; steps 1 to 3."""
    check_limits(envelope)  # step 1
    check_type(envelope, payload_type)  # step 2
    signed = pae(envelope.payload_type, envelope.payload)
    trusted = key_id(public_key)
    mine = [one.signature for one in envelope.signatures if one.key_id == trusted]
    # Step 3.
    if not any(signature_is_right(public_key, signed, signature) for signature in mine):
        raise signature_error(envelope, bool(mine))
    return envelope.payload


def verify_license(
    envelope: Envelope,
    delegation: Delegation,
    now: datetime,
    *,
    seen: Mapping[str, int] = _NOTHING_SEEN,
) -> LicenseDocument:
    """The license document, signed under the delegation and within its term; steps 1 to 5, 8 and 9.

    `seen` has the highest generation seen before, by the activation's name.
    """
    payload = verify_document(envelope, LICENSE_TYPE, document_pb2.PURPOSE_LICENSE, delegation, now)
    document = parsed(LicenseDocument, payload)
    # Step 8: the publisher, and the generation.
    check_publisher("license document", document.publisher, delegation.publisher)
    check_generation(
        "license document",
        document.activation,
        document.generation,
        seen.get(document.activation, 0),
    )
    # Step 9: the license's term, and the document's own.
    if document.HasField("expire_time") and after(now, document.expire_time):
        when = time_text(document.expire_time)
        raise DocumentExpired(
            f"The license ended at {when} ({document.license}); renew it, and check this computer's clock.",
            license=document.license,
            expire_time=when,
        )
    if document.HasField("renew_before_time") and after(now, document.renew_before_time):
        when = time_text(document.renew_before_time)
        raise DocumentExpired(
            f"The license document had to be renewed by {when} ({document.license}); "
            "connect to renew it, and check this computer's clock.",
            license=document.license,
            renew_before_time=when,
        )
    return document


def verify_grant(envelope: Envelope, delegation: Delegation, now: datetime) -> Grant:
    """The grant of an authority, signed under the delegation; steps 1 to 5 and 8."""
    payload = verify_document(envelope, GRANT_TYPE, document_pb2.PURPOSE_GRANT, delegation, now)
    grant = parsed(Grant, payload)
    check_publisher("grant", grant.publisher, delegation.publisher)
    return grant


def verify_site_grant(envelope: Envelope, document: LicenseDocument) -> Grant:
    """The grant of a site, signed by the key that its license document names; steps 1 to 3, 5 and 8."""
    payload = verify_with_key(envelope, GRANT_TYPE, document.location_key)
    grant = parsed(Grant, payload)
    check_publisher("grant", grant.publisher, document.publisher)
    return grant


def parsed(message: type[_M], payload: bytes) -> _M:
    """Step 5: parse what has been verified; unknown fields are kept."""
    try:
        return message.FromString(payload)
    except DecodeError as error:
        raise DocumentMalformed(
            f"The payload is no {message.__name__}; ask its publisher for a new one."
        ) from error
