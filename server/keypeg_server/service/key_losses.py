"""Lost keys: reported, refused from then on, and replaced (KEY-8).

Promises: a report is final: a key that turns up again has to be reset and enrolled anew. Licenses move to
another key as often, and as long after the report, as their publisher allows, each by itself; what moves gets a
new document with a higher generation, so that whoever has seen it refuses that of the lost key.

Leaves to others: freeing them without a replacement (deactivations.py), writing them to the replacement (its
bridge), the policy (domain/key_loss.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import structlog

from keypeg import names
from keypeg.errors import AlreadyExists, FieldInvalid, KeyLost, KeypegError
from keypeg_server.domain.events import LicenseAdded
from keypeg_server.domain.key_loss import Move, check, free_time
from keypeg_server.domain.license import Activation, License, check_usable
from keypeg_server.domain.license_change import check_ready
from keypeg_server.domain.location import Location, LocationKind
from keypeg_server.domain.product import Product
from keypeg_server.service import key_contents
from keypeg_server.service.accounts import not_found
from keypeg_server.service.placing import product_of
from keypeg_server.service.ports import Clock
from keypeg_server.service.signing import Signing
from keypeg_server.service.store import Request, Store, Unit

_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Outlook:
    """What becomes of one license of a lost key."""

    activation: str  # name
    product: str  # name
    free_time: datetime | None  # None: its publisher decides
    refusal: str = ""


@dataclass(frozen=True)
class Loss:
    """A lost key, and its licenses."""

    location: Location
    outlooks: tuple[Outlook, ...]


@dataclass(frozen=True)
class Replacement:
    """A key that has taken the place of another one."""

    location: Location
    moved: tuple[Outlook, ...]
    left: tuple[Outlook, ...]


class Changes(Protocol):
    """What waits for keys (license_changes.py)."""

    def settle(self, unit: Unit, account: str, now: datetime) -> None:
        """Apply what is due for any license of an account, and what waits for a lost key."""
        ...


class KeyLosses:
    """Reports and replacements."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        signing: Signing,
        new_id: Callable[[], str],
        changes: Changes,
    ) -> None:
        self._changes = changes
        self._store = store
        self._clock = clock
        self._signing = signing
        self._new_id = new_id

    async def report(self, request: Request[Loss], account: str, id: str, reason: str) -> bytes:
        """The key is lost, or broken. A second report changes nothing."""
        now = self._clock.wall()

        def reported(unit: Unit) -> Loss:
            key = _key(unit, account, id, "name")
            key = mark_lost(unit, key, reason, now)
            self._changes.settle(unit, account, now)  # nobody waits for it any more
            return Loss(key, self._outlooks(unit, key, now))

        return await self._store.once(request, reported)

    async def replace(
        self,
        request: Request[Replacement],
        account: str,
        lost: str,
        replacement: str,
        *,
        beyond_policy: bool,
    ) -> bytes:
        """Move what may move; `beyond_policy` for the publisher's staff."""
        now = self._clock.wall()

        def moved(unit: Unit) -> Replacement:
            old = _key(unit, account, lost, "name")
            new = _key(unit, account, replacement, "replacement")
            if old.lost_time is None:
                raise _wrong("name", f"{old.name} was not reported lost; report it first, if it is")
            if new.lost_time is not None:
                raise KeyLost(
                    f"{new.name} was reported lost itself; choose another.", location=new.name
                )
            done: list[Outlook] = []
            left: list[Outlook] = []
            for activation in key_contents.living_on(unit, old):
                outlook = self._outlook(unit, old, activation, now)
                try:
                    self._move(unit, activation, old, new, now, beyond_policy=beyond_policy)
                    done.append(replace(outlook, refusal=""))
                except KeypegError as error:
                    left.append(replace(outlook, refusal=error.sentence))
            return Replacement(new, tuple(done), tuple(left))

        return await self._store.once(request, moved)

    def _move(
        self,
        unit: Unit,
        activation: Activation,
        old: Location,
        new: Location,
        now: datetime,
        *,
        beyond_policy: bool,
    ) -> None:
        """Refuses before it changes anything."""
        license, product = _license(unit, activation)
        assert old.lost_time is not None
        check_ready(license)
        check_usable(license, now)
        if not beyond_policy:
            moves = unit.keys.moves(license.account, license.id)
            check(product.key_loss, old.lost_time, moves, now, activation.name)
        others = unit.licenses.list_activations(license.account, license.id)
        if any(one.location == new.id for one in others):
            raise AlreadyExists(
                f"{license.name} lives on {new.name} already; take {activation.name} back instead.",
                license=license.name,
            )
        version = key_contents.changed(unit, new.account, new.id, product.publisher)
        there = replace(
            activation, location=new.id, generation=activation.generation + 1, return_nonce=b""
        )
        document = self._signing.sign_license(license, product, there, new, now, version)
        unit.licenses.update_activation(replace(there, document=document.SerializeToString()))
        unit.keys.add_move(
            Move(
                id=self._new_id(),
                account=license.account,
                license=license.id,
                activation=activation.id,
                from_location=old.id,
                to_location=new.id,
                time=now,
            )
        )
        account = names.ACCOUNT.build(license.account)
        unit.record(
            account,
            "activation_moved",
            activation=activation.name,
            product=product.name,
            location=new.name,
            from_location=old.name,
            beyond_policy=beyond_policy or None,
        )
        unit.publish(LicenseAdded(account, license.name, product.opens))

    def _outlooks(self, unit: Unit, key: Location, now: datetime) -> tuple[Outlook, ...]:
        return tuple(
            self._outlook(unit, key, one, now) for one in key_contents.living_on(unit, key)
        )

    def _outlook(self, unit: Unit, key: Location, activation: Activation, now: datetime) -> Outlook:
        license, product = _license(unit, activation)
        assert key.lost_time is not None
        moves = unit.keys.moves(license.account, license.id)
        free = free_time(product.key_loss, key.lost_time, moves, now)
        refusal = ""
        try:
            check_usable(license, now)
            check(product.key_loss, key.lost_time, moves, now, activation.name)
        except KeypegError as error:
            refusal = error.sentence
        return Outlook(activation.name, product.name, free, refusal)


def mark_lost(unit: Unit, key: Location, reason: str, now: datetime) -> Location:
    """The key as it is once it was reported lost; a second report changes nothing."""
    if key.lost_time is not None:
        return key
    lost = replace(key, lost_time=now, lost_reason=reason)
    unit.places.update_location(lost)
    for publisher in unit.keys.versions(key.account, key.id):
        key_contents.changed(unit, key.account, key.id, publisher)
    unit.record(
        names.ACCOUNT.build(key.account),
        "key_lost",
        location=key.name,
        card=key.card_id,
        model=key.model,
        serial=key.serial,
        reason=reason,
    )
    _LOG.warning("key reported lost", location=key.name)
    return lost


def _license(unit: Unit, activation: Activation) -> tuple[License, Product]:
    license = unit.licenses.license(activation.account, activation.license)
    assert license is not None, "an activation has its license"
    return license, product_of(unit, license)


def _key(unit: Unit, account: str, id: str, field: str) -> Location:
    location = unit.places.location(account, id)
    if location is None:
        raise not_found(names.LOCATION.build(account, id))
    if location.kind is not LocationKind.KEY:
        raise _wrong(field, f"{location.name} is no key")
    return location


def _wrong(field: str, what: str) -> FieldInvalid:
    return FieldInvalid(f"This can not be done: {what}.", fields={field: what})
