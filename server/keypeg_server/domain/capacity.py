"""Temporary capacity of a license: more seats, or more activations, from a planned start to a planned end.

Promises: pure, over frozen values; `to_json` and `from_json` are each other's inverse. What an activation was placed
by ends with it: an activation beyond what the license has of its own is bound to one capacity, and to its end.

Leaves to others: when it is asked (service/capacity_keeping.py), seats (pool_shrinking.py), the disk.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from keypeg.errors import LicenseUnsuitable, LimitExceeded

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)

CAPACITY_LIMIT: Final = 100  # of one license, that have not ended; its document lists them
ENDED_SHOWN: Final = 20  # that have ended and are still listed


class CapacityState(enum.IntEnum):
    """keypeg.v1.CapacityState, but for its zero."""

    PLANNED = 1
    ACTIVE = 2
    ENDED = 3


@dataclass(frozen=True)
class Capacity:
    """More of a license for a time; moments are microseconds since 1970."""

    id: str
    seat_count: int
    activation_count: int
    start_us: int
    end_us: int
    note: str = ""

    def state_at(self, now_us: int) -> CapacityState:
        """Whether it is there now."""
        if now_us < self.start_us:
            return CapacityState.PLANNED
        return CapacityState.ACTIVE if now_us < self.end_us else CapacityState.ENDED

    def active(self, now_us: int) -> bool:
        """Whether it is there now."""
        return self.start_us <= now_us < self.end_us


class Placed(Protocol):
    """An activation, as far as it is looked at here."""

    @property
    def capacity(self) -> str:
        """The id of the capacity that it was placed by; empty for one of the license's own."""
        ...


def us(moment: datetime) -> int:
    """Microseconds since 1970 of a moment."""
    return (moment - _EPOCH) // _US


def to_json(capacities: Iterable[Capacity]) -> str:
    """As one text; empty for none."""
    plain = [asdict(one) for one in capacities]
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False) if plain else ""


def from_json(text: str) -> tuple[Capacity, ...]:
    """What `to_json` wrote."""
    return tuple(Capacity(**one) for one in json.loads(text)) if text else ()


def seats_at(capacities: Iterable[Capacity], now_us: int) -> int:
    """Seats that are there for a time, now."""
    return sum(one.seat_count for one in capacities if one.active(now_us))


def activations_at(capacities: Iterable[Capacity], now_us: int) -> int:
    """Activations that are there for a time, now."""
    return sum(one.activation_count for one in capacities if one.active(now_us))


def next_change_us(capacities: Iterable[Capacity], now_us: int) -> int | None:
    """When one of them begins or ends next; None when nothing more happens."""
    moments = (moment for one in capacities for moment in (one.start_us, one.end_us))
    return min((moment for moment in moments if moment > now_us), default=None)


def falls(capacities: Iterable[Capacity], now_us: int, until_us: int) -> list[int]:
    """The moments after now and up to another at which seats end."""
    ends = {one.end_us for one in capacities if one.seat_count}
    return sorted(end for end in ends if now_us < end < until_us)


def room(
    own: int, capacities: Iterable[Capacity], others: Sequence[Placed], now_us: int
) -> Capacity | bool:
    """By what one more activation may be placed: True for one of the license's own, else the capacity that lasts
    longest; False when there is none. `others` are there by now."""
    used: dict[str, int] = {}
    for other in others:
        used[other.capacity] = used.get(other.capacity, 0) + 1
    if used.get("", 0) < own:
        return True
    free = [
        one
        for one in capacities
        if one.active(now_us) and used.get(one.id, 0) < one.activation_count
    ]
    return max(free, key=lambda one: (one.end_us, one.id), default=False)


def added(
    capacities: Sequence[Capacity], new: Capacity, license: str, *, counted: bool, now_us: int
) -> tuple[Capacity, ...]:
    """With one more; refused where the license has no use for it."""
    if new.seat_count and not counted:
        raise LicenseUnsuitable(
            f"{license} has no seats, so it can not have more for a time; add activations instead.",
            license=license,
            rule="capacity_needs_seats",
        )
    if new.activation_count and counted:
        raise LicenseUnsuitable(
            f"{license} has seats, which live at one site; add seats instead of activations.",
            license=license,
            rule="capacity_needs_activations",
        )
    ended = [one for one in capacities if one.state_at(now_us) is CapacityState.ENDED]
    left = [one for one in capacities if one.state_at(now_us) is not CapacityState.ENDED]
    if len(left) >= CAPACITY_LIMIT:
        raise LimitExceeded(
            f"{license} has {len(left)} temporary capacities that have not ended, which is the limit; remove "
            "one, or wait until one has ended.",
            limit="license.capacities",
            value=str(CAPACITY_LIMIT),
        )
    return (*ended[-ENDED_SHOWN:], *left, new)
