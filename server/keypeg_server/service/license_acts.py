"""What is done to a license, and all that goes with it, within a unit of work.

Promises: apps that run by it hear of each change once it is on disk; documents that say something else now are
signed anew, with a higher generation; what a key should carry gets a new version (key_contents.py), so that a
bridge hears of it when it asks next; what may be activated now is, in automatic mode (CLOUD-8). Each act is in
the log, with its reason.

Leaves to others: who may (license_life.py), when (license_changes.py), the rules (domain/license_life.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from keypeg import names
from keypeg.errors import ActivateThere, FieldInvalid, LicenseUnsuitable, ReceiptRequired
from keypeg.v1.document_pb2 import Envelope
from keypeg_server.domain.events import LicenseAdded, LicenseChanged
from keypeg_server.domain.license import Activation, License
from keypeg_server.domain.license_life import Command, Who, commanded, state_after
from keypeg_server.domain.location import Location, LocationKind
from keypeg_server.service import key_contents
from keypeg_server.service.accounts import not_found
from keypeg_server.service.deactivations import Deactivations
from keypeg_server.service.key_losses import mark_lost
from keypeg_server.service.placing import Placing, product_of
from keypeg_server.service.store import Unit

_SAID: Final = {
    Command.SUSPEND: "license_suspended",
    Command.RESUME: "license_resumed",
    Command.REVOKE: "license_revoked",
}


@dataclass(frozen=True)
class _There:
    """What is said of a place where somebody has to be."""

    called: str
    there: str
    option: str  # of `keypeg activation create`, there


_THERE: Final = {
    LocationKind.KEY: _There("the key", "where that is plugged in", "--key KEY"),
    LocationKind.HOST: _There("the computer", "by that computer itself", "--here"),
}


@dataclass(frozen=True)
class Act:
    """Why something is done, by whom, and when."""

    reason: str
    who: Who
    now: datetime
    user: str = ""  # name of who recorded it, where nobody asks now


@dataclass(frozen=True)
class Moved:
    """What became of a move."""

    activation: Activation | None = None  # at the target
    switched: bool = False  # to managed mode
    waits_for: str = ""  # id of the key's location that has to be reached first


class LicenseActs:
    """Does it."""

    def __init__(self, placing: Placing, deactivations: Deactivations) -> None:
        self._placing = placing
        self._deactivations = deactivations

    def command(self, unit: Unit, license: License, command: Command, act: Act) -> License:
        """Suspend, resume or revoke."""
        after = commanded(license, command, act.who, act.reason, act.now)
        unit.licenses.update_license(after)
        for activation in self._on_keys(unit, after):
            if command is Command.RESUME:
                self._placing.sign_again(unit, after, activation, act.now)
            else:
                publisher = key_contents.publisher_of(unit, activation)
                key_contents.changed(unit, after.account, activation.location, publisher)
        self._record(unit, after, _SAID[command], act)
        self.changed(unit, after, act.now)
        return after

    def move(
        self,
        unit: Unit,
        license: License,
        activation: Activation,
        target: Location | None,
        receipt: Envelope | None,
        act: Act,
    ) -> Moved:
        """Move an activation, or take it back; from a key with its receipt, else it has to wait for that."""
        state_after(license, Command.MOVE, act.now)
        if target is not None and target.id == activation.location:
            what = f"{activation.name} is there already"
            raise FieldInvalid(f"Nothing moves: {what}.", fields={"target": what})
        source = unit.places.location(activation.account, activation.location)
        assert source is not None, "an activation has its location"
        unmarked = replace(license, waits_for="")  # this is what comes first
        if target is not None:  # all that may be refused is, before anything is changed
            check_there(unit, license, target, act.now)
            self._placing.check(unit, unmarked, target, act.now, leaving=activation)
        switched = False
        match source.kind:
            case LocationKind.CLOUD:
                switched = self._placing.take_out(unit, license, activation, act.now)
            case LocationKind.KEY if receipt is None and source.lost_time is None:
                self._deactivations.ask(unit, activation)
                return Moved(waits_for=source.id)
            case LocationKind.KEY:
                beyond = act.who is Who.PUBLISHER
                self._deactivations.check_gone(unit, activation, receipt, beyond_policy=beyond)
                self._placing.take_back(unit, license, activation)
            case LocationKind.HOST:
                raise ReceiptRequired(
                    f"{activation.name} lives on {source.name}, and is given back from the computer where that "
                    "is. If that is lost: keypeg license recover.",
                    activation=activation.name,
                    location=source.name,
                )
            case LocationKind.SITE:
                raise LicenseUnsuitable(
                    f"{activation.name} shares its seats at {source.name}, and an account has one site; "
                    "take it back with: keypeg activation delete.",
                    license=license.name,
                    rule="site_stays",
                )
        moved: Activation | None = None
        if target is not None:
            moved = self._placing.activate(unit, unmarked, target, act.now)
        self._record(
            unit,
            license,
            "license_moved",
            act,
            activation=activation.name,
            from_location=source.name,
            location="" if target is None else target.name,
        )
        self._placing.license_freed(unit, license.account, act.now)
        return Moved(moved, switched)

    def recover(self, unit: Unit, license: License, activation: Activation, act: Act) -> License:
        """Take an activation back from what is lost; a key is reported lost by this."""
        state_after(license, Command.RECOVER, act.now)
        place = unit.places.location(activation.account, activation.location)
        assert place is not None, "an activation has its location"
        if place.kind in (LocationKind.CLOUD, LocationKind.SITE):
            raise LicenseUnsuitable(
                f"{activation.name} is at {place.name}, which can not be lost; take it back with: "
                "keypeg license move, or keypeg activation delete.",
                license=license.name,
                rule="nothing_lost",
            )
        if place.kind is LocationKind.KEY:
            mark_lost(unit, place, act.reason, act.now)
            beyond = act.who is Who.PUBLISHER
            self._deactivations.check_gone(unit, activation, None, beyond_policy=beyond)
        self._placing.take_back(unit, license, activation)
        self._record(
            unit,
            license,
            "license_recovered",
            act,
            activation=activation.name,
            location=place.name,
        )
        self._placing.license_freed(unit, license.account, act.now)
        return license

    def ask(self, unit: Unit, activation: Activation) -> None:
        """Have a key give a license back, when somebody reaches it."""
        self._deactivations.ask(unit, activation)

    def keep(self, unit: Unit, license: License, activation: Activation, now: datetime) -> None:
        """What a key was asked to give back stays there after all, with a new document."""
        kept = self._deactivations.undo(unit, activation)
        self._placing.sign_again(unit, license, kept, now)

    def changed(self, unit: Unit, license: License, now: datetime) -> None:
        """Tell apps, and activate what is free by this."""
        product = product_of(unit, license)
        account = names.ACCOUNT.build(license.account)
        unit.publish(LicenseChanged(account, license.name, product.opens))
        unit.publish(LicenseAdded(account, license.name, product.opens))
        self.freed(unit, license, now)

    def freed(self, unit: Unit, license: License, now: datetime) -> None:
        """Activate what is free by this."""
        self._placing.license_freed(unit, license.account, now)

    def _on_keys(self, unit: Unit, license: License) -> list[Activation]:
        found = unit.licenses.list_activations(license.account, license.id)
        return [one for one in found if one.location_kind is LocationKind.KEY]

    def _record(self, unit: Unit, license: License, event: str, act: Act, **said: object) -> None:
        unit.record(
            names.ACCOUNT.build(license.account),
            event,
            license=license.name,
            product=license.product,
            reason=act.reason,
            planned_by=act.user,
            **said,
        )


def check_there(unit: Unit, license: License, place: Location, now: datetime) -> None:
    """ActivateThere unless somebody is at the key or computer where it is to live (LIC-12).

    Who has the key plugged in was let to write to it; a computer has just said that it is there, each time for one.
    """
    where = _THERE.get(place.kind)
    if where is None:
        return
    if not unit.places.at_hand(place.account, place.hand_id, now):
        called = " ".join(part for part in (place.display_name, place.serial) if part)
        raise ActivateThere(
            f"{license.name} is activated on {where.called} {place.name} ({called}) only {where.there}. There: "
            f"keypeg activation create {license.id} {where.option}",
            license=license.name,
            location=place.name,
        )
    if place.kind is LocationKind.HOST:
        unit.places.leave_hand(place.account, place.hand_id)


def activation_of(unit: Unit, account: str, license: str, id: str) -> Activation:
    """An activation that is there."""
    found = unit.licenses.activation(account, license, id)
    if found is None:
        raise not_found(names.ACTIVATION.build(account, license, id))
    return found
