"""Putting licenses on locations and taking them back, within a unit of work.

Promises: the one way in which activations come and go, whoever asks: the term of a license begins here,
seats become pools here (one for each product that the license opens), the document is signed here, and
the invariant of automatic mode is kept here: with the cloud session open, nothing that may live in the
cloud stays free (CLOUD-7, CLOUD-8), and what leaves it makes the account managed (CLOUD-10).

Leaves to others: who may ask (rpc), and units of work (activations.py, licenses.py, cloud.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from keypeg import names
from keypeg.errors import ActivationsExhausted
from keypeg_server.clock import from_us
from keypeg_server.domain import cloud_session as cloud
from keypeg_server.domain.capacity import Capacity
from keypeg_server.domain.cloud_licenses import arrange, check_choice, with_cloud_remedy
from keypeg_server.domain.cloud_session import CloudEffect, CloudSession, Outcome
from keypeg_server.domain.events import (
    CloudModeChanged,
    LicenseAdded,
    LicenseRemoved,
    PoolCreated,
    PoolRemoved,
)
from keypeg_server.domain.license import (
    Activation,
    License,
    SeatPool,
    check_activation,
)
from keypeg_server.domain.license_change import check_ready
from keypeg_server.domain.location import CLOUD_ID, Location, LocationKind
from keypeg_server.domain.product import Product
from keypeg_server.service import key_contents
from keypeg_server.service.accounts import not_found
from keypeg_server.service.signing import Signing
from keypeg_server.service.store import NewPool, Unit


class Placing:
    """Activations, within a unit of work that the caller has."""

    def __init__(self, signing: Signing, new_id: Callable[[], str]) -> None:
        self._signing = signing
        self._new_id = new_id

    def activate(
        self, unit: Unit, license: License, location: Location, now: datetime
    ) -> Activation:
        """Place a license on a location that a person chose; refused as `check` says."""
        self.check(unit, license, location, now)
        if location.kind is LocationKind.CLOUD:
            session = unit.places.cloud_session(license.account)
            self.carry_out(unit, session, cloud.put_in(session), now)
        return self._activate(unit, license, location, now)

    def check(
        self,
        unit: Unit,
        license: License,
        location: Location,
        now: datetime,
        *,
        leaving: Activation | None = None,
    ) -> None:
        """Refuse to place a license on a location that a person chose, once `leaving` is taken back."""
        check_ready(license)
        others = [
            one
            for one in unit.licenses.list_activations(license.account, license.id)
            if leaving is None or one.id != leaving.id
        ]
        try:
            check_activation(license, others, location, now)
        except ActivationsExhausted as error:
            session = unit.places.cloud_session(license.account)
            raise with_cloud_remedy(error, session, license, others) from None
        if location.kind is LocationKind.CLOUD:
            session = unit.places.cloud_session(license.account)
            owned = unit.licenses.list_licenses(license.account)
            there = unit.licenses.list_activations(license.account)
            check_choice(session, license, owned, there, now)

    def take_out(self, unit: Unit, license: License, activation: Activation, now: datetime) -> bool:
        """Free an activation in the cloud; whether this switched the account to managed mode."""
        before = unit.places.cloud_session(license.account)
        self.take_back(unit, license, activation)
        return self.carry_out(unit, before, cloud.taken_out(before), now, why="taken_out")

    def _activate(
        self, unit: Unit, license: License, location: Location, now: datetime
    ) -> Activation:
        """Place a license where it may be placed."""
        product = product_of(unit, license)
        room = license.room(unit.licenses.list_activations(license.account, license.id), now)
        capacity = room if isinstance(room, Capacity) else None
        started = license.first_activated(now)
        if started != license:
            unit.licenses.update_license(started)
        activation = Activation(
            account=license.account,
            license=license.id,
            id=self._new_id(),
            location=location.id,
            location_kind=location.kind,
            create_time=now,
            generation=1,
            document=b"",
            capacity=capacity.id if capacity else "",
            expire_time=from_us(capacity.end_us) if capacity else None,
        )
        version = 0
        if location.kind is LocationKind.KEY:
            version = key_contents.changed(unit, license.account, location.id, product.publisher)
        document = self._signing.sign_license(started, product, activation, location, now, version)
        activation = replace(activation, document=document.SerializeToString())
        unit.licenses.add_activation(activation)
        unit.publish(LicenseAdded(_account(license), license.name, product.opens))
        unit.record(
            _account(license),
            "activation_created",
            activation=activation.name,
            product=product.name,
            location=activation.location_name,
            kind=location.kind.name.lower(),
        )
        if location.kind is LocationKind.SITE:
            return self._with_pools(unit, started, product, activation, now)
        return activation

    def take_back(self, unit: Unit, license: License, activation: Activation) -> None:
        """Free an activation; its pools must be retired (ports.SeatPools)."""
        unit.licenses.delete_activation(activation)
        product = product_of(unit, license)
        unit.record(
            _account(license),
            "activation_deleted",
            activation=activation.name,
            product=product.name,
            location=activation.location_name,
            kind=activation.location_kind.name.lower(),
        )
        unit.publish(LicenseRemoved(_account(license), license.name, product.opens))
        for pool in activation.pools:
            unit.publish(PoolRemoved(pool.name))
            unit.record(
                _account(license),
                "pool_deleted",
                pool=names.POOL.parse(pool.name)[0],
                product=pool.product,
            )

    def license_freed(self, unit: Unit, account: str, now: datetime) -> None:
        """Something became free: in automatic mode, with the cloud session open, it is activated."""
        session = unit.places.cloud_session(account)
        self.carry_out(unit, session, Outcome(session, cloud.license_freed(session)), now)

    def carry_out(
        self,
        unit: Unit,
        before: CloudSession,
        outcome: Outcome,
        now: datetime,
        *,
        why: str = "asked",
    ) -> bool:
        """Make a change of the cloud session, with all that goes with it; whether its mode is another now."""
        after = outcome.session
        if after != before:
            unit.places.save_cloud_session(after)
        switched = after.mode is not before.mode
        if switched:
            account = names.ACCOUNT.build(after.account)
            unit.record(account, "cloud_mode", mode=after.mode.name.lower(), why=why)
            unit.publish(CloudModeChanged(account))
        for effect in outcome.effects:
            if effect is CloudEffect.ARRANGE:
                self._arrange(unit, after.account, now)
            else:
                self._release_all(unit, after.account)
        return switched

    def _arrange(self, unit: Unit, account: str, now: datetime) -> None:
        licenses = unit.licenses.list_licenses(account)
        wanted = arrange(licenses, unit.licenses.list_activations(account), now)
        if not wanted:
            return
        by_id = {license.id: license for license in licenses}
        for activation in wanted.free:
            self.take_back(unit, by_id[activation.license], activation)
        location = unit.places.location(account, CLOUD_ID)
        assert location is not None, "every account has its cloud"
        for license in wanted.activate:
            self._activate(unit, license, location, now)

    def _release_all(self, unit: Unit, account: str) -> None:
        for activation in unit.licenses.list_activations(account):
            if activation.location_kind is LocationKind.CLOUD:
                license = unit.licenses.license(account, activation.license)
                assert license is not None, "an activation has its license"
                self.take_back(unit, license, activation)

    def _with_pools(
        self, unit: Unit, license: License, product: Product, activation: Activation, now: datetime
    ) -> Activation:
        counted = tuple(
            (feature.id, feature.seat_count) for feature in license.features if feature.seat_count
        )
        pools = []
        for opened in product.opens:
            id = self._new_id()
            pool = NewPool(
                id=id,
                account=_account(license),
                product=opened,
                activation=activation.name,
                seat_count=license.seat_count,
                features=counted,
                create_time=now,
            )
            unit.licenses.add_pool(pool)
            unit.record(
                pool.account,
                "pool_created",
                pool=id,
                product=opened,
                activation=activation.name,
                seats=license.seat_count,
                features=dict(counted),
            )
            pools.append(SeatPool(names.POOL.build(id), opened))
            unit.publish(PoolCreated(names.POOL.build(id)))
        return replace(activation, pools=tuple(pools))


def product_of(unit: Unit, license: License) -> Product:
    """The product of a license."""
    product = unit.catalog.product(*names.PRODUCT.parse(license.product, "product"))
    if product is None:
        raise not_found(license.product)
    return product


def _account(license: License) -> str:
    return names.ACCOUNT.build(license.account)
