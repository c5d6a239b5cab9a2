"""Products, bundles, and which versions of an app are served.

Promises: a bundle opens its products, a product itself; an app is served from the product's oldest version on.

Leaves to others: what a license makes of its product (license.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from keypeg import names
from keypeg.errors import ClientTooOld
from keypeg.versions import is_older

from .key_loss import DEFAULT, KeyLossPolicy
from .license_life import DEFAULT as DEFAULT_SWITCHES
from .license_life import Switches
from .location import LocationKind

OFFLINE_GRACE: Final = timedelta(seconds=180)
UNPLUG_GRACE: Final = timedelta(seconds=30)


@dataclass(frozen=True)
class Publisher:
    """Who sells: the root that apps pin, and the newest delegation of it."""

    id: str
    display_name: str
    root_public_key: bytes  # Ed25519, 32 bytes
    delegation: bytes  # Envelope, serialized
    create_time: datetime


@dataclass(frozen=True)
class Product:
    """What is protected, or several of it."""

    publisher: str  # id
    id: str
    display_name: str
    bundle_products: tuple[str, ...]  # names; empty for a product
    allowed_locations: frozenset[LocationKind]
    offline_grace: timedelta
    unplug_grace: timedelta
    minimum_app_version: str  # empty for any
    features: tuple[str, ...]
    create_time: datetime
    key_loss: KeyLossPolicy = DEFAULT
    switches: Switches = DEFAULT_SWITCHES

    @property
    def name(self) -> str:
        return names.PRODUCT.build(self.publisher, self.id)

    @property
    def opens(self) -> tuple[str, ...]:
        """Every product that it opens: those of the bundle, or itself."""
        return self.bundle_products or (self.name,)


def check_version(product: Product, app_version: str) -> None:
    """Refuse an app that is older than the product's publisher allows (CLOUD-15)."""
    wanted = product.minimum_app_version
    if wanted and is_older(app_version, wanted):
        raise ClientTooOld(
            f"{product.display_name} {app_version or 'of an unknown version'} is no longer served; "
            f"update it to version {wanted} or newer.",
            product=product.name,
            version=app_version,
            minimum_version=wanted,
            component="app",
        )
