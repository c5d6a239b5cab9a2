"""What a key carries, as its server has signed it: verified by apps, and remembered by whoever sees many keys.

Promises: pure; step 17 of docs/formats.md for apps, which pin the root. `vouched` is for those who pin none:
it finds out which root stands behind contents and licenses, so that each root's word counts for itself alone,
and asks no clock, for what was signed once stays seen.

Leaves to others: remembering (the bridge, the server, session_guard), and the key's own signature (possession).
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final

from keypeg import document
from keypeg.envelope import (
    CONTENTS_TYPE,
    DELEGATION_TYPE,
    LICENSE_TYPE,
    check_limits,
    check_type,
    ed25519_key,
    key_id,
    pae,
    signature_is_right,
)
from keypeg.errors import (
    DocumentMalformed,
    DocumentOtherDevice,
    KeyLost,
    KeypegError,
    KeyRolledBack,
    SignatureInvalid,
)
from keypeg.v1 import document_pb2
from keypeg.v1.document_pb2 import Delegation, Envelope, LicenseDocument
from keypeg.v1.key_contents_pb2 import KeyContents

ENTRY_BYTES: Final = 16  # of the digest that stands for an activation: there are few on a key
ENTRY_COUNT: Final = 256  # more than any key has slots; bounds the work of a reader

_AGAIN: Final = "Write the key again: keypeg key refresh."


def entry_of(activation: str) -> bytes:
    """What stands for an activation's name in the contents."""
    return hashlib.sha256(activation.encode()).digest()[:ENTRY_BYTES]


def generation_of(contents: KeyContents, activation: str) -> int:
    """The generation of the activation's document on the key; 0 when the key does not carry it."""
    wanted = entry_of(activation)
    return next((one.generation for one in contents.entries if one.activation == wanted), 0)


def verify_contents(envelope: Envelope, delegation: Delegation, now: datetime) -> KeyContents:
    """The contents, signed under the delegation; steps 1 to 5 and 8."""
    payload = document.verify_document(
        envelope, CONTENTS_TYPE, document_pb2.PURPOSE_LICENSE, delegation, now
    )
    contents = document.parsed(KeyContents, payload)
    document.check_publisher("contents", contents.publisher, delegation.publisher)
    return contents


def check_carried(contents: KeyContents | None, license_: LicenseDocument, seen: int) -> None:
    """Step 17: the key carries the license, as far as is known here; `seen` is the highest version seen of it."""
    if contents is None:
        if license_.contents_version:
            raise _old(license_, "has lost the list of its licenses", 0, license_.contents_version)
        return
    if contents.location_key != license_.location_key or contents.location != license_.location:
        raise DocumentOtherDevice(
            f"The key's contents are those of {contents.location!r}, and the license is for "
            f"{license_.location!r}. {_AGAIN}",
            location=contents.location,
            expected=license_.location,
        )
    if contents.lost:
        raise lost(contents.location)
    needed = max(license_.contents_version, seen)
    if contents.version < needed:
        raise _old(license_, "carries old contents", contents.version, needed)
    generation = generation_of(contents, license_.activation)
    if generation != license_.generation:
        raise _old(
            license_,
            "carries a license that its contents do not name",
            license_.generation,
            generation,
        )


def lost(location: str) -> KeyLost:
    """The refusal of a key that was reported lost."""
    return KeyLost(
        f"This key ({location}) was reported lost, and its licenses went elsewhere. Use the key that "
        "replaces it; who has found this one gives it to the account's administrator.",
        location=location,
    )


def vouched(contents: Envelope, delegation: Envelope) -> tuple[KeyContents, Delegation]:
    """Contents and delegation that hang together under the root which the contents name.

    Raises what is wrong. Whoever pins no root can believe of them only what concerns that root.
    """
    for envelope, kind in ((contents, CONTENTS_TYPE), (delegation, DELEGATION_TYPE)):
        check_limits(envelope)
        check_type(envelope, kind)
    claimed = document.parsed(KeyContents, contents.payload)
    if len(claimed.publisher_root) != 32 or len(claimed.entries) > ENTRY_COUNT:
        raise DocumentMalformed(
            "The key's contents name no root, or more licenses than any key has; "
            "fetch them from the server again."
        )
    payload = document.verify_with_key(
        delegation, DELEGATION_TYPE, ed25519_key(claimed.publisher_root)
    )
    under = document.parsed(Delegation, payload)
    if not _signed_under(contents, under):
        raise SignatureInvalid(
            "The key's contents are not signed under their delegation; fetch both from the server again.",
            payload_type=contents.payload_type,
        )
    document.check_publisher("contents", claimed.publisher, under.publisher)
    return claimed, under


def is_signed_under(license_: Envelope, delegation: Delegation) -> bool:
    """Whether a license document was ever signed under a delegation that was verified."""
    try:
        check_limits(license_)
        check_type(license_, LICENSE_TYPE)
    except KeypegError:
        return False
    return _signed_under(license_, delegation)


def _signed_under(envelope: Envelope, delegation: Delegation) -> bool:
    signed = pae(envelope.payload_type, envelope.payload)
    trusted = {
        key_id(key.public_key): key.public_key
        for key in delegation.keys[: document.DELEGATED_KEY_COUNT]
        if document_pb2.PURPOSE_LICENSE in key.purposes
    }
    return any(
        signature_is_right(trusted[one.key_id], signed, one.signature)
        for one in envelope.signatures
        if one.key_id in trusted
    )


def _old(license_: LicenseDocument, what: str, told: int, seen: int) -> KeyRolledBack:
    return KeyRolledBack(
        f"The key {what} ({license_.location}). Old contents were put back, or a write was interrupted. "
        f"{_AGAIN}",
        activation=license_.activation,
        location=license_.location,
        told=str(told),
        seen=str(seen),
    )
