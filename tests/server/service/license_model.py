"""The naive model of an account, with all that is done to its licenses.

Promises: as account_model.py. An activation is known by its number, for a license that comes back to where it was has
another one. `facts` is all that can be seen beside the clouds, each as a few words.

Leaves to others: what is planned in the worlds of the table (cloud_stage.py).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from tests.server.service.account_model import CLOUD, Account, Owned, Refused, command


@dataclass
class Living(Owned):
    """A license whose documents and capacity are looked at, too."""

    kinds: frozenset[str] = frozenset({"cloud", "key", "site"})
    signed: int = 1  # the generation of the document on its key
    over: int = 0  # temporary capacities that have ended
    for_an_hour: bool = False  # its temporary capacity
    suspends: bool = False  # when the hour is over
    returned: set[int] = field(default_factory=set)  # activations that a key has given back


class LivingAccount(Account):
    """An account whose licenses are moved, suspended and changed."""

    owned: list[Living]  # type: ignore[assignment]  # of the wider class

    def __init__(self, *people: str, group: bool = False) -> None:
        super().__init__(*people, group=group)
        self.lost: set[str] = set()  # keys

    def living(self, name: str) -> Living:
        (found,) = (one for one in self.owned if one.name == name)
        return found

    def facts(self) -> set[str]:
        """What is anywhere but in clouds, and of licenses what is not as they are sold."""
        said = {f"{who} suspended" for who, one in self.people.items() if one.suspended}
        said |= {f"{who} gone" for who in self.gone}
        said |= {f"{key} lost" for key in self.lost}
        for one in self.owned:
            said.add(one.name)
            said |= {
                f"{one.name} on {place}" for place in one.places if not place.startswith(CLOUD)
            }
            said |= {f"{one.name} {one.state}"} if one.state != "active" else set()
            said |= {f"{one.name} waits"} if one.waits else set()
            said |= {f"{one.name} x{one.count}"} if one.count > 1 else set()
            said |= {f"{one.name} +{one.extra}"} if one.extra else set()
            said |= {f"{one.name} on keys only"} if "cloud" not in one.kinds else set()
        return said

    # Activations, by their number.

    @command
    def delete(self, name: str, number: int, receipt: int = 0) -> None:
        """Take one back; from a key with the receipt for a document of this generation."""
        one = self.living(name)
        if number in one.returned:
            return
        place = self._at(one, number)
        if receipt and one.waits == place:
            self._leave_key(one, receipt)
            return
        self.ready(name)
        if place.startswith(CLOUD):
            self._leave_cloud(one, place)
            return
        self._check_receipt(one, receipt)
        one.leave(place)
        one.returned.add(number)

    @command
    def move(self, name: str, number: int, target: str) -> None:
        """To another place; from a key once that is reached."""
        one = self.living(name)
        self.ready(name)
        place = self._at(one, number)
        if target.startswith(CLOUD) and target not in dict(self.sessions()):
            raise Refused("NOT_FOUND")
        if one.state != "active":
            raise Refused(f"LICENSE_{one.state.upper()}")
        if target == place:
            raise Refused("FIELD_INVALID")
        self.check(one, target, leaving=place)
        if place.startswith(CLOUD):
            self._leave_cloud(one, place)
            self.put(one, target)
        else:
            one.waits, one.target = place, target

    @command
    def recover(self, name: str, number: int) -> None:
        """From a key that is lost by this."""
        one = self.living(name)
        self.ready(name)
        place = self._at(one, number)
        one.leave(place)
        self.lost.add(place)

    # What waits for a key.

    @command
    def reach(self, name: str) -> None:
        """The key that is waited for has signed that the license is gone."""
        one = self.living(name)
        if not one.waits:
            raise Refused("NOT_FOUND")
        self._leave_key(one, one.signed)

    @command
    def cancel(self, name: str) -> None:
        one = self.living(name)
        if not one.waits:
            raise Refused("NOT_FOUND")
        one.waits = one.target = ""
        one.signed += 1

    @command
    def lose(self, key: str) -> None:
        """A key is reported lost: nobody waits for it any more."""
        self.lost.add(key)

    # The license itself.

    @command
    def suspend(self, name: str) -> None:
        self._to(name, "suspended", "active")

    @command
    def let_go_on(self, name: str) -> None:
        self._to(name, "active", "suspended")

    @command
    def revoke(self, name: str) -> None:
        self._to(name, "revoked", "active", "suspended")

    @command
    def edit(
        self, name: str, *, count: int | None = None, kinds: frozenset[str] | None = None
    ) -> None:
        one = self.living(name)
        self.ready(name)
        if one.state == "revoked":
            raise Refused("LICENSE_REVOKED")
        if count is not None:
            one.count = count
        if kinds is not None:
            one.kinds = kinds
        for place in [place for place in one.places if place.startswith(CLOUD)]:
            if "cloud" not in one.kinds:
                one.leave(place)
        one.signed += 1

    @command
    def add_capacity(self, name: str) -> None:
        one = self.living(name)
        self.ready(name)
        one.extra += 1

    @command
    def remove_capacity(self, name: str) -> None:
        one = self.living(name)
        if not one.extra + one.over:
            raise Refused("NOT_FOUND")
        self._end_capacity(one)
        one.over = 0

    @command
    def an_hour(self) -> None:
        """What was planned for it happens."""
        for one in self.owned:
            if one.suspends:
                one.suspends, one.state = False, "suspended"
            if one.for_an_hour:
                one.over += one.extra
                self._end_capacity(one)

    # Rules.

    def _at(self, one: Living, number: int) -> str:
        for place, there in one.places.items():
            if there == number:
                return place
        raise Refused("NOT_FOUND")

    def _leave_cloud(self, one: Living, place: str) -> None:
        one.leave(place)
        dict(self.sessions())[place].automatic = False

    def _leave_key(self, one: Living, receipt: int) -> None:
        target = one.target if one.target in dict(self.sessions()) else ""
        if target:
            self.check(one, target, leaving=one.waits)
        self._check_receipt(one, receipt)
        one.returned.add(one.places[one.waits])
        one.leave(one.waits)
        if target:
            self.put(one, target)
        one.waits = one.target = ""

    def _check_receipt(self, one: Living, receipt: int) -> None:
        if receipt != one.signed:
            raise Refused("DOCUMENT_SUPERSEDED")

    def settle(self) -> None:
        for one in self.owned:
            if one.waits in self.lost:
                with suppress(Refused):
                    self._leave_key(one, one.signed)
        super().settle()

    def _to(self, name: str, state: str, *before: str) -> None:
        one = self.living(name)
        self.ready(name)
        if one.state not in before:
            raise Refused("LICENSE_REVOKED" if one.state == "revoked" else "LICENSE_UNSUITABLE")
        one.state = state

    def _end_capacity(self, one: Living) -> None:
        one.extra = 0
        for place in list(one.by_extra):
            one.leave(place)
