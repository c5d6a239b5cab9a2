"""What lets an app run: the five kinds of proof, verified inside the app against the root that it pins.

Promises: `verify` either returns what the root's signatures allow, or raises the error of the one step of
docs/formats.md that failed (steps 10 to 17; document.py has 1 to 9). It believes nothing that came beside
the signatures: neither the bridge, nor a site beyond its license, nor the disk, nor the network.

Leaves to others: what a verified document allows (proof_results.py), counting down `valid_for` on a clock of the app's own (session.py), and reading this
computer's fingerprint (hostinfo.py).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from keypeg import borrowed, document, fingerprint, key_contents
from keypeg.envelope import key_id
from keypeg.errors import (
    DocumentMalformed,
    DocumentOtherDevice,
    DocumentOtherSession,
    FencingStale,
    NonceMismatch,
    SignerUnknown,
)
from keypeg.possession import (
    Counted,
    challenge,
    check_counter,
    check_possession,
    enrollment_challenge,
)
from keypeg.proof_checks import check_kind, check_product, check_release, check_within
from keypeg.proof_results import Verified, expire_time, of_grant, of_license
from keypeg.v1 import location_pb2
from keypeg.v1.document_pb2 import (
    Delegation,
    Envelope,
    Grant,
    LicenseDocument,
)
from keypeg.v1.proof_pb2 import BorrowProof, HostProof, KeyProof, Proof, SiteProof
from keypeg.versions import UNTOLD, Release

__all__ = [
    "BORROW_VALID_FOR",
    "GRANT_VALID_FOR",
    "HOST_VALID_FOR",
    "KEY_VALID_FOR",
    "NONCE_BYTES",
    "Expectation",
    "Verified",
    "challenge",
    "check_fencing",
    "check_possession",
    "enrollment_challenge",
    "verify",
]

NONCE_BYTES: Final = 32  # never comes again by chance

# For how long a proof without a Grant holds. A key signs no duration, and the bridge that sends one is not
# trusted; a computer's parts change only when it is off.
KEY_VALID_FOR: Final = timedelta(seconds=30)
HOST_VALID_FOR: Final = timedelta(hours=1)
BORROW_VALID_FOR: Final = timedelta(hours=1)  # and no longer than the document

GRANT_VALID_FOR: Final = timedelta(days=30)  # the longest offline grace that a product may have
LEASE_COUNT: Final = 256  # of one session; bounds the work of a verifier
NAME_CHARACTERS: Final = 255  # of a location host's name


@dataclass(frozen=True)
class Expectation:
    """What the app knows by itself, and a proof must agree with."""

    publisher_root: bytes  # the pinned Ed25519 key; 32 bytes
    publisher: str | None  # `publishers/{publisher}`; None takes any that the root vouches for
    product: str
    session: str
    device: str
    nonce: bytes  # of the app's own open, resume or renew; 32 bytes
    client_key_share: bytes  # both shares are empty towards a bridge
    server_key_share: bytes
    now: datetime  # the wall clock, in UTC
    fingerprint: Mapping[str, str] | None  # this computer's parts, where a host proof is acceptable
    seen: Mapping[str, int] = field(default_factory=dict)
    """The highest generation seen, by the name of the activation or publisher; the serial, by that of a borrow;
    the counter when the nonce was given out, by the key id of a smartkey; the version of its contents, by the
    name of a key's location."""
    return_key: bytes = b""  # public, of the private key that this computer keeps for a borrow
    release: Release = UNTOLD  # what the app says of itself

    def __post_init__(self) -> None:
        if len(self.publisher_root) != 32 or len(self.nonce) != NONCE_BYTES:
            raise ValueError(f"the root has 32 bytes, and a nonce {NONCE_BYTES}")


def check_fencing(seen: int, now: int) -> None:
    """FencingStale when a fencing number is lower than the highest one seen."""
    if now < seen:
        raise FencingStale(
            f"The seat has fencing number {now}, and {seen} has been seen: a newer holder has it. "
            "Stop using it, and acquire a new one.",
            fencing_number=str(now),
            seen=str(seen),
        )


def verify(proof: Proof, expectation: Expectation) -> Verified:
    """What the proof allows this app, on this device, in this session."""
    # Step 10: a kind of proof that is known.
    kind = proof.WhichOneof("kind")
    if kind == "cloud":
        delegation = _delegation(proof.cloud.delegation, expectation)
        grant = document.verify_grant(proof.cloud.grant, delegation, expectation.now)
        check_kind("grant", grant.location_kind, location_pb2.LOCATION_KIND_CLOUD)
        _check_grant(grant, expectation)
        return of_grant(grant, delegation, None)
    if kind == "key":
        return _verify_key(proof.key, expectation)
    if kind == "host":
        return _verify_host(proof.host, expectation)
    if kind == "site":
        return _verify_site(proof.site, expectation)
    if kind == "borrow":
        return _verify_borrow(proof.borrow, expectation)
    raise DocumentMalformed(
        "The proof is of no kind that this app knows; update the app, or use a license elsewhere."
    )


def _verify_key(proof: KeyProof, expectation: Expectation) -> Verified:
    delegation = _delegation(proof.delegation, expectation)
    license_ = _license(proof.license, delegation, expectation, location_pb2.LOCATION_KIND_KEY)
    # Step 13: the key that the license names has signed for this session, now.
    _check_session(proof.session, expectation)
    if len(proof.location_host) > NAME_CHARACTERS:
        raise DocumentMalformed(
            f"The proof's location host is longer than {NAME_CHARACTERS} characters; "
            "update the bridge."
        )
    signed = challenge(proof.location_host, proof.session, expectation.nonce)
    key = license_.location_key
    said = check_possession(key, signed, proof.signature)
    if isinstance(said, Counted):
        check_counter(key, said, expectation.seen.get(key_id(key), 0))
    # Step 17: the key carries it, by the newest contents that are known of the key.
    contents = None
    if proof.HasField("contents"):
        contents = key_contents.verify_contents(proof.contents, delegation, expectation.now)
    key_contents.check_carried(contents, license_, expectation.seen.get(license_.location, 0))
    verified = of_license(license_, delegation, KEY_VALID_FOR, expectation.now)
    counter = None if said is None else said.counter
    return replace(verified, key_counter=counter, contents=contents)


def _verify_host(proof: HostProof, expectation: Expectation) -> Verified:
    delegation = _delegation(proof.delegation, expectation)
    license_ = _license(proof.license, delegation, expectation, location_pb2.LOCATION_KIND_HOST)
    # Step 14: enough of the parts that the license names are here.
    if expectation.fingerprint is None:
        raise DocumentOtherDevice(
            "The license is for one computer, and this one's fingerprint was not read; "
            "use a license for the cloud or a key, or let the app read it."
        )
    fingerprint.check(license_.fingerprint, expectation.fingerprint)
    return of_license(license_, delegation, HOST_VALID_FOR, expectation.now)


def _verify_site(proof: SiteProof, expectation: Expectation) -> Verified:
    delegation = _delegation(proof.delegation, expectation)
    license_ = _license(proof.license, delegation, expectation, location_pb2.LOCATION_KIND_SITE)
    # Step 15: the site that the license names has signed, and gives no more than it has.
    try:
        grant = document.verify_site_grant(proof.grant, license_)
    except SignerUnknown as error:
        raise DocumentOtherDevice(
            f"The grant is signed by another site than the one that has {license_.activation}; "
            "ask the site's administrator to activate the license there.",
            activation=license_.activation,
        ) from error
    check_kind("grant", grant.location_kind, location_pb2.LOCATION_KIND_SITE)
    _check_grant(grant, expectation)
    check_within(grant, grant.leases, license_, expectation.now)
    return of_grant(grant, delegation, license_)


def _verify_borrow(proof: BorrowProof, expectation: Expectation) -> Verified:
    delegation = _delegation(proof.delegation, expectation)
    license_ = _license(proof.license, delegation, expectation, location_pb2.LOCATION_KIND_SITE)
    # Step 16: the site that the license names has lent this computer a seat of it, and not yet got it back.
    borrow = borrowed.verify_borrow(proof.borrow, license_)
    check_within(borrow, (borrow.lease,), license_, expectation.now)
    borrowed.check_computer(
        borrow, expectation.device, expectation.return_key, expectation.fingerprint
    )
    check_product("borrow", expectation.product, borrow.products)
    ends_at = borrowed.check_term(borrow, expectation.now, expectation.seen)
    license_ends_at = expire_time(license_)
    return Verified(
        kind=license_.location_kind,
        products=tuple(borrow.products),
        features=tuple(borrow.features),
        valid_for=min(BORROW_VALID_FOR, ends_at - expectation.now),
        leases=(borrow.lease,),
        seat_required=True,
        license_expire_time=min(ends_at, license_ends_at or ends_at),
        unplug_grace=timedelta(0),
        license=license_,
        activation=borrow.activation,
        delegation=delegation,
        grant=None,
        borrow=borrow,
    )


def _delegation(envelope: Envelope, expectation: Expectation) -> Delegation:
    return document.verify_delegation(
        envelope,
        publisher=expectation.publisher,
        root=expectation.publisher_root,
        now=expectation.now,
        seen=expectation.seen,
    )


def _license(
    envelope: Envelope, delegation: Delegation, expectation: Expectation, kind: int
) -> LicenseDocument:
    license_ = document.verify_license(envelope, delegation, expectation.now, seen=expectation.seen)
    # Step 11: a license for this kind of place, for this product, and for this version of it.
    check_kind("license", license_.location_kind, kind)
    check_product("license", expectation.product, license_.opens_products)
    check_release(license_, expectation.product, expectation.release)
    return license_


def _check_grant(grant: Grant, expectation: Expectation) -> None:
    """Step 12: the grant is for this session, device and question, and for this product."""
    _check_session(grant.session, expectation)
    if grant.device != expectation.device:
        raise DocumentOtherDevice(
            f"The grant is for device {grant.device!r}, and this is {expectation.device!r}; "
            "open a new session here.",
            device=grant.device,
            expected=expectation.device,
        )
    if not hmac.compare_digest(grant.nonce, expectation.nonce):
        raise NonceMismatch(
            f"The grant of {grant.session} answers another question than this app's last one; "
            "renew the session.",
            session=grant.session,
        )
    shares_agree = hmac.compare_digest(
        grant.client_key_share, expectation.client_key_share
    ) and hmac.compare_digest(grant.server_key_share, expectation.server_key_share)
    if not shares_agree:
        raise DocumentOtherSession(
            f"The grant of {grant.session} is bound to another session key; open a new session.",
            session=grant.session,
        )
    check_product("grant", expectation.product, grant.products)
    if not timedelta(0) < document.span(grant.valid_for) <= GRANT_VALID_FOR:
        raise DocumentMalformed(
            f"The grant holds for {grant.valid_for.seconds} s, and more than 0 s and at most "
            f"{GRANT_VALID_FOR.days} days are accepted; ask the server's administrator."
        )
    leases = [one.lease for one in grant.leases]
    if len(leases) > LEASE_COUNT or len(set(leases)) < len(leases):
        raise DocumentMalformed(
            f"The grant lists {len(leases)} seats, some of them twice or more than {LEASE_COUNT}; "
            "renew the session."
        )


def _check_session(session: str, expectation: Expectation) -> None:
    if session != expectation.session:
        raise DocumentOtherSession(
            f"The proof is for {session!r}, and this is {expectation.session!r}; open a new session.",
            session=session,
            expected=expectation.session,
        )
