"""Products, bundles, and which versions of an app are served.

Promises: a bundle opens its products, a product itself; a version is older than another by its dotted
numbers, missing ones being 0.

Leaves to others: what a license makes of its product (license.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Final

from keypeg import names
from keypeg.errors import ClientTooOld

from .key_loss import DEFAULT, KeyLossPolicy
from .location import LocationKind

OFFLINE_GRACE: Final = timedelta(seconds=180)
UNPLUG_GRACE: Final = timedelta(seconds=30)

# Dotted numbers, with whatever a build adds after them: 2.11, 2.11.3-beta.
_VERSION: Final = re.compile(r"v?(\d{1,9}(?:\.\d{1,9}){0,7})", re.ASCII)


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
    if wanted and _older(app_version, wanted):
        raise ClientTooOld(
            f"{product.display_name} {app_version or 'of an unknown version'} is no longer served; "
            f"update it to version {wanted} or newer.",
            product=product.name,
            version=app_version,
            minimum_version=wanted,
        )


def is_version(text: str) -> bool:
    """Whether a text begins with dotted numbers."""
    return _VERSION.match(text) is not None


def _older(version: str, than: str) -> bool:
    for mine, wanted in zip_longest(_numbers(version), _numbers(than), fillvalue=0):
        if mine != wanted:
            return mine < wanted
    return False


def _numbers(version: str) -> tuple[int, ...]:
    found = _VERSION.match(version)
    return tuple(int(number) for number in found[1].split(".")) if found else ()
