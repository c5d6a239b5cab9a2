"""What an account owns of a product, and which places of this computer it could go to.

Promises: pure. Which places would help an app that finds no license here, and which license would go there. The
server decides again, by its own rules, when something is changed.

Leaves to others: finding it out (launch_finding), what is said of each place (launch_places), what becomes of it
(launch_flow).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

ACTIVE: Final = "active"
CLOUD: Final = "cloud"
PUT: Final = "put"  # into the cloud, in managed mode
KEY: Final = "key"
HOST: Final = "host"
OFFERED: Final = frozenset({CLOUD, KEY, HOST})


@dataclass(frozen=True)
class Used:
    """Where an activation of a license is."""

    kind: str
    called: str
    location: str = ""  # name


@dataclass(frozen=True)
class Owned:
    """A license that opens the product."""

    name: str
    state: str  # `active`, `suspended`, `revoked` or `expired`
    allowed: frozenset[str]  # kinds of place
    activation_count: int
    used: tuple[Used, ...] = ()
    is_counted: bool = False  # it has seats, which are shared at a site and live nowhere else

    @property
    def is_active(self) -> bool:
        """Whether it may be used at all."""
        return self.state == ACTIVE

    @property
    def has_free(self) -> bool:
        """Whether an activation is free."""
        return len(self.used) < self.activation_count

    def is_at(self, kind: str) -> bool:
        """Whether an activation is at a place of this kind."""
        return any(one.kind == kind for one in self.used)

    def lives_on(self, location: str) -> bool:
        """Whether an activation is at this place."""
        return bool(location) and any(one.location == location for one in self.used)

    def may_go(self, kind: str) -> bool:
        """Whether it may live at a kind of place."""
        return kind in self.allowed and self.is_counted == (kind == "site")


@dataclass(frozen=True)
class Key:
    """A key that is plugged in."""

    called: str
    enrolled: bool
    name: str = ""  # as its bridge calls it
    location: str = ""  # name, where the account has enrolled it
    problem: str = ""  # why nothing can be written to it; empty when it can
    is_full: bool = False  # it has no room for one more


@dataclass(frozen=True)
class Host:
    """This computer as a place."""

    called: str
    location: str = ""  # name, where the account knows it
    problem: str = ""  # why it can not be a place; empty when it can


@dataclass(frozen=True)
class Cloud:
    """The account's cloud session."""

    is_open: bool
    mode: str  # `automatic` or `managed`
    device: str = ""  # id of the device that holds it
    host_name: str = ""
    open_time: datetime | None = None


@dataclass(frozen=True)
class Survey:
    """What was found out."""

    user: str  # name of the user who is signed in
    login: str
    account: str  # name of their account
    licenses: tuple[Owned, ...]
    cloud: Cloud
    device: str  # id of this computer
    now: datetime  # in this computer's zone
    keys: tuple[Key, ...] | None = None  # None: no bridge runs
    is_blind: bool = False  # who signed in may not see licenses: by a credential file
    host: Host = Host("this computer", problem="it is not known what it is")

    @property
    def is_here(self) -> bool:
        """Whether the cloud session is open on this computer."""
        return self.cloud.is_open and self.cloud.device == self.device

    @property
    def opening_helps(self) -> bool:
        """Whether an app would find its license once the cloud session is here."""
        return not self.is_here and (
            self.is_blind
            or any(
                one.is_active
                and (one.is_at(CLOUD) or (self.cloud.mode == "automatic" and self._fits(one)))
                for one in self.licenses
            )
        )

    @property
    def is_elsewhere(self) -> bool:
        """Whether it would help, and another device has it."""
        return self.opening_helps and self.cloud.is_open

    @property
    def to_put(self) -> Owned | None:
        """The license to put into the cloud, in managed mode; None when there is none, or it is no use."""
        if self.cloud.mode != "managed" or any(one.is_at(CLOUD) for one in self.usable):
            return None
        return next(filter(self._fits, self.licenses), None)

    @property
    def onto_key(self) -> tuple[Key, Owned] | None:
        """The key that would help, and the license that would go there; what is there already comes first."""
        ready = [
            (key, owned)
            for key in self.keys or ()
            if key.location and not key.problem
            if (owned := self.for_place(KEY, key.location)) is not None
        ]
        writable = (
            pair for pair in ready if not pair[0].is_full or pair[1].lives_on(pair[0].location)
        )
        return min(writable, key=lambda pair: not pair[1].lives_on(pair[0].location), default=None)

    @property
    def onto_host(self) -> Owned | None:
        """The license that would go onto this computer; None when none can."""
        return None if self.host.problem else self.for_place(HOST, self.host.location)

    def helps(self, kinds: Iterable[str]) -> tuple[str, ...]:
        """Which of these kinds of place would help, in the order in which they are offered."""
        wanted = frozenset(kinds)
        found = {
            CLOUD: CLOUD in wanted and self.opening_helps and not self.cloud.is_open,
            PUT: CLOUD in wanted and self.to_put is not None,
            KEY: KEY in wanted and self.onto_key is not None,
            HOST: HOST in wanted and self.onto_host is not None,
        }
        return tuple(place for place, there in found.items() if there)

    def for_place(self, kind: str, location: str) -> Owned | None:
        """The license that would go to a place: one that lives there already, else one that is free."""
        fitting = [one for one in self.usable if one.may_go(kind)]
        there = (one for one in fitting if one.lives_on(location))
        return next(there, next((one for one in fitting if one.has_free), None))

    @property
    def usable(self) -> tuple[Owned, ...]:
        """The licenses that may be used at all."""
        return tuple(one for one in self.licenses if one.is_active)

    @staticmethod
    def _fits(one: Owned) -> bool:
        return one.is_active and one.may_go(CLOUD) and one.has_free
