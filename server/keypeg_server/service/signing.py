"""What the server signs: license documents, grants, and heads of its logs.

Promises: every document is signed by a key that its publisher's root has delegated; a site's grants are
signed by the site's own key that the license document of the seats names. Private keys stay in here.

Leaves to others: loading keys from their files (app.py), deciding what is signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from keypeg import names
from keypeg.document import GRANT_TYPE, LICENSE_TYPE, Signer, key_id, seal
from keypeg.envelope import BORROW_TYPE, CONTENTS_TYPE, DELEGATION_TYPE
from keypeg.errors import Internal, NotFound
from keypeg.log import sign_head
from keypeg.v1 import document_pb2
from keypeg.v1.borrow_pb2 import BorrowDocument
from keypeg.v1.document_pb2 import Delegation, Envelope, Grant, LicenseDocument, PublicKey
from keypeg.v1.key_contents_pb2 import KeyContents
from keypeg.v1.log_pb2 import LogHead
from keypeg_server.domain.license import Activation, License
from keypeg_server.domain.location import Location, LocationKind
from keypeg_server.domain.product import Product
from keypeg_server.service.delegations import wanted
from keypeg_server.service.ports import SiteLicense
from keypeg_server.service.site_keys import SiteKeys

DELEGATIONS_KEPT: Final = 8  # of a publisher, in memory: those of the last minute matter


@dataclass(frozen=True)
class PublisherKeys:
    """What a publisher's documents are signed with, and under."""

    signer: Signer
    delegation: Envelope


def delegate(
    root: Signer, publisher: str, delegated: PublicKey, generation: int, now: datetime
) -> Envelope:
    """The root's word that a key may sign for the publisher (name), for two years."""
    before = Delegation(generation=generation - 1)
    return seal(wanted(before, publisher, delegated, now), DELEGATION_TYPE, root)


def license_signers(delegation: bytes) -> frozenset[str]:
    """The ids of the keys whose license documents are believed by a delegation of our own."""
    keys = Delegation.FromString(Envelope.FromString(delegation).payload).keys
    return frozenset(
        key_id(one.public_key) for one in keys if document_pb2.PURPOSE_LICENSE in one.purposes
    )


def delegation_ends(envelope: Envelope) -> datetime:
    """When the last key of a delegation of our own ends."""
    keys = Delegation.FromString(envelope.payload).keys
    return max(key.not_after_time.ToDatetime(tzinfo=UTC) for key in keys)


@dataclass(frozen=True)
class _Believed:
    """A delegation, and whose license documents are believed by it."""

    delegation: Envelope
    signers: frozenset[str]  # ids of keys

    @classmethod
    def of(cls, envelope: Envelope) -> _Believed:
        return cls(envelope, license_signers(envelope.SerializeToString()))


class Signing:
    """Implements `GrantSigner` (ports.py), and signs license documents."""

    def __init__(self, publishers: Mapping[str, PublisherKeys], sites: SiteKeys) -> None:
        """`publishers` by id."""
        self._believed: dict[str, tuple[_Believed, ...]] = {}  # by publisher, the newest first
        self.replace(publishers, sites)

    def replace(self, publishers: Mapping[str, PublisherKeys], sites: SiteKeys) -> None:
        """Sign with these from now on; what was signed before stays good as their delegations say."""
        self._publishers = publishers
        self.sites = sites
        for id, keys in publishers.items():
            name, known = names.PUBLISHER.build(id), _Believed.of(keys.delegation)
            before = self._believed.get(name, ())
            if known not in before[:1]:
                self._believed[name] = (known, *before)[:DELEGATIONS_KEPT]
        signers = {one for known in self._believed.values() for one in known[0].signers}
        self._fine = frozenset(f"{sites.current_id}.{one}" for one in signers)

    def delegated(self, publisher: str, site: SiteLicense | None) -> Envelope:
        newest = self.delegation(names.PUBLISHER.parse(publisher)[0])
        if site is None:
            return newest
        # Where its signer was withdrawn, the document is made anew within a minute. Until then apps go on.
        return next(
            (one.delegation for one in self._believed[publisher] if site.signed_by in one.signers),
            newest,
        )

    def sign_grant(self, publisher: str, grant: Grant, site: SiteLicense | None) -> Envelope:
        signer = (
            self._of_site(site) if site else self._keys(*names.PUBLISHER.parse(publisher)).signer
        )
        return seal(grant, GRANT_TYPE, signer)

    def sign_borrow(self, document: BorrowDocument, site: SiteLicense) -> Envelope:
        """A seat of this site that a computer takes offline."""
        return seal(document, BORROW_TYPE, self._of_site(site))

    def serves(self, site: SiteLicense) -> bool:
        """Whether this server has the key that a license names, and apps believe who signed it."""
        newest = self._believed[site.publisher][0]
        return site.signed_by in newest.signers and self.sites.of(site.site_key) is not None

    def site_documents(self) -> frozenset[str]:
        """By which keys (`SiteLicense.keys`) the documents of this site are as new ones would be."""
        return self._fine

    def delegation(self, publisher: str) -> Envelope:
        """The delegation of a publisher (id)."""
        return self._keys(publisher).delegation

    @property
    def log_publisher(self) -> str:
        """The publisher (id) under whose delegation the logs are signed."""
        return min(self._publishers)

    def sign_log(self, head: LogHead) -> Envelope:
        """A head of a log."""
        publisher = self.log_publisher
        head.publisher = names.PUBLISHER.build(publisher)
        return sign_head(head, self._keys(publisher).signer)

    def may_sign_logs(self) -> bool:
        """Whether the root has delegated that; a server made by an older version needs a new delegation."""
        keys = self._keys(self.log_publisher)
        mine = key_id(keys.signer.public_key)
        return any(
            document_pb2.PURPOSE_LOG in key.purposes and key_id(key.public_key) == mine
            for key in Delegation.FromString(keys.delegation.payload).keys
        )

    def sign_license(
        self,
        license: License,
        product: Product,
        activation: Activation,
        location: Location,
        now: datetime,
        contents_version: int = 0,
    ) -> Envelope:
        """The document of an activation; on a key with the version of the contents that come with it."""
        document = LicenseDocument(
            license=license.name,
            activation=activation.name,
            publisher=names.PUBLISHER.build(product.publisher),
            product=product.name,
            opens_products=product.opens,
            seat_count=license.seat_count,
            type=license.type,  # type: ignore[arg-type]  # equal by test
            location_kind=location.kind,  # type: ignore[arg-type]  # equal by test
            location=activation.location_name,
            generation=activation.generation,
            contents_version=contents_version,
            newest_version=license.newest_version,
        )
        for feature in license.features:
            document.features.add(feature=feature.id, seat_count=feature.seat_count)
        if location.kind is LocationKind.SITE:
            document.location_key.CopyFrom(self.sites.current.public_key)
        elif location.kind is LocationKind.HOST:
            document.fingerprint.MergeFromString(location.fingerprint)
        elif location.public_key:
            document.location_key.algorithm = location.key_algorithm  # type: ignore[assignment]
            document.location_key.key = location.public_key
        document.issue_time.FromDatetime(now)
        ends_at = activation.ends_with(license)
        if ends_at is not None:
            document.expire_time.FromDatetime(ends_at)
        for more in license.capacities:
            if more.seat_count and location.kind is LocationKind.SITE:
                window = document.capacities.add(seat_count=more.seat_count)
                window.start_time.FromMicroseconds(more.start_us)
                window.end_time.FromMicroseconds(more.end_us)
        if license.maintenance_end_time is not None:
            document.maintenance_end_time.FromDatetime(license.maintenance_end_time)
        document.unplug_grace.FromTimedelta(product.unplug_grace)
        return seal(document, LICENSE_TYPE, self._keys(product.publisher).signer)

    def sign_contents(self, publisher: str, contents: KeyContents) -> Envelope:
        """What a key should carry of a publisher (id)."""
        return seal(contents, CONTENTS_TYPE, self._keys(publisher).signer)

    def _of_site(self, site: SiteLicense) -> Signer:
        """The key that a license names; who is admitted has such a one."""
        signer = self.sites.of(site.site_key)
        if signer is None:
            raise Internal(f"This server has no site key {site.site_key}.", key=site.site_key)
        return signer

    def _keys(self, publisher: str) -> PublisherKeys:
        try:
            return self._publishers[publisher]
        except KeyError:
            name = names.PUBLISHER.build(publisher)
            raise NotFound(f"This server does not sign for {name}.", name=name) from None
