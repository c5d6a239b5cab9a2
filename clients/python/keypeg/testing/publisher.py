"""A publisher that lives in memory: a root, delegated keys, and everything they sign.

Promises: what it signs passes the same verification as the real thing, against `root`; nothing it makes is
valid for another root. The private keys exist only in this object.

Leaves to others: saying it over a stream (testing.host).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from keypeg import fingerprint, proof
from keypeg.envelope import (
    BORROW_TYPE,
    DELEGATION_TYPE,
    GRANT_TYPE,
    LICENSE_TYPE,
    Ed25519Signer,
    seal,
)
from keypeg.v1 import borrow_pb2, document_pb2, license_pb2, location_pb2, product_pb2, proof_pb2

KINDS: Final[Mapping[str, location_pb2.LocationKind.ValueType]] = {
    "cloud": location_pb2.LOCATION_KIND_CLOUD,
    "key": location_pb2.LOCATION_KIND_KEY,
    "host": location_pb2.LOCATION_KIND_HOST,
    "site": location_pb2.LOCATION_KIND_SITE,
}


@dataclass(frozen=True)
class StandInPublisher:
    """Signs what a test needs; fields say what is signed, and may be wrong on purpose."""

    name: str = "publishers/stand-in"
    account: str = "accounts/stand-in"
    root_signer: Ed25519Signer = field(default_factory=Ed25519Signer.generate)
    signer: Ed25519Signer = field(
        default_factory=Ed25519Signer.generate
    )  # delegated for everything
    site_signer: Ed25519Signer = field(default_factory=Ed25519Signer.generate)
    key_signer: Ed25519Signer = field(default_factory=Ed25519Signer.generate)

    @property
    def root(self) -> bytes:
        """What apps pin; 32 bytes."""
        return self.root_signer.public_key.key

    @property
    def license(self) -> str:
        """The one license there is."""
        return f"{self.account}/licenses/one"

    @property
    def activation(self) -> str:
        """Its one activation."""
        return f"{self.license}/activations/one"

    def delegation(self, now: datetime) -> document_pb2.Envelope:
        """Delegates `signer` for everything, from a day before `now` to a year after."""
        key = document_pb2.DelegatedKey(
            public_key=self.signer.public_key,
            purposes=[document_pb2.PURPOSE_LICENSE, document_pb2.PURPOSE_GRANT],
        )
        key.not_before_time.FromDatetime(now - timedelta(days=1))
        key.not_after_time.FromDatetime(now + timedelta(days=365))
        delegation = document_pb2.Delegation(publisher=self.name, generation=1, keys=[key])
        return seal(delegation, DELEGATION_TYPE, self.root_signer)

    def license_document(
        self,
        kind: str,
        product: str,
        now: datetime,
        *,
        features: Iterable[str] = (),
        seat_count: int = 0,
        expire_time: datetime | None = None,
        unplug_grace: timedelta = timedelta(seconds=30),
        parts: Mapping[str, str] | None = None,
        key: document_pb2.PublicKey | None = None,
        activation: str = "",
    ) -> document_pb2.Envelope:
        """A license at a key, a site, or the computer with these `parts`; `key` is a real key's, not the stand-in's."""
        document = document_pb2.LicenseDocument(
            license=self.license,
            activation=activation or self.activation,
            publisher=self.name,
            product=product,
            opens_products=[product],
            features=[product_pb2.FeatureGrant(feature=name) for name in features],
            seat_count=seat_count,
            type=license_pb2.LICENSE_TYPE_PERPETUAL,
            location_kind=KINDS[kind],
            location=f"{self.account}/locations/{kind}",
            generation=1,
        )
        document.issue_time.FromDatetime(now)
        document.unplug_grace.FromTimedelta(unplug_grace)
        if expire_time is not None:
            document.expire_time.FromDatetime(expire_time)
        if kind == "key":
            document.location_key.CopyFrom(key or self.key_signer.public_key)
        if kind == "site":
            document.location_key.CopyFrom(self.site_signer.public_key)
        if parts is not None:
            document.fingerprint.CopyFrom(fingerprint.make(parts, salt=bytes(16)))
        return seal(document, LICENSE_TYPE, self.signer)

    def cloud_proof(self, grant: document_pb2.Grant, now: datetime) -> proof_pb2.Proof:
        """A grant of the authority."""
        grant.location_kind = KINDS["cloud"]
        sealed = seal(grant, GRANT_TYPE, self.signer)
        return proof_pb2.Proof(
            cloud=proof_pb2.CloudProof(delegation=self.delegation(now), grant=sealed)
        )

    def site_proof(
        self, grant: document_pb2.Grant, license_document: document_pb2.Envelope, now: datetime
    ) -> proof_pb2.Proof:
        """A grant of a site with that license."""
        grant.location_kind = KINDS["site"]
        return proof_pb2.Proof(
            site=proof_pb2.SiteProof(
                delegation=self.delegation(now),
                license=license_document,
                grant=seal(grant, GRANT_TYPE, self.site_signer),
            )
        )

    def key_proof(
        self, session: str, nonce: bytes, license_document: document_pb2.Envelope, now: datetime
    ) -> proof_pb2.Proof:
        """The signature of the key that the license names."""
        host = "bridges/stand-in"
        return proof_pb2.Proof(
            key=proof_pb2.KeyProof(
                delegation=self.delegation(now),
                license=license_document,
                location_host=host,
                session=session,
                signature=self.key_signer.sign(proof.challenge(host, session, nonce)),
            )
        )

    def borrow_proof(
        self,
        product: str,
        device: str,
        return_key: document_pb2.PublicKey,
        now: datetime,
        *,
        until: datetime,
        units: int = 1,
        features: Mapping[str, int] | None = None,
        serial: int = 1,
        borrow: str = "pools/stand-in/borrows/one",
        parts: Mapping[str, str] | None = None,
        seat_count: int = 10,
    ) -> proof_pb2.BorrowProof:
        """A seat of the site that a computer may use until then."""
        features = features or {}
        document = borrow_pb2.BorrowDocument(
            borrow=borrow,
            serial=serial,
            account=self.account,
            publisher=self.name,
            activation=self.activation,
            products=[product],
            features=features,
            lease=document_pb2.GrantedLease(
                lease=borrow.replace("/borrows/", "/leases/"),
                units=units,
                features=[
                    product_pb2.FeatureUnits(feature=name, units=count)
                    for name, count in features.items()
                ],
                fencing_number=7,
            ),
            device=device,
            return_key=return_key,
            user=f"{self.account}/users/one",
        )
        document.issue_time.FromDatetime(now)
        document.expire_time.FromDatetime(until)
        if parts is not None:
            document.fingerprint.CopyFrom(fingerprint.make(parts, salt=bytes(16)))
        license_document = self.license_document(
            "site", product, now, features=features, seat_count=seat_count
        )
        return proof_pb2.BorrowProof(
            delegation=self.delegation(now),
            license=license_document,
            borrow=seal(document, BORROW_TYPE, self.site_signer),
        )

    def host_proof(self, license_document: document_pb2.Envelope, now: datetime) -> proof_pb2.Proof:
        """A license for one computer."""
        return proof_pb2.Proof(
            host=proof_pb2.HostProof(delegation=self.delegation(now), license=license_document)
        )
