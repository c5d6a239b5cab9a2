"""The rules that an account may set on a pool: who counts how, who may, and how much.

Promises: frozen values; PLAIN is a pool without rules. A rule names people by their user, by a group that the
rules themselves define, by their host (what the computer calls itself, or its device id: the client's own
word) or by their network (where the connection comes from: the server's own eyes). `check` refuses what can
not be kept. `to_json` and `from_json` are each other's inverse, and equal rules have equal JSON.

Leaves to others: which rules can be kept (pool_rules_check.py), how they see a holder (pool_standing.py), counting
(pool_book.py), deciding (pool.py), who may set rules (service/seat_keeping.py).
"""

from __future__ import annotations

import enum
import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, Final

from keypeg_server.domain.lease import Holder

EVERY: Final = "*"  # in a limit: each user, host or address by itself


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
