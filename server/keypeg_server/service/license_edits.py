"""Changing what a license is, with all that goes with it, within a unit of work.

Promises: a license stays within what its product allows, and has no fewer activations than are used; documents
are signed anew. Where it may live no more it is taken back: from the cloud at once, from keys when they are
reached. Nothing is changed when something is refused.

Leaves to others: who may and when (license_life.py, license_changes.py), pools in memory (resizing.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from keypeg import names
from keypeg.errors import LicenseUnsuitable
from keypeg_server.domain.license import Activation, License
from keypeg_server.domain.license_change import Edit
from keypeg_server.domain.license_life import Command, state_after
from keypeg_server.domain.location import LocationKind, words
from keypeg_server.service.license_acts import Act, LicenseActs
from keypeg_server.service.licenses import fitted
from keypeg_server.service.placing import Placing, product_of
from keypeg_server.service.store import Unit


@dataclass(frozen=True)
class Edited:
    """A license after a change."""

    license: License
    to_withdraw: tuple[Activation, ...] = ()  # from keys on which it may live no more


class LicenseEdits:
    """Does it."""

    def __init__(self, placing: Placing, acts: LicenseActs) -> None:
        self._placing = placing
        self._acts = acts

    def edit(self, unit: Unit, license: License, edit: Edit, act: Act) -> Edited:
        """Change a license."""
        state_after(license, Command.CHANGE, act.now)
        after = edit.of(license)
        if edit.allowed_locations is not None and not after.allowed_locations:
            after = replace(after, allowed_locations=license.allowed_locations)
        after = fitted(unit, after, product_of(unit, license))
        there = unit.licenses.list_activations(license.account, license.id)
        _check(license, after, there)
        gone = [one for one in there if one.location_kind not in after.allowed_locations]
        unit.licenses.update_license(after)
        for activation in gone:
            if activation.location_kind is LocationKind.CLOUD:
                self._placing.take_back(unit, after, activation)
        for activation in there:
            if activation not in gone:
                self._placing.sign_again(unit, after, activation, act.now)
        unit.record(
            names.ACCOUNT.build(license.account),
            "license_changed",
            license=license.name,
            product=license.product,
            reason=act.reason,
            planned_by=act.user,
            before=_told(license, after),
            after=_told(after, license),
        )
        self._acts.changed(unit, after, act.now)
        keys = [one for one in gone if one.location_kind is LocationKind.KEY]
        return Edited(after, tuple(keys))


def _check(before: License, after: License, there: list[Activation]) -> None:
    if before.counted != after.counted:
        raise LicenseUnsuitable(
            f"{before.name} {'has' if before.counted else 'has no'} seats, which a change leaves so; deposit "
            "another license instead.",
            license=before.name,
            rule="counting_stays",
        )
    where = ", ".join(one.location_name for one in there)
    used = sum(1 for one in there if not one.capacity)
    if after.activation_count < used:
        raise LicenseUnsuitable(
            f"{before.name} is activated {used} times of its own ({where}), which is more than "
            f"{after.activation_count}; take activations back first: keypeg license move.",
            license=before.name,
            rule="activations_used",
            locations=where,
        )
    pooled = (before.seat_count, before.features) != (after.seat_count, after.features)
    if pooled and any(one.pools for one in there):
        raise LicenseUnsuitable(
            f"The seats and features of {before.name} are shared at {where}; take it back from there, change them, "
            "and activate it again.",
            license=before.name,
            rule="seats_are_shared",
            locations=where,
        )
    kinds = {one.location_kind for one in there} - after.allowed_locations
    stay = kinds & {LocationKind.SITE, LocationKind.HOST}
    if stay:
        raise LicenseUnsuitable(
            f"{before.name} lives at a {words(stay)}, and is not taken back from there by this; take it back first.",
            license=before.name,
            rule="in_use_there",
            locations=where,
        )


def _told(license: License, other: License) -> dict[str, object]:
    """What a license has that the other has not, as the log says it."""
    theirs = _facts(other)
    return {key: value for key, value in _facts(license).items() if value != theirs[key]}


def _facts(license: License) -> dict[str, object]:
    return {
        "activations": license.activation_count,
        "seats": license.seat_count,
        "features": {one.id: one.seat_count for one in license.features},
        "locations": words(license.allowed_locations),
        "expires": _day(license.expire_time),
        "term_days": license.term_days,
        "maintenance_ends": _day(license.maintenance_end_time),
    }


def _day(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat()
