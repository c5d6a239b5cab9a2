"""Changes of licenses that are recorded and not applied yet: planned for a moment, or waiting for a key.

Promises: pure. What is due is applied first, oldest first; what waits for a key is in the way of everything else
(`check_ready`), until the key was reached or the change is canceled (LIC-9). A change knows all that it needs, so
that applying it later asks nobody.

Leaves to others: applying them (service/license_changes.py), the state table (license_life.py).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeVar

from keypeg import names
from keypeg.errors import PendingChange
from keypeg.v1 import error_pb2, explanation_pb2

from .license import Feature, License
from .license_life import Command
from .location import LocationKind

_T = TypeVar("_T")


class ChangeKind(enum.IntEnum):
    """keypeg.v1.LicenseChangeKind, but for its zero."""

    SUSPEND = 1
    RESUME = 2
    REVOKE = 3
    EDIT = 4
    MOVE = 5

    @property
    def command(self) -> Command:
        return _COMMANDS[self]


_COMMANDS: Final[Mapping[ChangeKind, Command]] = MappingProxyType(
    {
        ChangeKind.SUSPEND: Command.SUSPEND,
        ChangeKind.RESUME: Command.RESUME,
        ChangeKind.REVOKE: Command.REVOKE,
        ChangeKind.EDIT: Command.CHANGE,
        ChangeKind.MOVE: Command.MOVE,
    }
)
assert set(_COMMANDS) == set(ChangeKind)


@dataclass(frozen=True)
class Edit:
    """What a license becomes; None: as before."""

    activation_count: int | None = None
    seat_count: int | None = None
    features: tuple[Feature, ...] | None = None
    allowed_locations: frozenset[LocationKind] | None = None
    expire_time: datetime | None = None
    without_expire_time: bool = False
    term_days: int | None = None
    maintenance_end_time: datetime | None = None

    def of(self, license: License) -> License:
        """The license as it becomes."""

        ends = None if self.without_expire_time else _so(self.expire_time, license.expire_time)
        return replace(
            license,
            activation_count=_so(self.activation_count, license.activation_count),
            seat_count=_so(self.seat_count, license.seat_count),
            features=_so(self.features, license.features),
            allowed_locations=_so(self.allowed_locations, license.allowed_locations),
            expire_time=ends,
            term_days=_so(self.term_days, license.term_days),
            maintenance_end_time=_so(self.maintenance_end_time, license.maintenance_end_time),
        )


def _so(new: _T | None, before: _T) -> _T:
    return before if new is None else new


@dataclass(frozen=True)
class LicenseChange:
    """One change that is not applied yet."""

    account: str  # id
    license: str  # id
    id: str
    kind: ChangeKind
    reason: str
    user: str  # name of who recorded it
    by_publisher: bool
    create_time: datetime
    apply_time: datetime | None = None  # None: as soon as possible
    activation: str = ""  # id, of a move
    target: str = ""  # id of a location; empty to take the activation back
    edit: Edit = Edit()
    waits_for: str = ""  # id of a key's location, which must be reached

    @property
    def name(self) -> str:
        return names.LICENSE_CHANGE.build(self.account, self.license, self.id)

    def due(self, now: datetime) -> bool:
        """Whether it is to be applied now, if it can be."""
        return self.apply_time is None or self.apply_time <= now


def in_order(changes: Iterable[LicenseChange]) -> list[LicenseChange]:
    """In which they are applied: by the moment for which they are meant, then by age."""
    return sorted(changes, key=lambda one: (one.apply_time or one.create_time, one.id))


def marked(license: License, changes: Iterable[LicenseChange]) -> License:
    """The license, marked with what is recorded for it: what waits, and when the next is due."""
    waiting = [one for one in in_order(changes) if one.waits_for]
    times = [one.apply_time or one.create_time for one in in_order(changes) if not one.waits_for]
    return replace(
        license,
        waits_for=waiting[0].waits_for if waiting else "",
        waiting_change=waiting[0].id if waiting else "",
        next_change_time=min(times, default=None),
    )


def due(license: License, now: datetime) -> bool:
    """Whether a planned change is to be applied before anything else, and can be."""
    next_time = license.next_change_time
    return next_time is not None and next_time <= now and not license.waits_for


def check_ready(license: License) -> None:
    """PendingChange while a change waits for a key."""
    if not license.waits_for:
        return
    change = names.LICENSE_CHANGE.build(license.account, license.id, license.waiting_change)
    key = names.LOCATION.build(license.account, license.waits_for)
    error = PendingChange(
        f"A change of {license.name} comes first, and waits for the key {key}: plug it in where a bridge runs, "
        "and run: keypeg key refresh. If the key is lost, report it: "
        f"keypeg key report-lost {license.waits_for}",
        license=license.name,
        change=change,
        location=key,
    )
    explanation = explanation_pb2.Explanation(
        reason=error_pb2.REASON_PENDING_CHANGE, sentence=error.sentence, metadata=error.metadata
    )
    for action, resource, sentence in (
        ("plug_in", key, "Plug the key in where a bridge runs, and run: keypeg key refresh"),
        ("report_lost", key, f"If it is lost: keypeg key report-lost {license.waits_for}"),
        (
            "cancel_change",
            change,
            f"Who recorded it can cancel it: keypeg license cancel {license.waiting_change}",
        ),
    ):
        explanation.remedies.add(action=action, resource=resource, sentence=sentence)
    error.explanation = explanation
    raise error
