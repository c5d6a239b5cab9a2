"""Temporary capacity of licenses, within units of work: planned, removed, and begun or ended.

Promises: what is planned is on disk with its record, and in the documents of sites. What an activation was placed
by takes it along when it ends; automatic mode gets what became free in the same transaction (CLOUD-8).

Leaves to others: when something begins or ends (capacity_keeping.py), seats in memory (the same, and the pools).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from keypeg import names
from keypeg.errors import LicenseUnsuitable
from keypeg_server.domain import capacity as capacities
from keypeg_server.domain.capacity import Capacity
from keypeg_server.domain.events import CapacityPlanned, LicenseChanged
from keypeg_server.domain.license import Activation, License
from keypeg_server.domain.location import LocationKind
from keypeg_server.service import key_contents
from keypeg_server.service.accounts import not_found
from keypeg_server.service.license_changes import LicenseChanges
from keypeg_server.service.placing import Placing, product_of
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Request, Store, Unit


class Lent(Protocol):
    """What is lent of pools (implemented by CapacityKeeper)."""

    def check_removal(self, license: str, left: Sequence[Capacity], now_us: int) -> None:
        """PoolRule when seats of this license (name) are borrowed for longer than what is left lasts."""
        ...


@dataclass(frozen=True)
class CapacityView:
    """A temporary capacity with its license."""

    license: License
    capacity: Capacity


class CapacityService:
    """The use cases."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_id: Callable[[], str],
        placing: Placing,
        changes: LicenseChanges,
    ) -> None:
        self._changes = changes
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._placing = placing

    async def add(
        self, request: Request[CapacityView], account: str, license: str, new: Capacity
    ) -> bytes:
        """Plan more of a license; one that would have begun before begins now."""
        now = self._clock.wall()
        now_us = capacities.us(now)
        late = max(0, now_us - new.start_us)
        new = replace(
            new, id=self._new_id(), start_us=new.start_us + late, end_us=new.end_us + late
        )

        def planned(unit: Unit) -> CapacityView:
            found = self._changes.ready(unit, account, license, now)
            after = capacities.added(
                found.capacities, new, found.name, counted=found.counted, now_us=now_us
            )
            found = replace(found, capacities=after)
            self._record(unit, "capacity_added", found, new)
            self._changed(unit, found, now)
            return CapacityView(found, new)

        return await self._store.once(request, planned)

    async def list(self, account: str, license: str) -> list[CapacityView]:
        """All of a license, by their start."""
        found = await self._store.read(lambda unit: _license(unit, account, license))
        ordered = sorted(found.capacities, key=lambda one: (one.start_us, one.id))
        return [CapacityView(found, one) for one in ordered]

    async def remove(
        self, request: Request[None], account: str, license: str, id: str, lent: Lent
    ) -> bytes:
        """End one now, or before it begins."""
        now = self._clock.wall()

        def removed(unit: Unit) -> None:
            found = self._changes.ready(unit, account, license, now)
            gone = next((one for one in found.capacities if one.id == id), None)
            if gone is None:
                raise not_found(names.CAPACITY.build(account, license, id))
            left = tuple(one for one in found.capacities if one is not gone)
            lent.check_removal(found.name, left, capacities.us(now))
            bound = [
                one
                for one in unit.licenses.list_activations(account, license)
                if one.capacity == id
            ]
            for activation in bound:
                if activation.location_kind is not LocationKind.CLOUD and not activation.over(now):
                    raise LicenseUnsuitable(
                        f"{activation.name} on {activation.location_name} was placed by it, and works there until "
                        "its end; take that back first.",
                        license=found.name,
                        activation=activation.name,
                        rule="capacity_in_use",
                    )
            for activation in bound:
                self._end(unit, found, activation)
            found = replace(found, capacities=left)
            self._record(unit, "capacity_removed", found, gone)
            self._changed(unit, found, now)

        return await self._store.once(request, removed)

    async def settle(self, account: str, license: str) -> None:
        """Something of a license has begun or ended: make activations as they have to be."""
        now = self._clock.wall()

        def settled(unit: Unit) -> None:
            found = unit.licenses.license(account, license)
            if found is None:
                return
            for activation in unit.licenses.list_activations(account, license):
                if activation.over(now):
                    self._end(unit, found, activation)
            self._changed(unit, found, now)

        await self._store.change(settled)

    def _changed(self, unit: Unit, license: License, now: datetime) -> None:
        """Keep a license whose capacity is another, or began or ended, with all that goes with it."""
        next_change = capacities.next_change_us(license.capacities, capacities.us(now))
        unit.licenses.plan_capacities(license, next_change)
        product = product_of(unit, license)
        for activation in unit.licenses.list_activations(license.account, license.id):
            if activation.location_kind is LocationKind.SITE:
                self._placing.sign_again(unit, license, activation, now)
        account = names.ACCOUNT.build(license.account)
        self._placing.license_freed(unit, license.account, now)
        unit.publish(LicenseChanged(account, license.name, product.opens))
        unit.publish(CapacityPlanned(account, license.name))

    def _end(self, unit: Unit, license: License, activation: Activation) -> None:
        """Take back what was placed by a capacity that has ended; its document has ended too."""
        if activation.location_kind is LocationKind.KEY:
            publisher = key_contents.publisher_of(unit, activation)
            key_contents.changed(unit, activation.account, activation.location, publisher)
        self._placing.take_back(unit, license, activation)

    def _record(self, unit: Unit, event: str, license: License, one: Capacity) -> None:
        unit.record(
            names.ACCOUNT.build(license.account),
            event,
            license=license.name,
            capacity=one.id,
            seats=one.seat_count,
            activations=one.activation_count,
            start=one.start_us,
            end=one.end_us,
            note=one.note,
        )


def _license(unit: Unit, account: str, id: str) -> License:
    license = unit.licenses.license(account, id)
    if license is None:
        raise not_found(names.LICENSE.build(account, id))
    return license
