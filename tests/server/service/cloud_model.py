"""A naive model of an account's cloud session and licenses: plain lists, plain loops, nothing of the server's.

Promises: `do` runs a command and says `ok`, or the reason of the refusal; `shown` is all that can be seen, as one line.

Leaves to others: comparing it with the server (test_cloud_model.py, test_cloud_pairs.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Owned:
    """A license of the model: `product` is what its copies have in common."""

    name: str
    product: str
    count: int = 1
    cloud_capable: bool = True
    in_cloud: bool = False
    on_keys: set[str] = field(default_factory=set)

    @property
    def used(self) -> int:
        return len(self.on_keys) + (1 if self.in_cloud else 0)


class Model:
    """An account."""

    def __init__(self) -> None:
        self.owned: list[Owned] = []  # the oldest first
        self.device = ""  # which has the cloud session; empty: closed
        self.automatic = True

    def find(self, name: str) -> Owned:
        (found,) = (one for one in self.owned if one.name == name)
        return found

    def shown(self) -> str:
        """As `A automatic: daw eq`, with what is in the cloud."""
        there = " ".join(sorted(one.name for one in self.owned if one.in_cloud)) or "-"
        mode = "automatic" if self.automatic else "managed"
        return f"{self.device or 'closed'} {mode}: {there}"

    # Commands.

    def open(self, device: str, *, keep: bool = False) -> str:
        if keep and self.device not in ("", device):
            return "CLOUD_SESSION_ELSEWHERE"
        self.device = device
        return self.settled()

    def close(self) -> str:
        was_open, self.device = bool(self.device), ""
        if was_open and self.automatic:
            for one in self.owned:
                one.in_cloud = False
        return "ok"

    def set_mode(self, *, automatic: bool) -> str:
        if automatic and not self.automatic and not self.device:
            for one in self.owned:
                one.in_cloud = False
        self.automatic = automatic
        return self.settled()

    def deposit(self, owned: Owned) -> str:
        self.owned.append(owned)
        return self.settled()

    def put_in(self, name: str) -> str:
        one = self.find(name)
        if one.in_cloud:
            return "ok"
        return self.activate_in_cloud(name)

    def activate_in_cloud(self, name: str) -> str:
        """By its activation, where being there already is refused."""
        one = self.find(name)
        if not one.cloud_capable:
            return "LOCATION_NOT_ALLOWED"
        if one.used >= one.count:
            return "ACTIVATIONS_EXHAUSTED"
        if one.in_cloud:
            return "ALREADY_EXISTS"
        if self.automatic and self.has_copy_in_cloud(one):
            return "LICENSE_UNSUITABLE"
        one.in_cloud = True
        return "ok"

    def take_out(self, name: str) -> str:
        one = self.find(name)
        if one.in_cloud:
            one.in_cloud = False
            self.automatic = False
        return "ok"

    def put_on_key(self, name: str, key: str) -> str:
        one = self.find(name)
        if one.used >= one.count:
            return "ACTIVATIONS_EXHAUSTED"
        if key in one.on_keys:
            return "ALREADY_EXISTS"
        one.on_keys.add(key)
        return "ok"

    def give_back(self, name: str, key: str) -> str:
        one = self.find(name)
        if key not in one.on_keys:
            return "nothing"
        one.on_keys.remove(key)
        return self.settled()

    # Rules.

    def has_copy_in_cloud(self, one: Owned) -> bool:
        return any(
            other.in_cloud and other.product == one.product and other is not one
            for other in self.owned
        )

    def settled(self) -> str:
        """Automatic and open: one by one, put in what is free, and take out what is there twice."""
        again = self.automatic and bool(self.device)
        while again:
            again = False
            for one in self.owned:
                free = one.cloud_capable and not one.in_cloud and one.used < one.count
                if free and not self.has_copy_in_cloud(one):
                    one.in_cloud = again = True
            for one in reversed(self.owned):
                if one.in_cloud and self.has_copy_in_cloud(one):
                    one.in_cloud, again = False, True
        return "ok"
