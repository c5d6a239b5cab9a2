"""Activations: one use case a method.

Promises: what lives on a key or a host is not taken back without its receipt; seats that someone holds are
not taken from under them: the refusal names the holders.

Leaves to others: the rules (license.py, placing.py), and the pools in memory (ports.SeatPools).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from keypeg import names
from keypeg.document import parse_envelope
from keypeg.errors import ReceiptRequired
from keypeg.key_contents import lost as lost_key
from keypeg.v1.document_pb2 import Envelope
from keypeg_server.domain.account import NO_ACCOUNT
from keypeg_server.domain.license import Activation, License
from keypeg_server.domain.license_life import Command, Who, check_switch
from keypeg_server.domain.location import LocationKind
from keypeg_server.service import key_contents
from keypeg_server.service.accounts import found_in, not_found
from keypeg_server.service.cloud_of import place_for
from keypeg_server.service.deactivations import Deactivation, Deactivations
from keypeg_server.service.finish import to_its_end
from keypeg_server.service.license_acts import check_there
from keypeg_server.service.license_changes import LicenseChanges
from keypeg_server.service.placing import Placing, product_of
from keypeg_server.service.ports import Clock, SeatPools
from keypeg_server.service.signing import Signing
from keypeg_server.service.store import Page, Request, Store, Unit

NOBODY: Final = names.USER.build(NO_ACCOUNT, NO_ACCOUNT)  # of the account


@dataclass(frozen=True)
class ActivationView:
    """An activation with its signed document, and what that is signed under."""

    activation: Activation
    document: Envelope
    delegation: Envelope
    contents: Envelope | None = None  # of the key that it lives on


class ActivationService:
    """See the contract's ActivationService."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        placing: Placing,
        signing: Signing,
        pools: SeatPools,
        deactivations: Deactivations,
        changes: LicenseChanges,
    ) -> None:
        self._store = store
        self._clock = clock
        self._placing = placing
        self._signing = signing
        self._pools = pools
        self._deactivations = deactivations
        self._changes = changes
        self._retiring = asyncio.Lock()

    async def create_activation(
        self,
        request: Request[ActivationView],
        account: str,
        license: str,
        location: str,
        user: str = NOBODY,
        who: Who = Who.PUBLISHER,
    ) -> bytes:
        """Place it for a user (name): in a group, `cloud` is their own."""
        now = self._clock.wall()

        def create(unit: Unit) -> ActivationView:
            found = self._changes.ready(unit, account, license, now)
            place = place_for(unit, account, location, user, who)
            if place is None:
                raise not_found(names.LOCATION.build(account, location))
            if place.lost_time is not None:
                raise lost_key(place.name)
            check_there(unit, found, place, now)
            for one in unit.licenses.list_activations(account, license):
                if one.location == place.id and one.return_nonce:
                    return self._view(unit, self._deactivations.undo(unit, one))
            activation = self._placing.activate(unit, found, place, now)
            return self._view(unit, activation)

        return await self._store.once(request, create)

    async def get_activation(
        self, account: str, license: str, id: str, kind: LocationKind | None = None
    ) -> ActivationView:
        """`kind`: what is elsewhere is not there."""

        def look(unit: Unit) -> ActivationView:
            activation = unit.licenses.activation(account, license, id)
            if activation is None or kind not in (None, activation.location_kind):
                raise not_found(names.ACTIVATION.build(account, license, id))
            return self._view(unit, activation)

        return await self._store.read(look)

    async def list_activations(
        self, account: str, license: str | None, page: Page, kind: LocationKind | None = None
    ) -> list[Activation]:
        """`kind`: what is elsewhere is not there."""

        def look(unit: Unit) -> list[Activation]:
            if license is not None and unit.licenses.license(account, license) is None:
                raise not_found(names.LICENSE.build(account, license))
            found = unit.licenses.list_activations(account, license, page, kind)
            return found_in(unit, account, found)

        return await self._store.read(look)

    async def delete_activation(
        self,
        request: Request[bool],
        account: str,
        license: str,
        id: str,
        receipt: Envelope | None = None,
        who: Who = Who.PUBLISHER,
    ) -> bytes:
        """Free an activation. Its seats stop being given out before it goes; a key's receipt may come again.

        The answer is of whether this switched the account to managed mode.
        """
        before = await self._store.read(lambda unit: unit.licenses.activation(account, license, id))
        pools = () if before is None else tuple(pool.name for pool in before.pools)

        def delete(unit: Unit) -> bool:
            activation = unit.licenses.activation(account, license, id)
            found = unit.licenses.license(account, license)
            if activation is None or found is None:
                if self._deactivations.came_before(unit, account, id, receipt):
                    return False
                raise not_found(names.ACTIVATION.build(account, license, id))
            now = self._clock.wall()
            self._check_move(unit, found, activation, who)
            waiting = unit.changes.change(account, license, found.waiting_change)
            if receipt is not None and waiting is not None and waiting.activation == id:
                self._changes.with_receipt(unit, found, waiting, receipt, now)
                return False
            self._changes.ready(unit, account, license, now)
            if unit.licenses.activation(account, license, id) is None:  # by what came before
                return False
            if activation.location_kind is LocationKind.KEY:
                self._deactivations.check_gone(unit, activation, receipt)
            elif activation.location_kind is LocationKind.HOST:
                raise ReceiptRequired(
                    f"{activation.name} lives on {activation.location_name}, which must give a receipt "
                    "that it is gone from there; give it back from the computer where that is.",
                    activation=activation.name,
                    location=activation.location_name,
                )
            if activation.location_kind is LocationKind.CLOUD:
                switched = self._placing.take_out(unit, found, activation, now)
                self._placing.license_freed(unit, account, now)  # other members may wait for it
                return switched
            self._placing.take_back(unit, found, activation)
            self._placing.license_freed(unit, account, now)
            return False

        async def without_seats() -> bytes:
            async with self._retiring:  # one that fails must not restore what another has retired
                await self._pools.retire(pools)
                try:
                    return await self._store.once(request, delete)
                except Exception:
                    self._pools.restore(pools)
                    raise

        if pools:
            return await to_its_end(without_seats())
        return await self._store.once(request, delete)

    async def begin_deactivation(
        self, request: Request[Deactivation], account: str, license: str, id: str, who: Who
    ) -> bytes:
        """Ask a key to give an activation back."""

        def begin(unit: Unit) -> Deactivation:
            activation = unit.licenses.activation(account, license, id)
            found = unit.licenses.license(account, license)
            if activation is None or found is None:
                raise not_found(names.ACTIVATION.build(account, license, id))
            self._check_move(unit, found, activation, who)
            waiting = unit.changes.change(account, license, found.waiting_change)
            if waiting is None or waiting.activation != id:  # else this is what it waits for
                self._changes.ready(unit, account, license, self._clock.wall())
            return self._deactivations.begin(unit, activation)

        return await self._store.once(request, begin)

    def _check_move(self, unit: Unit, license: License, activation: Activation, who: Who) -> None:
        """What is lost leaves by another policy (key_losses.py)."""
        place = unit.places.location(activation.account, activation.location)
        if place is None or place.lost_time is None:
            product = product_of(unit, license)
            check_switch(product.switches, Command.MOVE, who, license.name, product.name)

    def _view(self, unit: Unit, activation: Activation) -> ActivationView:
        license = unit.licenses.license(activation.account, activation.license)
        assert license is not None, "an activation has its license"
        publisher = product_of(unit, license).publisher
        contents: Envelope | None = None
        if activation.location_kind is LocationKind.KEY:
            place = unit.places.location(activation.account, activation.location)
            assert place is not None, "an activation has its location"
            now = self._clock.wall()
            contents = key_contents.statement(unit, self._signing, place, publisher, now).contents
        return ActivationView(
            activation,
            parse_envelope(activation.document),
            self._signing.delegation(publisher),
            contents,
        )
