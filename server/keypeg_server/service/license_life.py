"""Suspending, resuming, revoking, changing, moving and recovering licenses: one use case a method.

Promises: the switches of the product are looked at first, then what comes before (license_changes.py), then the
state; what is planned for later is recorded, and may be canceled by the publisher, or by who may give such a
command in the account. Everything is in the log with its reason (LIC-8, LIC-9).

Leaves to others: what goes with each (license_acts.py, license_edits.py), applying what was recorded (license_changes.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from keypeg import names
from keypeg.document import parse_envelope
from keypeg.errors import FieldInvalid
from keypeg.v1.document_pb2 import Envelope
from keypeg_server.domain.license import Activation, License
from keypeg_server.domain.license_change import ChangeKind, Edit, LicenseChange
from keypeg_server.domain.license_life import Command, Who, check_switch, state_after
from keypeg_server.domain.location import LocationKind
from keypeg_server.service import key_contents
from keypeg_server.service.accounts import found_in, not_found
from keypeg_server.service.cloud_of import check_own, place_for
from keypeg_server.service.deactivations import Deactivation, Deactivations
from keypeg_server.service.license_acts import Act, LicenseActs, Moved, activation_of
from keypeg_server.service.license_changes import LicenseChanges
from keypeg_server.service.licenses import LicenseView, view_of
from keypeg_server.service.placing import product_of
from keypeg_server.service.ports import Clock
from keypeg_server.service.signing import Signing
from keypeg_server.service.store import Page, Request, Store, Unit


@dataclass(frozen=True)
class Asked:
    """What is asked of a license, and by whom."""

    account: str  # id
    license: str  # id
    who: Who
    user: str  # name
    reason: str
    apply_time: datetime | None = None


@dataclass(frozen=True)
class Lived:
    """A license after a command, and the change that is recorded, if it is not applied yet."""

    view: LicenseView
    change: LicenseChange | None = None
    activation: Activation | None = None  # of a move, at its target
    document: Envelope | None = None
    delegation: Envelope | None = None
    contents: Envelope | None = None
    switched: bool = False


class LicenseLife:
    """See the contract's LicenseService, from SuspendLicense on."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_id: Callable[[], str],
        acts: LicenseActs,
        changes: LicenseChanges,
        deactivations: Deactivations,
        signing: Signing,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._acts = acts
        self._changes = changes
        self._deactivations = deactivations
        self._signing = signing

    async def command(self, request: Request[Lived], asked: Asked, kind: ChangeKind) -> bytes:
        """Suspend, resume or revoke."""
        now = self._clock.wall()

        def act(unit: Unit) -> Lived:
            license = self._begin(unit, asked, kind.command, now)
            if _later(asked, now):
                return self._recorded(unit, license, self._change(asked, kind, now))
            self._acts.command(unit, license, kind.command, _act(asked, now))
            return self._lived(unit, asked)

        return await self._store.once(request, act)

    async def edit(self, request: Request[Lived], asked: Asked, edit: Edit) -> bytes:
        """Change what it is."""
        now = self._clock.wall()

        def act(unit: Unit) -> Lived:
            license = self._begin(unit, asked, Command.CHANGE, now)
            if edit == Edit():
                raise FieldInvalid(
                    "Nothing is to be changed; say what.", fields={"edit": "is empty"}
                )
            if _later(asked, now):
                change = replace(self._change(asked, ChangeKind.EDIT, now), edit=edit)
                return self._recorded(unit, license, change)
            self._changes.edited(unit, license, edit, _act(asked, now))
            return self._lived(unit, asked)

        return await self._store.once(request, act)

    async def move(
        self,
        request: Request[Lived],
        asked: Asked,
        activation: str,
        target: str,
        receipt: Envelope | None,
    ) -> bytes:
        """Move an activation (id) to a location (id), or take it back."""
        now = self._clock.wall()

        def act(unit: Unit) -> Lived:
            license = self._begin(unit, asked, Command.MOVE, now)
            one = activation_of(unit, asked.account, asked.license, activation)
            check_own(asked.account, one.location, asked.user, asked.who)
            place = (
                place_for(unit, asked.account, target, asked.user, asked.who) if target else None
            )
            if target and place is None:
                raise not_found(names.LOCATION.build(asked.account, target))
            change = replace(
                self._change(asked, ChangeKind.MOVE, now),
                activation=one.id,
                target="" if place is None else place.id,
            )
            if _later(asked, now):
                state_after(license, Command.MOVE, now)
                return self._recorded(unit, license, change)
            moved = self._acts.move(unit, license, one, place, receipt, _act(asked, now))
            if moved.waits_for:
                waiting = replace(change, waits_for=moved.waits_for)
                return self._recorded(unit, license, waiting)
            return self._moved(unit, asked, moved)

        return await self._store.once(request, act)

    async def recover(self, request: Request[Lived], asked: Asked, activation: str) -> bytes:
        """Take an activation (id) back from what is lost."""
        now = self._clock.wall()

        def act(unit: Unit) -> Lived:
            license = self._begin(unit, asked, Command.RECOVER, now)
            one = activation_of(unit, asked.account, asked.license, activation)
            self._acts.recover(unit, license, one, _act(asked, now))
            self._changes.settle(unit, asked.account, now)  # others may have waited for that key
            return self._lived(unit, asked)

        return await self._store.once(request, act)

    # What is recorded.

    async def list_changes(
        self, account: str, license: str | None, page: Page
    ) -> list[LicenseChange]:
        def look(unit: Unit) -> list[LicenseChange]:
            if license is not None and unit.licenses.license(account, license) is None:
                raise not_found(names.LICENSE.build(account, license))
            return found_in(unit, account, unit.changes.list_changes(account, license, page))

        return await self._store.read(look)

    async def begin_change(self, account: str, license: str, id: str) -> Deactivation:
        """What the key has to do that a change waits for."""

        def look(unit: Unit) -> Deactivation:
            change = _change_of(unit, account, license, id)
            one = activation_of(unit, account, license, change.activation)
            place = unit.places.location(account, one.location)
            assert place is not None, "an activation has its location"
            if not change.waits_for or not one.return_nonce:
                what = "waits for no key; it is applied at its time"
                raise FieldInvalid(f"{change.name} {what}.", fields={"name": what})
            return self._deactivations.told(unit, one, place)

        return await self._store.read(look)

    async def apply_change(
        self, request: Request[Lived], asked: Asked, id: str, receipt: Envelope
    ) -> bytes:
        """Apply a change that waited for a key, by what the key has signed."""
        now = self._clock.wall()

        def act(unit: Unit) -> Lived:
            found = unit.licenses.license(asked.account, asked.license)
            change = _change_of(unit, asked.account, asked.license, id)
            assert found is not None, "a change has its license"
            if not change.waits_for:
                what = "waits for no key; it is applied at its time"
                raise FieldInvalid(f"{change.name} {what}.", fields={"name": what})
            self._changes.with_receipt(unit, found, change, receipt, now)
            return self._lived(unit, asked)

        return await self._store.once(request, act)

    async def cancel_change(self, request: Request[Lived], asked: Asked, id: str) -> bytes:
        """Forget a change, as who could have recorded it."""
        now = self._clock.wall()

        def act(unit: Unit) -> Lived:
            found = unit.licenses.license(asked.account, asked.license)
            change = _change_of(unit, asked.account, asked.license, id)
            assert found is not None, "a change has its license"
            product = product_of(unit, found)
            check_switch(
                product.switches.for_canceling(by_publisher=change.by_publisher),
                change.kind.command,
                asked.who,
                found.name,
                product.name,
            )
            if change.due(now) and not change.waits_for:  # it is there before this
                self._changes.ready(unit, asked.account, asked.license, now)
                raise not_found(change.name)
            self._changes.cancel(unit, found, change, asked.reason)
            return self._lived(unit, asked)

        return await self._store.once(request, act)

    # Inside.

    def _begin(self, unit: Unit, asked: Asked, command: Command, now: datetime) -> License:
        """The license, once what comes before is done, for somebody who may give this command."""
        found = unit.licenses.license(asked.account, asked.license)
        if found is None:
            raise not_found(names.LICENSE.build(asked.account, asked.license))
        product = product_of(unit, found)
        check_switch(product.switches, command, asked.who, found.name, product.name)
        return self._changes.ready(unit, asked.account, asked.license, now)

    def _change(self, asked: Asked, kind: ChangeKind, now: datetime) -> LicenseChange:
        return LicenseChange(
            account=asked.account,
            license=asked.license,
            id=self._new_id(),
            kind=kind,
            reason=asked.reason,
            user=asked.user,
            by_publisher=asked.who is Who.PUBLISHER,
            create_time=now,
            apply_time=asked.apply_time if _later(asked, now) else None,
        )

    def _recorded(self, unit: Unit, license: License, change: LicenseChange) -> Lived:
        self._changes.record(unit, license, change)
        return Lived(view_of(unit, change.account, change.license), change)

    def _lived(self, unit: Unit, asked: Asked) -> Lived:
        return Lived(view_of(unit, asked.account, asked.license))

    def _moved(self, unit: Unit, asked: Asked, moved: Moved) -> Lived:
        lived = replace(self._lived(unit, asked), switched=moved.switched)
        one = moved.activation
        if one is None:
            return lived
        publisher = lived.view.product.publisher
        contents: Envelope | None = None
        if one.location_kind is LocationKind.KEY:
            place = unit.places.location(one.account, one.location)
            assert place is not None, "an activation has its location"
            now = self._clock.wall()
            contents = key_contents.statement(unit, self._signing, place, publisher, now).contents
        return replace(
            lived,
            activation=one,
            document=parse_envelope(one.document),
            delegation=self._signing.delegation(publisher),
            contents=contents,
        )


def _later(asked: Asked, now: datetime) -> bool:
    return asked.apply_time is not None and asked.apply_time > now


def _act(asked: Asked, now: datetime) -> Act:
    return Act(asked.reason, asked.who, now)


def _change_of(unit: Unit, account: str, license: str, id: str) -> LicenseChange:
    found = unit.changes.change(account, license, id)
    if found is None:
        raise not_found(names.LICENSE_CHANGE.build(account, license, id))
    return found
