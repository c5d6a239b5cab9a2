"""A naive model of an account: cloud sessions and licenses, also of a group; plain lists, plain loops, nothing of the server's.

Promises: each command says `ok`, or the reason of its refusal, and then nothing is changed; after each, automatic
mode is settled. `shown` is all that can be seen of a cloud session, as one line.

Leaves to others: what may be done with a license beside clouds and keys (license_model.py); comparing it with the
server (test_cloud_model.py, test_group_model.py, test_cloud_pairs.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

CLOUD = "cloud"  # of an account that is no group; that of a member is `cloud-` and who it is

M = TypeVar("M", bound="Account")
P = ParamSpec("P")


class Refused(Exception):
    """A command that is refused, by the name of the reason."""


def command(method: Callable[Concatenate[M, P], None]) -> Callable[Concatenate[M, P], str]:
    """A command: refused before it changes anything, or done and settled."""

    @wraps(method)
    def done(model: M, /, *args: P.args, **kwargs: P.kwargs) -> str:
        model.time += model.pace
        try:
            method(model, *args, **kwargs)
        except Refused as refused:
            return str(refused)
        model.settle()
        return "ok"

    return done


@dataclass
class Owned:
    """A license of the model: `product` is what its copies have in common."""

    name: str
    product: str
    count: int = 1
    kinds: frozenset[str] = frozenset({"cloud", "key"})
    state: str = "active"
    places: dict[str, int] = field(default_factory=dict)  # with the number of the activation there
    extra: int = 0  # activations more, for a time
    by_extra: set[str] = field(default_factory=set)  # places
    waits: str = ""  # for a key, to leave it
    target: str = ""  # where it goes then

    def room(self, leaving: str = "") -> str:
        """By what one more activation may be there: its `own`, or an `extra` one; empty for none."""
        there = set(self.places) - {leaving}
        if len(there - self.by_extra) < self.count:
            return "own"
        return "extra" if len(there & self.by_extra) < self.extra else ""

    def leave(self, place: str) -> None:
        del self.places[place]
        self.by_extra.discard(place)


@dataclass
class Session:
    """A cloud session."""

    device: str = ""  # empty: closed
    since: int = 0
    automatic: bool = True
    suspended: bool = False


class Account:
    """Personal, or a group; with its people, where anything depends on them."""

    def __init__(self, *people: str, group: bool = False) -> None:
        self.owned: list[Owned] = []  # the oldest first
        self.group = group
        self.own = Session()  # of the account itself
        self.people = {one: Session() for one in people}  # theirs, in a group
        self.gone: set[str] = set()  # people who were there
        self.pace, self.time = 1, 0  # who opened first is told by the time, then by name
        self._numbers = itertools.count(1)

    def find(self, name: str) -> Owned:
        (found,) = (one for one in self.owned if one.name == name)
        return found

    def shown(self, member: str = "") -> str:
        """As `a automatic: daw eq`, with what is in the cloud."""
        session = self._session(member)
        place = self.place(member)
        there = " ".join(sorted(one.name for one in self.owned if place in one.places)) or "-"
        mode = "automatic" if session.automatic else "managed"
        return f"{session.device or 'closed'} {mode}: {there}"

    def place(self, member: str) -> str:
        """The cloud that a member means."""
        return f"{CLOUD}-{member}" if self.group else CLOUD

    # Commands on a cloud session.

    @command
    def open(self, member: str, device: str, *, keep: bool = False) -> None:
        session = self._session(member)
        if session.suspended:
            raise Refused("MEMBER_SUSPENDED")
        if session.device != device:
            if session.device and keep:
                raise Refused("CLOUD_SESSION_ELSEWHERE")
            session.device, session.since = device, self.time

    @command
    def close(self, member: str) -> None:
        session = self._session(member)
        if session.device and session.automatic:
            self.empty(self.place(member))
        session.device = ""

    @command
    def set_mode(self, member: str, *, automatic: bool) -> None:
        session = self._session(member)
        if automatic and not session.automatic and not session.device:
            self.empty(self.place(member))
        session.automatic = automatic

    @command
    def put_in(self, member: str, name: str) -> None:
        self._session(member)
        one, place = self.ready(name), self.place(member)
        if place not in one.places:
            self.check(one, place)
            self.put(one, place)

    @command
    def take_out(self, member: str, name: str) -> None:
        session = self._session(member)
        one, place = self.ready(name), self.place(member)
        if place in one.places:
            one.leave(place)
            session.automatic = False

    # Commands on others', and on the account.

    @command
    def end(self, member: str, *, suspend: bool) -> None:
        session = self._of_member(member)
        session.device, session.suspended = "", session.suspended or suspend
        self.empty(self.place(member))

    @command
    def resume(self, member: str) -> None:
        self._of_member(member).suspended = False

    def join(self, member: str) -> None:
        self.people[member] = Session()

    @command
    def remove(self, member: str) -> None:
        if member not in self.people:
            raise Refused("NOT_FOUND")
        if self.group:
            self.empty(self.place(member))
        del self.people[member]
        self.gone.add(member)

    @command
    def set_group(self, group: bool) -> None:
        if group != self.group:
            for place in [place for place, _ in self.sessions()]:
                self.empty(place)
            self.own.device = ""
            self.people = {one: Session() for one in self.people}
            self.group = group

    # Commands on a license.

    @command
    def deposit(self, owned: Owned) -> None:
        self.owned.append(owned)

    @command
    def activate(self, name: str, place: str) -> None:
        """At a place, where being there already is refused."""
        one = self.ready(name)
        self.check(one, place)
        self.put(one, place)

    @command
    def give_back(self, name: str, key: str) -> None:
        self.find(name).leave(key)

    # Rules.

    def sessions(self) -> list[tuple[str, Session]]:
        """All that there are, with their clouds."""
        if not self.group:
            return [(CLOUD, self.own)]
        return [(self.place(member), self.people[member]) for member in sorted(self.people)]

    def ready(self, name: str) -> Owned:
        """A license of which nothing waits."""
        one = self.find(name)
        if one.waits:
            raise Refused("PENDING_CHANGE")
        return one

    def check(self, one: Owned, place: str, leaving: str = "") -> None:
        """Refuse what a person asks for, to be done once it left another place."""
        kind = "cloud" if place.startswith(CLOUD) else "site" if place == "site" else "key"
        if kind == "cloud" and place not in dict(self.sessions()):
            raise Refused("NOT_FOUND")
        if one.state != "active":
            raise Refused(f"LICENSE_{one.state.upper()}")
        if kind not in one.kinds:
            raise Refused("LOCATION_NOT_ALLOWED")
        if kind == "site":  # takes seats only, and none of the model has any
            raise Refused("LICENSE_UNSUITABLE")
        if not one.room(leaving):
            raise Refused("ACTIVATIONS_EXHAUSTED")
        if place in one.places:
            raise Refused("ALREADY_EXISTS")
        if kind == "cloud":
            self._check_cloud(one, place)

    def _check_cloud(self, one: Owned, place: str) -> None:
        session = dict(self.sessions())[place]
        if session.automatic and any(
            place in other.places and other.state == "active"
            for other in self.owned
            if other.product == one.product and other is not one
        ):
            raise Refused("LICENSE_UNSUITABLE")
        if session.suspended:
            raise Refused("MEMBER_SUSPENDED")

    def put(self, one: Owned, place: str) -> None:
        if one.room() == "extra":
            one.by_extra.add(place)
        one.places[place] = next(self._numbers)

    def empty(self, place: str) -> None:
        """Nothing stays in a cloud."""
        for one in self.owned:
            if place in one.places:
                one.leave(place)

    def settle(self) -> None:
        """Who has waited for longest first, until all is quiet: nothing free stays out of an open, automatic cloud."""
        there = [(one.since, place, one) for place, one in self.sessions()]
        waiting = [place for _, place, one in sorted(there) if one.device and one.automatic]
        quiet = False
        while not quiet:
            quiet = True
            for place, copies in itertools.product(waiting, self._copies()):
                if self._arranged(place, copies):
                    quiet = False

    def _copies(self) -> list[list[Owned]]:
        products = dict.fromkeys(one.product for one in self.owned)
        return [[one for one in self.owned if one.product == product] for product in products]

    def _arranged(self, place: str, copies: list[Owned]) -> bool:
        """Of copies the oldest stays that can be used, or comes, and the others go; whether anything changed."""
        there = [one for one in copies if place in one.places]
        usable = [one for one in copies if one.state == "active"]
        present = [one for one in usable if place in one.places]
        free = [one for one in usable if "cloud" in one.kinds and not one.waits and one.room()]
        if not present and not free:
            return False
        chosen = (present or free)[0]
        if not present:
            self.put(chosen, place)
        for other in there:
            if other is not chosen:
                other.leave(place)
        return there != [chosen]

    def _session(self, member: str) -> Session:
        """That of who asks."""
        if not self.group:
            return self.own
        if member not in self.people:
            raise Refused("MEMBER_REMOVED")
        return self.people[member]

    def _of_member(self, member: str) -> Session:
        """That of a member of a group, by name."""
        if not self.group or member not in self.people:
            raise Refused("NOT_FOUND")
        return self.people[member]
