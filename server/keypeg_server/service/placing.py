"""Putting licenses on locations and taking them back, within a unit of work.

Promises: the one way in which activations come and go, whoever asks: the term of a license begins here,
seats become pools here (one for each product that the license opens), the document is signed here, and
the invariant of automatic mode is kept here: with the cloud session open, nothing that may live in the
cloud stays free (CLOUD-7, CLOUD-8), and what leaves it makes the account managed (CLOUD-10).

Leaves to others: who may ask (rpc), and units of work (activations.py, licenses.py, cloud.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from keypeg import names
from keypeg.errors import ActivationsExhausted
from keypeg_server.clock import from_us
from keypeg_server.domain import cloud_session as cloud
from keypeg_server.domain.capacity import Capacity
from keypeg_server.domain.cloud_group import held_by_members
from keypeg_server.domain.cloud_licenses import arrange, check_choice, with_cloud_remedy
from keypeg_server.domain.cloud_session import CloudEffect, CloudSession, Outcome
from keypeg_server.domain.events import (
    CloudModeChanged,
    LicenseAdded,
    LicenseRemoved,
    PoolRemoved,
)
from keypeg_server.domain.license import (
    Activation,
    License,
    check_activation,
)
from keypeg_server.domain.license_change import check_ready
from keypeg_server.domain.location import Location, LocationKind, member_of
from keypeg_server.domain.product import Product
from keypeg_server.service import key_contents
from keypeg_server.service.accounts import not_found
from keypeg_server.service.signing import Signing
from keypeg_server.service.site_pools import with_pools
from keypeg_server.service.store import Unit


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
            session = _session_at(unit, license.account, location.id)
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
            sessions = unit.places.list_cloud_sessions(license.account)
            for session in sessions:
                if not session.member:
                    raise with_cloud_remedy(error, session, license, others) from None
            raise (held_by_members(license, others, sessions) or error) from None
        if location.kind is LocationKind.CLOUD:
            session = _session_at(unit, license.account, location.id)
            owned = unit.licenses.list_licenses(license.account)
            there = unit.licenses.list_activations(license.account)
            check_choice(session, license, owned, there, now)
            cloud.check_not_suspended(session)

    def take_out(self, unit: Unit, license: License, activation: Activation, now: datetime) -> bool:
        """Free an activation in the cloud; whether this switched the account, or its member, to managed mode.

        In a group, others may wait for it: follow with `license_freed`, when it is not placed elsewhere.
        """
        before = _session_at(unit, license.account, activation.location)
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
        member = _member_at(license.account, location.id)
        unit.publish(LicenseAdded(_account(license), license.name, product.opens, member))
        unit.record(
            _account(license),
            "activation_created",
            activation=activation.name,
            product=product.name,
            location=activation.location_name,
            kind=location.kind.name.lower(),
        )
        if location.kind is LocationKind.SITE:
            return with_pools(unit, started, product, activation, self._new_id, now)
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
        gone = LicenseRemoved(_account(license), license.name, product.opens, activation.name)
        unit.publish(gone)
        for pool in activation.pools:
            unit.publish(PoolRemoved(pool.name))
            unit.record(
                _account(license),
                "pool_deleted",
                pool=names.POOL.parse(pool.name)[0],
                product=pool.product,
            )

    def sign_again(
        self,
        unit: Unit,
        license: License,
        activation: Activation,
        now: datetime,
        *,
        says_same: bool = False,
    ) -> Activation:
        """A new document for an activation, of the next generation unless it says the same."""
        product = product_of(unit, license)
        place = unit.places.location(activation.account, activation.location)
        assert place is not None, "an activation has its location"
        version = 0
        if place.kind is LocationKind.KEY:
            version = key_contents.changed(unit, license.account, place.id, product.publisher)
        generation = activation.generation + (0 if says_same else 1)
        again = replace(activation, generation=generation)
        document = self._signing.sign_license(license, product, again, place, now, version)
        again = replace(again, document=document.SerializeToString())
        unit.licenses.update_activation(again)
        return again

    def license_freed(self, unit: Unit, account: str, now: datetime) -> None:
        """Something became free: in automatic mode, with the cloud session open, it is activated.

        Of a group's members, those who have had theirs open for longest come first.
        """
        waiting = [
            one
            for one in unit.places.list_cloud_sessions(account)
            if CloudEffect.ARRANGE in cloud.license_freed(one)
        ]
        if waiting:
            waiting.sort(key=lambda one: (one.open_time or now, one.member))
            self._arrange(unit, account, waiting, now)

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
            said = {"member": after.member_name} if after.member else {}
            unit.record(account, "cloud_mode", mode=after.mode.name.lower(), why=why, **said)
            unit.publish(CloudModeChanged(account, after.member_name))
        for effect in outcome.effects:
            if effect is CloudEffect.RELEASE_ALL:
                self._release_all(unit, after)
            if after.member:  # what one frees is free for the others
                self.license_freed(unit, after.account, now)
            elif effect is CloudEffect.ARRANGE:
                self._arrange(unit, after.account, [after], now)
        return switched

    def _arrange(
        self, unit: Unit, account: str, sessions: Sequence[CloudSession], now: datetime
    ) -> None:
        """What automatic mode wants in each of these clouds, the first first."""
        licenses = unit.licenses.list_licenses(account)
        there = unit.licenses.list_activations(account)
        by_id = {license.id: license for license in licenses}
        freed = True
        while freed:  # what is there twice in one may be wanted in one before it
            freed = False
            for session in sessions:
                wanted = arrange(licenses, there, now, session.place)
                for activation in wanted.free:
                    self.take_back(unit, by_id[activation.license], activation)
                    freed = len(sessions) > 1
                for license in wanted.activate:
                    self._activate(unit, license, cloud_place(unit, session), now)
                if wanted:
                    there = unit.licenses.list_activations(account)

    def _release_all(self, unit: Unit, session: CloudSession) -> None:
        for activation in unit.licenses.list_activations(session.account):
            if activation.location == session.place:
                license = unit.licenses.license(session.account, activation.license)
                assert license is not None, "an activation has its license"
                self.take_back(unit, license, activation)


def product_of(unit: Unit, license: License) -> Product:
    """The product of a license."""
    product = unit.catalog.product(*names.PRODUCT.parse(license.product, "product"))
    if product is None:
        raise not_found(license.product)
    return product


def cloud_place(unit: Unit, session: CloudSession) -> Location:
    """The location of what a cloud session opens; a member's is made when it is first needed, and listed from then on."""
    found = unit.places.location(session.account, session.place)
    if found is None:
        assert session.member, "every account has its cloud"
        found = Location(session.account, session.place, LocationKind.CLOUD, session.login)
        unit.places.add_location(found)
        unit.places.save_cloud_session(session)
    return found


def _session_at(unit: Unit, account: str, location: str) -> CloudSession:
    """The cloud session that opens a location (id) of kind cloud."""
    return unit.places.cloud_session(account, member_of(location))


def _member_at(account: str, location: str) -> str:
    member = member_of(location)
    return names.USER.build(account, member) if member else ""


def _account(license: License) -> str:
    return names.ACCOUNT.build(license.account)
