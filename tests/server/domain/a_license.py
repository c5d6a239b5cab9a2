"""A license, places for it, and its activations, as the rules see them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from keypeg_server.domain.license import Activation, License, LicenseState, LicenseType
from keypeg_server.domain.location import Location, LocationKind

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)
CLOUD, KEY, HOST, SITE = LocationKind
CLOUD_PLACE = Location("acme", "cloud", CLOUD, "cloud")
SITE_PLACE = Location("acme", "site", SITE, "site")
KEY_PLACE = Location("acme", "k1", KEY, "key")

LICENSE = License(
    account="acme",
    id="l1",
    product="publishers/p/products/daw",
    type=LicenseType.PERPETUAL,
    state=LicenseState.ACTIVE,
    allowed_locations=frozenset({CLOUD, KEY}),
    activation_count=2,
    seat_count=0,
    features=(),
    deposit_time=NOW,
    expire_time=None,
    term_days=0,
    first_activate_time=None,
    maintenance_end_time=None,
    external_reference="",
)


def activation(license: License, place: Location, id: str = "a1") -> Activation:
    return Activation(license.account, license.id, id, place.id, place.kind, NOW, 1, b"")
