"""The documents of borrowed seats: what is signed, and what a computer keeps with it.

Promises: a document says what its borrow says, and ends no later than the license and what signs for that.

Leaves to others: signing (signing.py), verification (keypeg.borrowed).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from keypeg.document import ed25519_key, key_id, parse_envelope
from keypeg.errors import Internal
from keypeg.v1 import document_pb2
from keypeg.v1.borrow_pb2 import BorrowDocument
from keypeg.v1.proof_pb2 import BorrowProof
from keypeg_server.clock import to_us
from keypeg_server.domain.borrow import Borrow, Terms
from keypeg_server.domain.pool import Pool
from keypeg_server.service import frames
from keypeg_server.service.ports import BorrowSigner, Entitlement, SiteLicense

_US: Final = timedelta(microseconds=1)


def terms_of(
    entitlement: Entitlement, duration: timedelta, return_key: bytes, parts: bytes
) -> Terms:
    """What is asked for, within what the license allows."""
    ends_by = _believed_until(entitlement)
    if entitlement.ends_at is not None:
        ends_by = min(ends_by, entitlement.ends_at)
    return Terms(duration // _US, to_us(ends_by), return_key, parts)


def document_of(
    pool: Pool, entitlement: Entitlement, borrow: Borrow, now_us: int
) -> BorrowDocument:
    """The document of a borrow as it is now."""
    document = BorrowDocument(
        borrow=borrow.name,
        serial=borrow.serial,
        account=pool.account,
        publisher=entitlement.publisher,
        activation=pool.activation,
        products=[pool.product],
        features=entitlement.features,
        device=borrow.holder.device,
        return_key=ed25519_key(borrow.return_key),
        user=borrow.holder.user,
        issue_time=frames.timestamp(now_us),
        expire_time=frames.timestamp(borrow.end_us),
    )
    document.lease.lease = pool.lease_prefix + borrow.id
    document.lease.units = borrow.units
    document.lease.features.extend(frames.features(borrow.features))
    document.lease.fencing_number = borrow.fencing_number
    if borrow.fingerprint:
        document.fingerprint.MergeFromString(borrow.fingerprint)
    return document


def proof_of(signer: BorrowSigner, entitlement: Entitlement, document: bytes) -> BorrowProof:
    """What a computer keeps: the document, and all that it is believed by.

    One that was signed by the key of another license document is signed anew: it says the same.
    """
    site = site_license_of(entitlement)
    borrow = parse_envelope(document)
    if all(one.key_id != site.site_key for one in borrow.signatures):
        borrow = signer.sign_borrow(BorrowDocument.FromString(borrow.payload), site)
    return BorrowProof(delegation=entitlement.delegation, license=site.envelope, borrow=borrow)


def site_license_of(entitlement: Entitlement) -> SiteLicense:
    """Seats are of sites, and only they are lent."""
    assert entitlement.site_license is not None, entitlement.activation
    return entitlement.site_license


def _believed_until(entitlement: Entitlement) -> datetime:
    """When the last key ends that has signed the license document, and may."""
    signer = site_license_of(entitlement).signed_by
    ends = [
        key.not_after_time.ToDatetime(tzinfo=UTC)
        for key in document_pb2.Delegation.FromString(entitlement.delegation.payload).keys
        if document_pb2.PURPOSE_LICENSE in key.purposes and key_id(key.public_key) == signer
    ]
    if not ends:
        raise Internal(f"The delegation does not name what signed {entitlement.activation}.")
    return max(ends)
