"""A publisher for tests: its root, its signing key, and the licenses that it signs for keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from keypeg.document import DELEGATION_TYPE, LICENSE_TYPE, Ed25519Signer, seal
from keypeg.envelope import CONTENTS_TYPE
from keypeg.key_contents import entry_of
from keypeg.v1 import document_pb2, license_pb2, location_pb2
from keypeg.v1.key_contents_pb2 import KeyContents

NAME = "publishers/acme"
ACCOUNT = "accounts/a1"


class Publisher:
    """Signs as a real one does."""

    def __init__(self, name: str = NAME) -> None:
        self.name = name
        self.root = Ed25519Signer.generate()
        self.signer = Ed25519Signer.generate()

    @property
    def pinned(self) -> bytes:
        """What an app pins."""
        return bytes(self.root.public_key.key)

    def delegation(self, generation: int = 1) -> document_pb2.Envelope:
        """From the root to the signing key."""
        now = datetime.now(UTC)
        document = document_pb2.Delegation(publisher=self.name, generation=generation)
        key = document.keys.add(
            public_key=self.signer.public_key, purposes=[document_pb2.PURPOSE_LICENSE]
        )
        key.not_before_time.FromDatetime(now - timedelta(hours=1))
        key.not_after_time.FromDatetime(now + timedelta(days=30))
        document.issue_time.FromDatetime(now)
        return seal(document, DELEGATION_TYPE, self.root)

    def license(
        self,
        point: bytes,
        product: str = "synth",
        activation: str = "1",
        *,
        grace: timedelta = timedelta(seconds=30),
        generation: int = 1,
        expires: datetime | None = None,
        algorithm: document_pb2.KeyAlgorithm.ValueType = document_pb2.KEY_ALGORITHM_ECDSA_P256,
        contents_version: int = 0,
    ) -> document_pb2.Envelope:
        """For one key, by its public key."""
        document = document_pb2.LicenseDocument(
            license=f"{ACCOUNT}/licenses/l{activation}",
            activation=f"{ACCOUNT}/licenses/l{activation}/activations/{activation}",
            publisher=self.name,
            product=product,
            opens_products=[product],
            type=license_pb2.LICENSE_TYPE_PERPETUAL,
            location_kind=location_pb2.LOCATION_KIND_KEY,
            location=f"{ACCOUNT}/locations/k1",
            generation=generation,
            contents_version=contents_version,
        )
        document.location_key.algorithm = algorithm
        document.location_key.key = point
        document.issue_time.FromDatetime(datetime.now(UTC))
        if expires is not None:
            document.expire_time.FromDatetime(expires)
        document.unplug_grace.FromTimedelta(grace)
        return seal(document, LICENSE_TYPE, self.signer)

    def contents(
        self,
        point: bytes,
        version: int,
        *carried: document_pb2.Envelope,
        least: int = 0,
        lost: bool = False,
        location: str = f"{ACCOUNT}/locations/k1",
    ) -> document_pb2.Envelope:
        """What a key should carry: these licenses."""
        contents = KeyContents(
            location=location,
            publisher=self.name,
            publisher_root=self.pinned,
            version=version,
            least_version=least,
            lost=lost,
        )
        contents.location_key.algorithm = document_pb2.KEY_ALGORITHM_ECDSA_P256
        contents.location_key.key = point
        for envelope in carried:
            one = document_pb2.LicenseDocument.FromString(envelope.payload)
            contents.entries.add(activation=entry_of(one.activation), generation=one.generation)
        return seal(contents, CONTENTS_TYPE, self.signer)
