"""What a key should carry: its versions, and the signed statement of them, within a unit of work.

Promises: every change of a key's licenses raises the version of their publisher there, in the same unit; two
statements of the same version say the same. A key that was reported lost carries nothing.

Leaves to others: whose change it is (placing.py, deactivations.py, key_losses.py), the rules of versions
(domain/key_contents.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keypeg import names
from keypeg.key_contents import entry_of
from keypeg.v1.document_pb2 import Envelope
from keypeg.v1.key_contents_pb2 import KeyContents
from keypeg_server.domain.key_contents import Versions
from keypeg_server.domain.license import Activation, LicenseState
from keypeg_server.domain.location import Location, LocationKind
from keypeg_server.service.accounts import not_found
from keypeg_server.service.signing import Signing
from keypeg_server.service.store import Unit


@dataclass(frozen=True)
class Statement:
    """What a key should carry of one publisher, and what that is signed under."""

    contents: Envelope
    delegation: Envelope


def changed(unit: Unit, account: str, location: str, publisher: str) -> int:
    """Raise the version of what a publisher has on a key; the new one."""
    before = unit.keys.versions(account, location).get(publisher, Versions())
    after = before.changed()
    unit.keys.save_versions(account, location, publisher, after)
    return after.version


def statements(
    unit: Unit, signing: Signing, location: Location, now: datetime
) -> dict[str, Statement]:
    """What a key should carry, by the id of the publisher."""
    return {
        publisher: statement(unit, signing, location, publisher, now)
        for publisher in unit.keys.versions(location.account, location.id)
    }


def statement(
    unit: Unit, signing: Signing, location: Location, publisher: str, now: datetime
) -> Statement:
    """What a key should carry of one publisher."""
    owner = unit.catalog.publisher(publisher)
    if owner is None:
        raise not_found(names.PUBLISHER.build(publisher))
    versions = unit.keys.versions(location.account, location.id).get(publisher, Versions())
    contents = KeyContents(
        location=location.name,
        publisher=names.PUBLISHER.build(publisher),
        publisher_root=owner.root_public_key,
        version=versions.version,
        least_version=versions.seen_version,
        lost=location.lost_time is not None,
    )
    contents.location_key.algorithm = location.key_algorithm  # type: ignore[assignment]
    contents.location_key.key = location.public_key
    contents.issue_time.FromDatetime(now)
    if location.lost_time is None:
        for activation in living_on(unit, location):
            if publisher_of(unit, activation) != publisher:
                continue
            entry, generation = entry_of(activation.name), activation.generation
            if withdrawn(unit, activation):
                contents.withdrawn.add(activation=entry, generation=generation + 1)
            elif not activation.return_nonce:
                contents.entries.add(activation=entry, generation=generation)
    return Statement(signing.sign_contents(publisher, contents), signing.delegation(publisher))


def living_on(unit: Unit, location: Location) -> list[Activation]:
    """The activations of a key, oldest first; those that it is asked to give back too."""
    return [
        one
        for one in unit.licenses.list_activations(location.account)
        if one.location == location.id and one.location_kind is LocationKind.KEY
    ]


def withdrawn(unit: Unit, activation: Activation) -> bool:
    """Whether its document on the key opens nothing any more: suspended, revoked, or a change takes it away.

    Its next document, of the next generation, does again.
    """
    license = unit.licenses.license(activation.account, activation.license)
    assert license is not None, "an activation has its license"
    if license.state in (LicenseState.SUSPENDED, LicenseState.REVOKED):
        return True
    return bool(activation.return_nonce) and license.waits_for == activation.location


def publisher_of(unit: Unit, activation: Activation) -> str:
    """The id of the publisher of an activation's license."""
    license = unit.licenses.license(activation.account, activation.license)
    assert license is not None, "an activation has its license"
    return names.PRODUCT.parse(license.product, "product")[0]
