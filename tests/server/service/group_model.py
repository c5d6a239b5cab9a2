"""A naive model of a group: members with a cloud session each, and licenses that they share; nothing of the server's.

Promises: commands say `ok`, or the reason of the refusal; `shown` is all that can be seen of a member, as one line.

Leaves to others: comparing it with the server (test_group_model.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Shared:
    """A license of the model: `product` is what its copies have in common."""

    name: str
    product: str
    count: int
    cloud_capable: bool
    clouds: set[str] = field(default_factory=set)  # members
    on_keys: set[str] = field(default_factory=set)

    @property
    def is_free(self) -> bool:
        return len(self.clouds) + len(self.on_keys) < self.count


@dataclass
class Person:
    """A member with their cloud session."""

    name: str
    device: str = ""  # empty: closed
    since: int = 0
    automatic: bool = True
    suspended: bool = False


class Group:
    """An account that is a group."""

    def __init__(self) -> None:
        self.owned: list[Shared] = []  # the oldest first
        self.people: dict[str, Person] = {}
        self._time = 0

    def find(self, name: str) -> Shared:
        (found,) = (one for one in self.owned if one.name == name)
        return found

    def shown(self, member: str) -> str:
        """As `a automatic: daw eq`, with what is in the member's cloud."""
        one = self.people[member]
        there = " ".join(sorted(o.name for o in self.owned if member in o.clouds)) or "-"
        mode = "automatic" if one.automatic else "managed"
        return f"{one.device or 'closed'} {mode}: {there}"

    # Commands.

    def open(self, member: str, device: str) -> str:
        one = self.people[member]
        if one.suspended:
            return "MEMBER_SUSPENDED"
        if one.device != device:
            self._time += 1
            one.device, one.since = device, self._time
        return self.settled()

    def close(self, member: str) -> str:
        one = self.people[member]
        if one.device and one.automatic:
            self._empty(member)
        one.device = ""
        return self.settled()

    def set_mode(self, member: str, *, automatic: bool) -> str:
        one = self.people[member]
        if automatic and not one.automatic and not one.device:
            self._empty(member)
        one.automatic = automatic
        return self.settled()

    def deposit(self, shared: Shared) -> str:
        self.owned.append(shared)
        return self.settled()

    def put_in(self, member: str, name: str) -> str:
        one, person = self.find(name), self.people[member]
        if member in one.clouds:
            return "ok"
        if not one.cloud_capable:
            return "LOCATION_NOT_ALLOWED"
        if not one.is_free:
            return "ACTIVATIONS_EXHAUSTED"
        if person.automatic and self._has_copy(member, one):
            return "LICENSE_UNSUITABLE"
        if person.suspended:
            return "MEMBER_SUSPENDED"
        one.clouds.add(member)
        return "ok"

    def take_out(self, member: str, name: str) -> str:
        one = self.find(name)
        if member in one.clouds:
            one.clouds.remove(member)
            self.people[member].automatic = False
        return self.settled()

    def put_on_key(self, name: str, key: str) -> str:
        one = self.find(name)
        if not one.is_free:
            return "ACTIVATIONS_EXHAUSTED"
        if key in one.on_keys:
            return "ALREADY_EXISTS"
        one.on_keys.add(key)
        return "ok"

    def give_back(self, name: str, key: str) -> str:
        self.find(name).on_keys.remove(key)
        return self.settled()

    def end(self, member: str, *, suspend: bool) -> str:
        one = self.people[member]
        one.device, one.suspended = "", one.suspended or suspend
        self._empty(member)
        return self.settled()

    def resume(self, member: str) -> str:
        self.people[member].suspended = False
        return "ok"

    def remove(self, member: str) -> str:
        self._empty(member)
        del self.people[member]
        return self.settled()

    # Rules.

    def _empty(self, member: str) -> None:
        for one in self.owned:
            one.clouds.discard(member)

    def _has_copy(self, member: str, one: Shared) -> bool:
        return any(
            member in other.clouds and other.product == one.product and other is not one
            for other in self.owned
        )

    def settled(self) -> str:
        """Who waits for longest first: put in what is free and wanted, take out what is there twice; until all is quiet."""
        waiting = [one for one in self.people.values() if one.device and one.automatic]
        waiting.sort(key=lambda one: one.since)
        again = True
        while again:
            again = False
            for person in waiting:
                for one in self.owned:
                    wants = one.cloud_capable and person.name not in one.clouds and one.is_free
                    if wants and not self._has_copy(person.name, one):
                        one.clouds.add(person.name)
                        again = True
                for one in reversed(self.owned):
                    if person.name in one.clouds and self._has_copy(person.name, one):
                        one.clouds.remove(person.name)
                        again = True
        return "ok"
