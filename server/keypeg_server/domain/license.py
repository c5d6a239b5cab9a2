"""Licenses: whether one may be used, where it may live, and when its term ends.

Promises: pure rules over frozen values. A license lives only at the kinds that it allows, and the refusal
names them (LIC-1); it has no more activations than it was sold with, and the refusal says where they are
(LIC-3); a term in days begins with the first activation anywhere and never again (LIC-5).

Leaves to others: the account's cloud session (cloud_session.py), seats (pool.py), signing.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from keypeg import names
from keypeg.errors import (
    ActivationsExhausted,
    AlreadyExists,
    LicenseExpired,
    LicenseRevoked,
    LicenseSuspended,
    LicenseUnsuitable,
    LocationNotAllowed,
)
from keypeg.versions import Coverage

from .capacity import Capacity, room, us
from .location import Location, LocationKind, words


class LicenseType(enum.IntEnum):
    """keypeg.v1.LicenseType, but for its zero."""

    PERPETUAL = 1
    SUBSCRIPTION = 2
    NOT_FOR_RESALE = 3
    NOT_FOR_RESALE_SUBSCRIPTION = 4
    TRIAL = 5


class LicenseState(enum.IntEnum):
    """keypeg.v1.LicenseState, but for its zero; EXPIRED is never stored, the clock says it."""

    ACTIVE = 1
    SUSPENDED = 2
    REVOKED = 3
    EXPIRED = 4


@dataclass(frozen=True)
class Feature:
    """A feature that is switched on, with its own seats where it is counted."""

    id: str
    seat_count: int = 0


@dataclass(frozen=True)
class License:
    """What an account may use."""

    account: str  # id
    id: str
    product: str  # name
    type: LicenseType
    state: LicenseState  # as the publisher set it
    allowed_locations: frozenset[LocationKind]
    activation_count: int
    seat_count: int  # 0: not counted
    features: tuple[Feature, ...]
    deposit_time: datetime
    expire_time: datetime | None  # a date; see ends_at for the end of the term
    term_days: int  # 0: none
    first_activate_time: datetime | None
    maintenance_end_time: datetime | None
    external_reference: str
    newest_version: str = ""  # of the app, as dotted numbers; empty for every version
    state_reason: str = ""  # why it was suspended or revoked
    state_by_publisher: bool = False  # whether its publisher did that
    waits_for: str = ""  # id of the key's location which a change waits for (license_change.py)
    waiting_change: str = ""  # id of that change
    next_change_time: datetime | None = None  # when the next planned change is due
    capacities: tuple[Capacity, ...] = ()  # more of it, for a time

    @property
    def name(self) -> str:
        return names.LICENSE.build(self.account, self.id)

    @property
    def counted(self) -> bool:
        return self.seat_count > 0

    @property
    def ends_at(self) -> datetime | None:
        """The end of the term; None when it has none, or has not begun."""
        ends = [] if self.expire_time is None else [self.expire_time]
        if self.term_days and self.first_activate_time is not None:
            ends.append(self.first_activate_time + timedelta(days=self.term_days))
        return min(ends, default=None)

    @property
    def coverage(self) -> Coverage:
        """Which releases of the app it opens."""
        return Coverage(self.newest_version, self.maintenance_end_time)

    def room(self, others: Sequence[Activation], now: datetime) -> Capacity | bool:
        """By what one more activation may be placed; see capacity.room. `others` are there by now."""
        return room(self.activation_count, self.capacities, others, us(now))

    def state_at(self, now: datetime) -> LicenseState:
        """The state that people see."""
        ends = self.ends_at
        ended = self.state is LicenseState.ACTIVE and ends is not None and now >= ends
        return LicenseState.EXPIRED if ended else self.state

    def first_activated(self, now: datetime) -> License:
        """The same license after an activation: its term begins, unless it had begun before."""
        if self.first_activate_time is not None:
            return self
        return replace(self, first_activate_time=now)


@dataclass(frozen=True)
class SeatPool:
    """The seats of one activation and product, by name; who holds them is in pool.py."""

    name: str
    product: str  # name


@dataclass(frozen=True)
class Activation:
    """One of a license's N, placed on a location."""

    account: str  # id
    license: str  # id
    id: str
    location: str  # id
    location_kind: LocationKind
    create_time: datetime
    generation: int
    document: bytes  # the signed LicenseDocument: an Envelope, serialized
    pools: tuple[SeatPool, ...] = ()
    return_nonce: bytes = b""  # while its key is asked to give it back
    capacity: str = ""  # the id of the temporary capacity that it was placed by; empty: none
    expire_time: datetime | None = None  # the end of that

    @property
    def name(self) -> str:
        return names.ACTIVATION.build(self.account, self.license, self.id)

    def ends_with(self, license: License) -> datetime | None:
        """The end of the license's term, or of what the activation was placed by; None for neither."""
        ends = [one for one in (license.ends_at, self.expire_time) if one is not None]
        return min(ends, default=None)

    def over(self, now: datetime) -> bool:
        """Whether what it was placed by has ended."""
        return self.expire_time is not None and now >= self.expire_time

    @property
    def location_name(self) -> str:
        return names.LOCATION.build(self.account, self.location)


def check_usable(license: License, now: datetime) -> None:
    """Refuse a license that is suspended, revoked or at its end."""
    match license.state_at(now):
        case LicenseState.SUSPENDED:
            raise LicenseSuspended(
                f"{license.name} is suspended by {_who(license)}{_why(license)}",
                license=license.name,
                state_reason=license.state_reason,
            )
        case LicenseState.REVOKED:
            raise LicenseRevoked(
                f"{license.name} was revoked by {_who(license)}{_why(license)}",
                license=license.name,
                state_reason=license.state_reason,
            )
        case LicenseState.EXPIRED:
            ended = license.ends_at
            assert ended is not None
            raise LicenseExpired(
                f"{license.name} ended on {ended:%Y-%m-%d %H:%M} UTC; renew it with its publisher.",
                license=license.name,
                expire_time=ended.isoformat(),
            )
        case LicenseState.ACTIVE:
            return


def _who(license: License) -> str:
    by_account = license.state_reason and not license.state_by_publisher
    return "an administrator of its account" if by_account else "its publisher"


def _why(license: License) -> str:
    return f': "{license.state_reason}". Ask there.' if license.state_reason else "; ask why there."


def check_activation(
    license: License, others: Sequence[Activation], location: Location, now: datetime
) -> None:
    """Refuse to activate a license on a location; `others` are its activations by now."""
    check_usable(license, now)
    kind = location.kind
    if kind not in license.allowed_locations:
        allowed = words(license.allowed_locations)
        raise LocationNotAllowed(
            f"{license.name} may not live at a {words([kind])}; it may live at: {allowed}.",
            license=license.name,
            kind=words([kind]),
            allowed=allowed,
        )
    check_suits(license, kind)
    if license.room(others, now) is False:
        where = ", ".join(other.location_name for other in others)
        raise ActivationsExhausted(
            f"All {len(others)} activations of {license.name} are used: {where}. "
            "Take one back, or ask the publisher for more.",
            license=license.name,
            activation_count=str(license.activation_count),
            locations=where,
        )
    for other in others:
        if other.location == location.id:
            raise AlreadyExists(
                f"{license.name} is activated on {other.location_name} already, as {other.name}.",
                license=license.name,
                activation=other.name,
                location=other.location_name,
            )


def check_suits(license: License, kind: LocationKind) -> None:
    """Seats are counted at a site, and a site shares nothing else."""
    if license.counted and kind is not LocationKind.SITE:
        raise LicenseUnsuitable(
            f"{license.name} has {license.seat_count} seats to share, and seats are counted at a site; "
            f"activate it on {names.LOCATION.build(license.account, 'site')}.",
            license=license.name,
            rule="seats_need_a_site",
        )
    if not license.counted and kind is LocationKind.SITE:
        raise LicenseUnsuitable(
            f"{license.name} has no seats to share; a site takes licenses with seats only.",
            license=license.name,
            rule="site_needs_seats",
        )


def may_live(license: License, kind: LocationKind) -> bool:
    """Whether a license may be activated at a kind of location at all."""
    return kind in license.allowed_locations and license.counted == (kind is LocationKind.SITE)
