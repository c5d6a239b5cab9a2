"""Changes that come first: every action on a license passes `ready`, which applies what is due before it.

Promises: what is planned is applied at its moment by itself (`apply_due`, a second late at most), or before by
whoever does anything with the license; nothing is done while a change waits for a key (LIC-9). A change that can not
be applied any more, for the license is not as it was, is dropped, and the log says so.

Leaves to others: doing it (license_acts.py), the rules (domain/license_change.py), who may (license_life.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from keypeg import names
from keypeg.errors import ActivateThere, KeypegError
from keypeg.v1.document_pb2 import Envelope
from keypeg_server.domain.license import License
from keypeg_server.domain.license_change import (
    ChangeKind,
    Edit,
    LicenseChange,
    check_ready,
    due,
    in_order,
    marked,
)
from keypeg_server.domain.license_life import Who
from keypeg_server.domain.location import Location, LocationKind
from keypeg_server.service.accounts import not_found
from keypeg_server.service.homes_port import acting_for
from keypeg_server.service.license_acts import Act, LicenseActs, Moved, activation_of
from keypeg_server.service.license_edits import LicenseEdits
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Store, Unit

AT_ONCE: Final = 100  # licenses of which changes are applied in one round
_LOG = structlog.get_logger(__name__)


class LicenseChanges:
    """The gate, and what is recorded."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        acts: LicenseActs,
        edits: LicenseEdits,
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._clock = clock
        self._acts = acts
        self._edits = edits
        self._new_id = new_id

    # The gate.

    def ready(self, unit: Unit, account: str, id: str, now: datetime) -> License:
        """The license, after what was to come before; PendingChange when something waits for a key."""
        license = unit.licenses.license(account, id)
        if license is None:
            raise not_found(names.LICENSE.build(account, id))
        license = self.applied(unit, license, now)
        check_ready(license)
        return license

    def settle(self, unit: Unit, account: str, now: datetime) -> None:
        """Apply what is due for any license of an account, and what waits for a lost key."""
        for one in unit.licenses.list_licenses(account):
            if due(one, now) or one.waits_for:  # as it is by now: those before may have changed it
                self._look(unit, account, one.id, now)

    async def apply_due(self, mine: Callable[[str], bool]) -> None:
        """Apply what is due, of the accounts (names) that are this server's."""
        now = self._clock.wall()
        now_us = self._clock.wall_us()
        for one in await self._store.read(lambda unit: unit.changes.due(now_us, AT_ONCE)):
            account = names.ACCOUNT.build(one.account)
            if not mine(account):
                continue
            look = partial(self._look, account=one.account, id=one.license, now=now)
            try:
                with acting_for(account):
                    await self._store.change(look)
            except KeypegError as error:  # the disk, or the home: the next round tries again
                _LOG.warning("planned change not applied", license=one.license, why=str(error))

    def _look(self, unit: Unit, account: str, id: str, now: datetime) -> None:
        license = unit.licenses.license(account, id)
        if license is not None:
            self.applied(unit, license, now)

    # Recording.

    def record(self, unit: Unit, license: License, change: LicenseChange) -> License:
        """Record a change; the license as it is marked now."""
        if change.kind is ChangeKind.MOVE and change.target:
            place = unit.places.location(change.account, change.target)
            if place is not None and place.kind is not LocationKind.CLOUD:
                raise ActivateThere(
                    f"{license.name} can not go to {place.name} by itself; plan to take it back, and activate it there.",
                    license=license.name,
                    location=place.name,
                )
        unit.changes.add_change(change)
        unit.record(
            names.ACCOUNT.build(change.account),
            "license_change_recorded",
            license=license.name,
            change=change.name,
            kind=change.kind.name.lower(),
            reason=change.reason,
            waits_for=_place_name(change),
            apply_time=None if change.apply_time is None else change.apply_time.isoformat(),
        )
        return self._mark(unit, license)

    def edited(self, unit: Unit, license: License, edit: Edit, act: Act) -> License:
        """Change a license; what lives on a key where it may live no more waits for that to be reached."""
        found = self._edits.edit(unit, license, edit, act)
        after = found.license
        for activation in found.to_withdraw:
            self._acts.ask(unit, activation)
            change = LicenseChange(
                account=license.account,
                license=license.id,
                id=self._new_id(),
                kind=ChangeKind.MOVE,
                reason=act.reason,
                user=act.user,
                by_publisher=act.who is Who.PUBLISHER,
                create_time=act.now,
                activation=activation.id,
                waits_for=activation.location,
            )
            after = self.record(unit, after, change)
        return after

    def cancel(self, unit: Unit, license: License, change: LicenseChange, reason: str) -> License:
        """Forget a change; what a key was asked to give back stays there."""
        self._forget(unit, change)
        after = self._mark(unit, license)
        if change.waits_for:
            activation = unit.licenses.activation(change.account, change.license, change.activation)
            if activation is not None and activation.return_nonce:
                self._acts.keep(unit, after, activation, self._clock.wall())
        unit.record(
            names.ACCOUNT.build(change.account),
            "license_change_canceled",
            license=license.name,
            change=change.name,
            kind=change.kind.name.lower(),
            reason=reason,
        )
        return after

    # Applying.

    def applied(self, unit: Unit, license: License, now: datetime) -> License:
        """The license after all that is due and can be applied."""
        if license.waits_for:
            license = self._without_lost_key(unit, license, now)
        while due(license, now):
            changes = unit.changes.list_changes(license.account, license.id)
            change = next(one for one in in_order(changes) if one.due(now) and not one.waits_for)
            license = self._apply(unit, license, change, now)
        return license

    def with_receipt(
        self,
        unit: Unit,
        license: License,
        change: LicenseChange,
        receipt: Envelope | None,
        now: datetime,
    ) -> License:
        """Apply a change that waits for a key, by what the key has signed; the refusal when that is not right."""
        self._move(unit, license, change, receipt, now)
        self._forget(unit, change)
        return self.applied(unit, self._mark(unit, license), now)

    def _without_lost_key(self, unit: Unit, license: License, now: datetime) -> License:
        """A key that was reported lost confirms nothing any more; what it carried may leave it, or not yet."""
        place = unit.places.location(license.account, license.waits_for)
        change = unit.changes.change(license.account, license.id, license.waiting_change)
        if place is None or place.lost_time is None or change is None:
            return license
        try:
            return self.with_receipt(unit, license, change, None, now)
        except KeypegError:  # its publisher's policy, before anything was changed
            return license

    def _apply(self, unit: Unit, license: License, change: LicenseChange, now: datetime) -> License:
        act = _act(change, now)
        try:
            match change.kind:
                case ChangeKind.SUSPEND | ChangeKind.RESUME | ChangeKind.REVOKE:
                    license = self._acts.command(unit, license, change.kind.command, act)
                case ChangeKind.EDIT:
                    license = self.edited(unit, license, change.edit, act)
                case ChangeKind.MOVE:
                    moved = self._move(unit, license, change, None, now)
                    if moved.waits_for:
                        unit.changes.update_waits_for(replace(change, waits_for=moved.waits_for))
                        return self._mark(unit, license)
        except KeypegError as error:
            unit.record(
                names.ACCOUNT.build(change.account),
                "license_change_dropped",
                license=license.name,
                change=change.name,
                kind=change.kind.name.lower(),
                why=error.sentence,
            )
        self._forget(unit, change)
        return self._mark(unit, license)

    def _move(
        self,
        unit: Unit,
        license: License,
        change: LicenseChange,
        receipt: Envelope | None,
        now: datetime,
    ) -> Moved:
        activation = activation_of(unit, change.account, change.license, change.activation)
        target = _target_of(unit, change)
        return self._acts.move(unit, license, activation, target, receipt, _act(change, now))

    def _forget(self, unit: Unit, change: LicenseChange) -> None:
        unit.changes.delete_change(change)

    def _mark(self, unit: Unit, license: License) -> License:
        """The license as it is on disk, marked with what is recorded for it."""
        there = unit.licenses.license(license.account, license.id)
        assert there is not None, "licenses stay"
        after = marked(there, unit.changes.list_changes(license.account, license.id))
        if after != there:
            unit.licenses.update_license(after)
        if there.waits_for and not after.waits_for:  # automatic mode left it alone until now
            self._acts.freed(unit, after, self._clock.wall())
        return after


def _target_of(unit: Unit, change: LicenseChange) -> Location | None:
    """Where a move goes; None when it takes the activation back.

    What a key was asked for is taken back also when the cloud is no more to which it was to go.
    """
    if not change.target:
        return None
    place = unit.places.location(change.account, change.target)
    if place is None and not change.waits_for:
        raise not_found(names.LOCATION.build(change.account, change.target))
    return place


def _act(change: LicenseChange, now: datetime) -> Act:
    who = Who.PUBLISHER if change.by_publisher else Who.ADMIN
    return Act(change.reason, who, now, change.user)


def _place_name(change: LicenseChange) -> str:
    return names.LOCATION.build(change.account, change.waits_for) if change.waits_for else ""
