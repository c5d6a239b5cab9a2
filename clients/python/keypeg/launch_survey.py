"""What an account owns of a product, and where that could be used from this computer.

Promises: pure. Whether opening the cloud session would help, and each kind of place with the reason why not. The
server decides again, by its own rules, when something is changed.

Leaves to others: finding it out (launch_work), what becomes of it (launch_flow).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from keypeg.launch_steps import Place

CALLED: Final = {
    "cloud": "The cloud",
    "key": "A USB key",
    "host": "This computer",
    "site": "Shared seats",
}
ACTIVE: Final = "active"
SHOWN: Final = 3  # places that a sentence names


@dataclass(frozen=True)
class Used:
    """Where an activation of a license is."""

    kind: str
    called: str


@dataclass(frozen=True)
class Owned:
    """A license that opens the product."""

    name: str
    state: str  # `active`, `suspended`, `revoked` or `expired`
    allowed: frozenset[str]  # kinds of place
    activation_count: int
    used: tuple[Used, ...] = ()

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


@dataclass(frozen=True)
class Key:
    """A key that is plugged in."""

    called: str
    enrolled: bool


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
                and (one.is_at("cloud") or (self.cloud.mode == "automatic" and self._fits(one)))
                for one in self.licenses
            )
        )

    @property
    def to_put(self) -> Owned | None:
        """The license to put into the cloud, in managed mode; None when there is none, or it is no use."""
        if self.cloud.mode != "managed" or any(one.is_at("cloud") for one in self._usable):
            return None
        return next(filter(self._fits, self.licenses), None)

    @property
    def places(self) -> tuple[Place, ...]:
        """Each kind of place, the usable ones first; shared seats where they are allowed at all."""
        if self.is_blind:
            return ()
        found = [self._cloud(), self._key(), self._host()]
        if any("site" in one.allowed for one in self.licenses):
            found.append(self._site())
        return tuple(sorted(found, key=lambda one: not one.usable))

    @property
    def _usable(self) -> tuple[Owned, ...]:
        return tuple(one for one in self.licenses if one.is_active)

    @staticmethod
    def _fits(one: Owned) -> bool:
        return one.is_active and "cloud" in one.allowed and one.has_free

    def _why_not(self, kind: str) -> str:
        """Why no license can come to this kind of place; empty when one can."""
        if not self.licenses:
            return "your account has no license for it"
        if not self._usable:
            states = sorted({one.state for one in self.licenses})
            return f"your license is {' or '.join(states)}"
        allowed = [one for one in self._usable if kind in one.allowed]
        if not allowed:
            return "its publisher does not allow it"
        if not any(one.has_free or one.is_at(kind) for one in allowed):
            count = sum(one.activation_count for one in allowed)
            where = [used.called for one in allowed for used in one.used]
            return f"all activations ({count}) are in use: {_listed(where)}"
        return ""

    def _cloud(self) -> Place:
        reason = self._why_not("cloud")
        if not reason and self.is_here:
            if self.to_put is None:
                reason = "the cloud session is open here, but does not open it"
            else:
                return _place("cloud", True, "put it there: the cloud session is open here")
        if reason:
            return _place("cloud", False, reason)
        where = f"open on {self.cloud.host_name}" if self.cloud.is_open else "closed"
        return _place("cloud", True, f"the cloud session is {where}")

    def _key(self) -> Place:
        if reason := self._why_not("key"):
            return _place("key", False, reason)
        if self.keys is None:
            return _place("key", False, "no keypeg-bridge runs on this computer; start it")
        if not self.keys:
            return _place("key", False, "none is plugged in")
        enrolled = [one for one in self.keys if one.enrolled]
        if not enrolled:
            called = _listed(one.called for one in self.keys)
            return _place(
                "key", False, f"{called} is not enrolled; enroll it with `keypeg key enroll`"
            )
        called = enrolled[0].called
        return _place("key", True, f"{called}: `keypeg activation create` writes the license to it")

    def _host(self) -> Place:
        if reason := self._why_not("host"):
            return _place("host", False, reason)
        return _place("host", False, "ask your administrator for a license file of this computer")

    def _site(self) -> Place:
        if reason := self._why_not("site"):
            return _place("site", False, reason)
        if any(one.is_at("site") for one in self._usable):
            return _place("site", True, "its seats are shared by the server")
        return _place("site", False, "an administrator activates it at the server first")


def _place(kind: str, usable: bool, says: str) -> Place:
    return Place(kind, CALLED[kind], usable, says)


def _listed(words: Iterable[str]) -> str:
    """Some words as a list; of many, the first ones and how many more."""
    found = list(dict.fromkeys(words))
    more = [f"{len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return ", ".join(found[:SHOWN] + more) or "nowhere"
