"""Publishers and products in tables; see service/store.py for what is promised."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlmodel import Session, col, select

from keypeg import names
from keypeg_server.clock import MICROSECOND, from_us, to_us
from keypeg_server.domain.key_loss import KeyLossPolicy
from keypeg_server.domain.license_life import Access, Switch, Switches
from keypeg_server.domain.location import LocationKind
from keypeg_server.domain.product import Product, Publisher
from keypeg_server.service.store import Page
from keypeg_server.storage.tables import MetaRow, ProductRow, PublisherRow

SITE_KEYS: Final = "site-key/"


class SqlCatalog:
    """`Catalog` on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def publisher(self, id: str) -> Publisher | None:
        row = self._session.get(PublisherRow, id)
        return None if row is None else _publisher(row)

    def publishers(self) -> list[Publisher]:
        wanted = select(PublisherRow).order_by(col(PublisherRow.id))
        return [_publisher(row) for row in self._session.exec(wanted)]

    def update_delegation(self, publisher: str, delegation: bytes) -> None:
        self._session.get_one(PublisherRow, publisher).delegation = delegation
        self._session.flush()

    def signing_keys(self, publisher: str) -> dict[str, str]:
        return self._meta(_signing(publisher))

    def keep_signing_key(self, publisher: str, id: str, text: str) -> None:
        key = _signing(publisher) + id
        if self._session.get(MetaRow, key) is None:
            self._session.add(MetaRow(key=key, value=text))
            self._session.flush()

    def site_keys(self) -> dict[str, str]:
        return self._meta(SITE_KEYS)

    def keep_site_key(self, id: str, text: str) -> None:
        self._session.merge(MetaRow(key=SITE_KEYS + id, value=text))
        self._session.flush()

    def _meta(self, prefix: str) -> dict[str, str]:
        rows = select(MetaRow).where(col(MetaRow.key).startswith(prefix, autoescape=True))
        return {row.key.removeprefix(prefix): row.value for row in self._session.exec(rows)}

    def add_publisher(self, publisher: Publisher) -> None:
        row = PublisherRow(
            id=publisher.id,
            display_name=publisher.display_name,
            root_public_key=publisher.root_public_key,
            delegation=publisher.delegation,
            create_time_us=to_us(publisher.create_time),
        )
        self._session.add(row)
        self._session.flush()

    def product(self, publisher: str, id: str) -> Product | None:
        row = self._session.get(ProductRow, (publisher, id))
        return None if row is None else _product(row)

    def products(self, wanted: Sequence[str]) -> dict[str, Product]:
        by_publisher: dict[str, set[str]] = {}
        for name in wanted:
            publisher, id = names.PRODUCT.parse(name, "product")
            by_publisher.setdefault(publisher, set()).add(id)
        found: dict[str, Product] = {}
        for publisher, ids in by_publisher.items():
            rows = select(ProductRow).where(
                col(ProductRow.publisher) == publisher, col(ProductRow.id).in_(ids)
            )
            for row in self._session.exec(rows):
                product = _product(row)
                found[product.name] = product
        return found

    def list_products(self, publisher: str, page: Page) -> list[Product]:
        wanted = (
            select(ProductRow)
            .where(col(ProductRow.publisher) == publisher, col(ProductRow.id) > page.after)
            .order_by(col(ProductRow.id))
            .limit(page.limit)
        )
        return [_product(row) for row in self._session.exec(wanted)]

    def add_product(self, product: Product) -> None:
        row = ProductRow(
            publisher=product.publisher,
            id=product.id,
            display_name=product.display_name,
            bundle_products=list(product.bundle_products),
            allowed_locations=sorted(product.allowed_locations),
            offline_grace_us=product.offline_grace // MICROSECOND,
            unplug_grace_us=product.unplug_grace // MICROSECOND,
            minimum_app_version=product.minimum_app_version,
            features=list(product.features),
            create_time_us=to_us(product.create_time),
            key_loss_move_count=product.key_loss.move_count,
            key_loss_period_us=product.key_loss.period // MICROSECOND,
            key_loss_wait_us=product.key_loss.wait // MICROSECOND,
            switches=_said(product.switches),
        )
        self._session.add(row)
        self._session.flush()

    def update_switches(self, product: Product) -> None:
        row = self._session.get_one(ProductRow, (product.publisher, product.id))
        row.switches = _said(product.switches)
        self._session.flush()


def _said(switches: Switches) -> dict[str, int]:
    return {str(switch): int(access) for switch, access in switches.set}


def _signing(publisher: str) -> str:
    """What the keys of a publisher's signing keys begin with, in table meta."""
    return f"signing/{publisher}/"


def _publisher(row: PublisherRow) -> Publisher:
    created = from_us(row.create_time_us)
    return Publisher(row.id, row.display_name, row.root_public_key, row.delegation, created)


def _product(row: ProductRow) -> Product:
    return Product(
        publisher=row.publisher,
        id=row.id,
        display_name=row.display_name,
        bundle_products=tuple(row.bundle_products),
        allowed_locations=frozenset(LocationKind(kind) for kind in row.allowed_locations),
        offline_grace=timedelta(microseconds=row.offline_grace_us),
        unplug_grace=timedelta(microseconds=row.unplug_grace_us),
        minimum_app_version=row.minimum_app_version,
        features=tuple(row.features),
        create_time=from_us(row.create_time_us),
        key_loss=KeyLossPolicy(
            row.key_loss_move_count,
            timedelta(microseconds=row.key_loss_period_us),
            timedelta(microseconds=row.key_loss_wait_us),
        ),
        switches=Switches(
            tuple((Switch(switch), Access(access)) for switch, access in row.switches.items())
        ),
    )
