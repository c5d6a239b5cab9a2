"""Publishers and their products: one use case a method.

Promises: a bundle names products of its own publisher that are there and are no bundles themselves.

Leaves to others: the publisher's keys (signing.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from keypeg import names
from keypeg.errors import AlreadyExists, FieldInvalid
from keypeg_server.domain.events import CatalogChanged
from keypeg_server.domain.license_life import Access, Switch
from keypeg_server.domain.product import Product, Publisher
from keypeg_server.service.accounts import not_found
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Page, Request, Store, Unit


class CatalogService:
    """See the contract's CatalogService."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def get_publisher(self, id: str) -> Publisher:
        publisher = await self._store.read(lambda unit: unit.catalog.publisher(id))
        if publisher is None:
            raise not_found(names.PUBLISHER.build(id))
        return publisher

    async def create_product(self, request: Request[Product], product: Product) -> bytes:
        """Add a product; its create_time is set here."""
        product = replace(product, create_time=self._clock.wall())

        def create(unit: Unit) -> Product:
            if unit.catalog.publisher(product.publisher) is None:
                raise not_found(names.PUBLISHER.build(product.publisher))
            if unit.catalog.product(product.publisher, product.id) is not None:
                raise AlreadyExists(
                    f"There is a product {product.name} already; choose another id.",
                    name=product.name,
                )
            _check_bundle(unit, product)
            unit.catalog.add_product(product)
            unit.publish(CatalogChanged(names.PUBLISHER.build(product.publisher)))
            unit.record(
                names.PUBLISHER.build(product.publisher), "product_created", product=product.name
            )
            return product

        return await self._store.once(request, create)

    async def set_switches(
        self, request: Request[Product], publisher: str, id: str, switches: Mapping[Switch, Access]
    ) -> bytes:
        """Set some of what accounts may do with licenses of a product."""

        def change(unit: Unit) -> Product:
            product = unit.catalog.product(publisher, id)
            if product is None:
                raise not_found(names.PRODUCT.build(publisher, id))
            after = replace(product, switches=product.switches.with_set(switches))
            unit.catalog.update_switches(after)
            owner = names.PUBLISHER.build(publisher)
            unit.publish(CatalogChanged(owner))
            unit.record(
                owner,
                "product_switches",
                product=product.name,
                switches={str(one): access.name.lower() for one, access in switches.items()},
            )
            return after

        return await self._store.once(request, change)

    async def get_product(self, publisher: str, id: str) -> Product:
        product = await self._store.read(lambda unit: unit.catalog.product(publisher, id))
        if product is None:
            raise not_found(names.PRODUCT.build(publisher, id))
        return product

    async def list_products(self, publisher: str, page: Page) -> list[Product]:
        return await self._store.read(lambda unit: unit.catalog.list_products(publisher, page))


def _check_bundle(unit: Unit, product: Product) -> None:
    found = unit.catalog.products(product.bundle_products)
    for name in product.bundle_products:
        what = ""
        if names.PRODUCT.parse(name, "bundle_products")[0] != product.publisher:
            what = f"{name} is of another publisher"
        elif name not in found:
            what = f"there is no product {name}; add it first"
        elif found[name].bundle_products:
            what = f"{name} is a bundle itself; name its products"
        if what:
            raise FieldInvalid(
                f"The bundle {product.name} can not be made: {what}.",
                fields={"bundle_products": what},
                product=name,
            )
