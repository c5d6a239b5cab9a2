"""The rules that an account may set on a pool: who counts how, who may, and how much.

Promises: frozen values; PLAIN is a pool without rules. A rule names people by their user, by a group that the
rules themselves define, by their host (what the computer calls itself, or its device id: the client's own
word) or by their network (where the connection comes from: the server's own eyes). `check` refuses what can
not be kept. `to_json` and `from_json` are each other's inverse, and equal rules have equal JSON.

Leaves to others: counting (pool_book.py), deciding (pool.py), who may set rules (service/pool_rules.py).
"""

from __future__ import annotations

import enum
import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import Any, Final

from keypeg import names
from keypeg.errors import FieldInvalid
from keypeg_server.domain.lease import Holder

EVERY: Final = "*"  # in a limit: each user, host or address by itself
ENTRIES_LIMIT: Final = 1_000  # entries of one list: every holder is held against each once
GROUP_LIMIT: Final = 10_000  # members of one group
TIME_LIMIT_US: Final = 30 * 24 * 3_600 * 1_000_000  # of linger and ageing: 30 days
BORROW_LIMIT_US: Final = 366 * 24 * 3_600 * 1_000_000  # a year: who needs longer, renews


class Counting(enum.Enum):
    """Which leases share one seat."""

    LEASE = "lease"  # none: each takes its own
    PROCESS = "process"
    SESSION = "session"
    USER_AND_HOST = "user-and-host"
    USER = "user"


class Kind(enum.Enum):
    """By what a rule names people."""

    USER = "user"
    GROUP = "group"
    HOST = "host"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Who:
    """Whom a rule is about."""

    kind: Kind
    name: str  # a user's resource name, a group, a host or device, a network as CIDR; `*` in limits

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Units that only these may use."""

    who: Who
    units: int


@dataclass(frozen=True, slots=True)
class Limit:
    """Units that these may use together at most; with `*` each one by itself."""

    who: Who
    units: int


@dataclass(frozen=True, slots=True)
class Deny:
    """Those who may not use the pool."""

    who: Who
    cut: bool = False  # seats that they hold when the rule comes are recalled


@dataclass(frozen=True, slots=True)
class Group:
    """A name for several."""

    name: str
    members: tuple[Who, ...]  # no groups


@dataclass(frozen=True, slots=True)
class Borrowing:
    """Whether and how seats may be taken offline."""

    longest_us: int = 0  # that a document may hold; 0: no seat can be borrowed
    floor: int = 0  # units that can never be borrowed
    most: int | None = None  # units borrowed at once; None: as many as the floor leaves
    allowed: tuple[Who, ...] = ()  # empty: all who may use the pool


@dataclass(frozen=True, slots=True)
class PoolRules:
    """All rules of a pool; what is not said is off."""

    counting: Counting = Counting.LEASE
    reservations: tuple[Reservation, ...] = ()  # a holder uses the first that names it
    limits: tuple[Limit, ...] = ()
    allowed: tuple[Who, ...] = ()  # empty: all
    denied: tuple[Deny, ...] = ()
    groups: tuple[Group, ...] = ()
    linger_us: int = 0  # for how long a seat that was given back stays with its user
    overdraft: int = 0  # units above the pool's own
    ageing_us: int = 0  # waiting so long is worth one step of priority; 0: no ageing
    queue_length: int | None = None  # places; None: the server's limit
    borrowing: Borrowing = Borrowing()
    write_off: int = 0  # units of lost borrowers that may be given to others before their end

    @property
    def is_plain(self) -> bool:
        """Whether these are no rules at all."""
        return self == PLAIN

    @property
    def count(self) -> bool:
        """Whether there is anything to count by: rules that change how seats are given out."""
        return replace(self, borrowing=Borrowing(), write_off=0, groups=()) != PLAIN

    def subject(self, holder: Holder) -> str:
        """What the holder's leases share a seat by; empty when they do not."""
        match self.counting:
            case Counting.USER:
                return f"user {holder.user}"
            case Counting.USER_AND_HOST:
                return f"host {holder.user} {holder.device}"
            case Counting.PROCESS if holder.process_id:
                return f"process {holder.user} {holder.device} {holder.process_id}"
            case Counting.PROCESS | Counting.SESSION if holder.session:
                return f"session {holder.session}"
        return ""

    def to_json(self) -> str:
        """As one text; empty for PLAIN."""
        return "" if self.is_plain else json.dumps(_plain(self), sort_keys=True)

    @property
    def etag(self) -> str:
        """Differs when the rules differ."""
        return hashlib.blake2b(self.to_json().encode(), digest_size=8).hexdigest()


PLAIN: Final = PoolRules()


@dataclass(frozen=True, slots=True)
class Standing:
    """How the rules see one holder."""

    denied: Deny | None  # the first that names it
    allowed: bool
    reservation: int | None  # which is its own
    limits: tuple[tuple[int, str], ...]  # which it counts towards: a limit, and for `*` whom


@dataclass(slots=True)
class Register:
    """The rules, ready to be held against holders; remembers what it found."""

    rules: PoolRules
    _groups: dict[str, tuple[Who, ...]] = field(init=False)
    _known: dict[tuple[str, str, str, str], Standing] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._groups = {group.name: group.members for group in self.rules.groups}

    def standing(self, holder: Holder) -> Standing:
        """How the rules see this holder."""
        key = (holder.user, holder.device, holder.host_name, holder.address)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= GROUP_LIMIT:
                self._known.clear()
            found = self._known[key] = self._standing(holder)
        return found

    def names(self, who: Who, holder: Holder) -> bool:
        """Whether `who` names this holder."""
        if who.kind is Kind.GROUP:
            return any(self.names(member, holder) for member in self._groups.get(who.name, ()))
        if who.name == EVERY:
            return bool(_own(who.kind, holder))
        if who.kind is Kind.USER:
            return who.name == holder.user
        if who.kind is Kind.HOST:
            return who.name.lower() in (holder.device, holder.host_name.lower())
        return _within(holder.address, who.name)

    def _standing(self, holder: Holder) -> Standing:
        rules = self.rules
        limits = []
        for index, limit in enumerate(rules.limits):
            if self.names(limit.who, holder):
                each = limit.who.name == EVERY
                limits.append((index, _own(limit.who.kind, holder) if each else ""))
        return Standing(
            denied=next((one for one in rules.denied if self.names(one.who, holder)), None),
            allowed=not rules.allowed or any(self.names(one, holder) for one in rules.allowed),
            reservation=next(
                (i for i, one in enumerate(rules.reservations) if self.names(one.who, holder)), None
            ),
            limits=tuple(limits),
        )


def check(rules: PoolRules, capacity: int) -> None:
    """FieldInvalid, with every field that is wrong, for rules that a pool of this size can not keep."""
    wrong: dict[str, str] = {}
    known = {group.name for group in rules.groups}
    if len(known) < len(rules.groups):
        wrong["groups"] = "define the same group twice"
    for index, group in enumerate(rules.groups):
        _check_list(wrong, f"groups[{index}].members", group.members, GROUP_LIMIT, frozenset())
    groups = frozenset(known)
    _check_list(wrong, "allowed", rules.allowed, ENTRIES_LIMIT, groups)
    for name, whos in (
        ("reservations", [one.who for one in rules.reservations]),
        ("denied", [one.who for one in rules.denied]),
    ):
        _check_list(wrong, name, whos, ENTRIES_LIMIT, groups)
    limited = [one.who for one in rules.limits]
    _check_list(wrong, "limits", limited, ENTRIES_LIMIT, groups, every=True)
    reserved = sum(one.units for one in rules.reservations)
    if reserved > capacity:
        wrong["reservations"] = f"keep {reserved} units in all, and the pool has {capacity}"
    if any(one.units < 1 for one in rules.reservations):
        wrong["reservations"] = "keep at least one unit each"
    if any(one.units < 0 for one in rules.limits):
        wrong["limits"] = "are 0 or more"
    for name, value in (("linger", rules.linger_us), ("ageing", rules.ageing_us)):
        if not 0 <= value <= TIME_LIMIT_US:
            wrong[name] = f"is not within {timedelta(microseconds=TIME_LIMIT_US).days} days"
    if not 0 <= rules.overdraft <= capacity:
        wrong["overdraft_units"] = (
            f"are {rules.overdraft}, and at most as many as the pool has: {capacity}"
        )
    _check_borrowing(wrong, rules, capacity, groups)
    if wrong:
        said = "; ".join(f"{field} {what}" for field, what in list(wrong.items())[:3])
        raise FieldInvalid(f"These rules can not be kept: {said}.", fields=wrong)


def from_json(text: str) -> PoolRules:
    """What `to_json` wrote."""
    if not text:
        return PLAIN
    read: dict[str, Any] = json.loads(text)

    def who(one: Any) -> Who:
        return Who(Kind(one[0]), one[1])

    return PoolRules(
        counting=Counting(read["counting"]),
        reservations=tuple(Reservation(who(one[0]), one[1]) for one in read["reservations"]),
        limits=tuple(Limit(who(one[0]), one[1]) for one in read["limits"]),
        allowed=tuple(who(one) for one in read["allowed"]),
        denied=tuple(Deny(who(one[0]), one[1]) for one in read["denied"]),
        groups=tuple(
            Group(one[0], tuple(who(member) for member in one[1])) for one in read["groups"]
        ),
        linger_us=read["linger_us"],
        overdraft=read["overdraft"],
        ageing_us=read["ageing_us"],
        queue_length=read["queue_length"],
        borrowing=_borrowing(read.get("borrowing")),
        write_off=read.get("write_off", 0),
    )


def _borrowing(read: dict[str, Any] | None) -> Borrowing:
    if read is None:  # rules of an older version
        return Borrowing()
    allowed = tuple(Who(Kind(one[0]), one[1]) for one in read["allowed"])
    return Borrowing(read["longest_us"], read["floor"], read["most"], allowed)


def _plain(rules: PoolRules) -> dict[str, Any]:
    def who(one: Who) -> list[str]:
        return [one.kind.value, one.name]

    plain: dict[str, Any] = {
        "counting": rules.counting.value,
        "reservations": [[who(one.who), one.units] for one in rules.reservations],
        "limits": [[who(one.who), one.units] for one in rules.limits],
        "allowed": [who(one) for one in rules.allowed],
        "denied": [[who(one.who), one.cut] for one in rules.denied],
        "groups": [[one.name, [who(member) for member in one.members]] for one in rules.groups],
        "linger_us": rules.linger_us,
        "overdraft": rules.overdraft,
        "ageing_us": rules.ageing_us,
        "queue_length": rules.queue_length,
    }
    # Rules that say nothing of this have the same JSON, and etag, as before there was borrowing.
    if rules.borrowing != Borrowing():
        lent = rules.borrowing
        plain["borrowing"] = {
            "longest_us": lent.longest_us,
            "floor": lent.floor,
            "most": lent.most,
            "allowed": [who(one) for one in lent.allowed],
        }
    if rules.write_off:
        plain["write_off"] = rules.write_off
    return plain


def _check_borrowing(
    wrong: dict[str, str], rules: PoolRules, capacity: int, groups: frozenset[str]
) -> None:
    lent = rules.borrowing
    if not 0 <= lent.longest_us <= BORROW_LIMIT_US:
        days = timedelta(microseconds=BORROW_LIMIT_US).days
        wrong["borrowing.longest"] = f"is not within {days} days"
    for name, units in (
        ("borrowing.floor_units", lent.floor),
        ("borrowing.most_units", lent.most or 0),
        ("write_off_units", rules.write_off),
    ):
        if not 0 <= units <= capacity:
            wrong[name] = f"are {units}, and at most as many as the pool has: {capacity}"
    _check_list(wrong, "borrowing.allowed", lent.allowed, ENTRIES_LIMIT, groups)


def _check_list(
    wrong: dict[str, str],
    name: str,
    whos: tuple[Who, ...] | list[Who],
    limit: int,
    groups: frozenset[str],
    *,
    every: bool = False,
) -> None:
    if len(whos) > limit:
        wrong[name] = f"have {len(whos)} entries, at most {limit} are kept"
    if len(set(whos)) < len(whos):
        wrong[name] = "name the same twice"
    for index, who in enumerate(whos):
        problem = _problem(who, groups, every)
        if problem:
            wrong[f"{name}[{index}]"] = problem


def _problem(who: Who, groups: frozenset[str], every: bool) -> str:
    if who.kind is Kind.GROUP:
        if who.name in groups:
            return ""
        return f"names the group {who.name!r}, which the rules do not define here"
    if who.name == EVERY:
        return "" if every else "is `*`, which only limits take"
    if who.kind is Kind.USER and not names.USER.matches(who.name):
        return f"is {who.name!r}, not a user such as accounts/studio/users/1a2b"
    if who.kind is Kind.HOST and not 1 <= len(who.name) <= 255:
        return "is no host name or device id"
    if who.kind is Kind.NETWORK:
        try:
            ip_network(who.name, strict=True)
        except ValueError as error:
            return f"is no network such as 10.1.0.0/16: {error}"
    return ""


def _own(kind: Kind, holder: Holder) -> str:
    if kind is Kind.USER:
        return holder.user
    return holder.device if kind is Kind.HOST else holder.address


def _within(address: str, network: str) -> bool:
    if not address:
        return False
    try:
        found = ip_address(address)
    except ValueError:  # a connection that comes from no network: a Unix socket
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found) in ip_network(network)
