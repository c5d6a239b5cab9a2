"""What stands in a key's slots: licenses, one each in slots 1 to 19, and the delegations that they are signed under.

Promises: bytes in, messages out, or SlotMalformed with a sentence; reading is bounded and never raises anything else.
Nothing is verified here: the app does that, against the root that it pins. Slot 0 is `index`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from keypeg.document import DELEGATION_TYPE, LICENSE_TYPE, instant, span
from keypeg.errors import DocumentMalformed
from keypeg.v1 import document_pb2
from keypeg_bridge.rack.ports import SlotMalformed

FIRST_LICENSE_SLOT: Final = 1


@dataclass(frozen=True, slots=True)
class StoredLicense:
    """A license on a key, parsed and not verified."""

    slot: int
    envelope: document_pb2.Envelope
    document: document_pb2.LicenseDocument


@dataclass(frozen=True, slots=True)
class StoredDelegation:
    """A delegation on a key, parsed and not verified."""

    envelope: document_pb2.Envelope
    document: document_pb2.Delegation


def parse_license(slot: int, data: bytes) -> StoredLicense:
    """The license in a slot's bytes."""
    try:
        return stored_license(slot, document_pb2.Envelope.FromString(data))
    except DecodeError:
        raise SlotMalformed(f"slot {slot} holds no document") from None


def stored_license(slot: int, envelope: document_pb2.Envelope) -> StoredLicense:
    """The license in an envelope."""
    if envelope.payload_type != LICENSE_TYPE:
        raise SlotMalformed(f"slot {slot} holds no license")
    try:
        document = document_pb2.LicenseDocument.FromString(envelope.payload)
        span(document.unplug_grace)
        instant(document.expire_time)
        instant(document.renew_before_time)
    except (DecodeError, DocumentMalformed):
        raise SlotMalformed(f"slot {slot} holds a license that cannot be read") from None
    return StoredLicense(slot, envelope, document)


def stored_delegation(envelope: document_pb2.Envelope) -> StoredDelegation:
    """The delegation in an envelope."""
    if envelope.payload_type != DELEGATION_TYPE:
        raise SlotMalformed("a delegation is of another type")
    try:
        return StoredDelegation(envelope, document_pb2.Delegation.FromString(envelope.payload))
    except DecodeError:
        raise SlotMalformed("a delegation cannot be read") from None


def with_delegation(
    stored: Sequence[StoredDelegation], new: StoredDelegation
) -> tuple[StoredDelegation, ...]:
    """`stored` with the new one in the place of its publisher's; an older generation changes nothing."""
    publisher = new.document.publisher
    for known in stored:
        if known.document.publisher == publisher and (
            known.document.generation >= new.document.generation
        ):
            return tuple(stored)
    return (*(one for one in stored if one.document.publisher != publisher), new)


def delegation_of(
    publisher: str, stored: Iterable[StoredDelegation]
) -> document_pb2.Envelope | None:
    """The delegation of a license's publisher, if the key carries it."""
    return next((one.envelope for one in stored if one.document.publisher == publisher), None)
