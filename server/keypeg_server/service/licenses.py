"""Licenses of accounts: one use case a method.

Promises: a license allows no more kinds of location than its product, and switches on no feature that its
product does not list; one that is deposited while the account's cloud session is open in automatic mode is
activated in the same transaction (CLOUD-7).

Leaves to others: activations (placing.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from keypeg import names
from keypeg.errors import FieldInvalid, LocationNotAllowed
from keypeg_server.domain.events import LicenseAdded
from keypeg_server.domain.license import License
from keypeg_server.domain.location import LocationKind, words
from keypeg_server.domain.product import Product
from keypeg_server.service.accounts import found_in, not_found
from keypeg_server.service.placing import Placing, product_of
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Page, Request, Store, Unit


@dataclass(frozen=True)
class LicenseView:
    """A license with what is shown beside it."""

    license: License
    product: Product
    used_count: int  # activations


class LicenseService:
    """See the contract's LicenseService."""

    def __init__(
        self, store: Store, clock: Clock, new_id: Callable[[], str], placing: Placing
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._placing = placing

    async def create_license(self, request: Request[LicenseView], new: License) -> bytes:
        """Deposit a license; id and deposit_time are set here. Without kinds it allows its product's."""
        now = self._clock.wall()
        new = replace(new, id=self._new_id(), deposit_time=now)

        def create(unit: Unit) -> LicenseView:
            if unit.accounts.account(new.account) is None:
                raise not_found(names.ACCOUNT.build(new.account))
            product = product_of(unit, new)
            license = fitted(unit, new, product)
            unit.licenses.add_license(license)
            account = names.ACCOUNT.build(license.account)
            unit.publish(LicenseAdded(account, license.name, product.opens))
            unit.record(
                account,
                "license_created",
                license=license.name,
                product=license.product,
                seats=license.seat_count,
                activations=license.activation_count,
            )
            self._placing.license_freed(unit, license.account, now)
            return view_of(unit, license.account, license.id)

        return await self._store.once(request, create)

    async def get_license(self, account: str, id: str) -> LicenseView:
        return await self._store.read(lambda unit: view_of(unit, account, id))

    async def list_licenses(self, account: str, page: Page) -> list[LicenseView]:
        def look(unit: Unit) -> list[LicenseView]:
            licenses = found_in(unit, account, unit.licenses.list_licenses(account, page))
            products = unit.catalog.products([license.product for license in licenses])
            used = unit.licenses.used_counts(account, [license.id for license in licenses])
            return [
                LicenseView(license, products[license.product], used.get(license.id, 0))
                for license in licenses
            ]

        return await self._store.read(look)


def view_of(unit: Unit, account: str, id: str) -> LicenseView:
    license = unit.licenses.license(account, id)
    if license is None:
        raise not_found(names.LICENSE.build(account, id))
    used = unit.licenses.used_counts(account, [id]).get(id, 0)
    return LicenseView(license, product_of(unit, license), used)


def fitted(unit: Unit, license: License, product: Product) -> License:
    """The license within what its product allows; refused where it asks for more."""
    more = license.allowed_locations - product.allowed_locations
    if more:
        allowed = words(product.allowed_locations)
        raise LocationNotAllowed(
            f"{product.name} may live at: {allowed}; not at: {words(more)}. "
            "A license allows no more than its product.",
            product=product.name,
            allowed=allowed,
        )
    kinds = license.allowed_locations or product.allowed_locations
    if license.counted and LocationKind.SITE not in kinds:
        what = f"seats are counted at a site, and this license may live at: {words(kinds)}"
        raise FieldInvalid(
            f"A license of {product.name} with seats is of no use: {what}.",
            fields={"seat_count": what},
        )
    opened = unit.catalog.products(product.bundle_products)
    known = {feature for one in (product, *opened.values()) for feature in one.features}
    for feature in license.features:
        what = ""
        if feature.id not in known:
            what = f"{product.name} lists no feature {feature.id!r}"
        elif feature.seat_count and not license.counted:
            what = f"feature {feature.id!r} has seats, and the license has none"
        if what:
            raise FieldInvalid(f"This license can not be made: {what}.", fields={"features": what})
    return replace(license, allowed_locations=kinds)
