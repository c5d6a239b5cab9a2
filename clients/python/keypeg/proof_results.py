"""What documents allow once they are verified: the answer of each kind of proof.

Promises: nothing is allowed for longer than the license's term and the document's own end.

Leaves to others: verifying (proof.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from keypeg import document
from keypeg.v1.borrow_pb2 import BorrowDocument
from keypeg.v1.document_pb2 import Delegation, Grant, GrantedLease, LicenseDocument
from keypeg.v1.key_contents_pb2 import KeyContents


@dataclass(frozen=True)
class Verified:
    """What a proof allows."""

    kind: int  # a LocationKind
    products: tuple[str, ...]
    features: tuple[str, ...]
    valid_for: timedelta  # from when the app sent the frame that the proof answers
    leases: tuple[GrantedLease, ...]
    seat_required: bool
    license_expire_time: datetime | None
    unplug_grace: timedelta
    license: LicenseDocument | None  # None for a cloud proof, which has none
    activation: str
    delegation: Delegation
    grant: Grant | None  # None for a key, host or borrow proof, which has none
    borrow: BorrowDocument | None = None  # of a borrow proof
    key_counter: int | None = None
    """What the key counted up to: of a smartkey checked, of a FIDO2 key a signal (0 when it does not count)."""
    contents: KeyContents | None = None  # of a key proof, where the key has such

    def term_left(self, now: datetime) -> timedelta | None:
        """How much of the license's term was left when it was proven, by the clock that counts it."""
        if self.license_expire_time is None:
            return None
        by_server = self.grant is not None and self.grant.HasField("license_expire_time")
        if self.grant is not None and by_server:
            now = document.instant(self.grant.issue_time)
        return self.license_expire_time - now


def of_grant(grant: Grant, delegation: Delegation, license_: LicenseDocument | None) -> Verified:
    """What a verified grant allows; with the license that it is of, where there is one."""
    # A counted license takes a seat to run, whatever the site says.
    counted = license_ is not None and license_.seat_count > 0
    return Verified(
        kind=grant.location_kind,
        products=tuple(grant.products),
        features=tuple(grant.features),
        valid_for=document.span(grant.valid_for),
        leases=tuple(grant.leases),
        seat_required=grant.seat_required or counted,
        license_expire_time=_term_of(grant) or expire_time(license_),
        unplug_grace=timedelta(0),
        license=license_,
        activation=grant.activation,
        delegation=delegation,
        grant=grant,
    )


def of_license(
    license_: LicenseDocument, delegation: Delegation, valid_for: timedelta, now: datetime
) -> Verified:
    """What a verified license allows by itself, for at most `valid_for`."""
    grace = document.span(license_.unplug_grace)
    return Verified(
        kind=license_.location_kind,
        products=tuple(license_.opens_products),
        features=tuple(one.feature for one in license_.features),
        valid_for=_within_term(license_, valid_for, now),
        leases=(),
        seat_required=False,
        license_expire_time=expire_time(license_),
        unplug_grace=max(grace, timedelta(0)),
        license=license_,
        activation=license_.activation,
        delegation=delegation,
        grant=None,
    )


def _term_of(grant: Grant) -> datetime | None:
    if not grant.HasField("license_expire_time"):
        return None
    return document.instant(grant.license_expire_time)


def expire_time(license_: LicenseDocument | None) -> datetime | None:
    """The end of a license's term."""
    if license_ is None or not license_.HasField("expire_time"):
        return None
    return document.instant(license_.expire_time)


def _within_term(license_: LicenseDocument, valid_for: timedelta, now: datetime) -> timedelta:
    """No longer than the license's term, which step 9 found not to have ended, and the document's own."""
    for end in ("expire_time", "renew_before_time"):
        if license_.HasField(end):
            valid_for = min(valid_for, document.instant(getattr(license_, end)) - now)
    return valid_for
