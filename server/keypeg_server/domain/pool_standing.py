"""How the rules of a pool see its holders: denied, allowed, with what reservation, under which limits.

Promises: pure, and remembered for as many holders as a large site has; what is forgotten is found anew.

Leaves to others: what the rules say (pool_rules.py), and counting (pool_book.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final

from keypeg_server.domain.lease import Holder
from keypeg_server.domain.pool_rules import EVERY, Deny, Kind, PoolRules, Who

KNOWN_LIMIT: Final = 100_000  # holders whose standing is remembered; some 300 bytes each
NETWORKS: Final = 4_096  # that are not parsed again: more than all lists of one pool have

_network = lru_cache(NETWORKS)(ip_network)
_address = lru_cache(NETWORKS)(ip_address)


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
            if len(self._known) >= KNOWN_LIMIT:
                del self._known[next(iter(self._known))]
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


def _own(kind: Kind, holder: Holder) -> str:
    if kind is Kind.USER:
        return holder.user
    return holder.device if kind is Kind.HOST else holder.address


def _within(address: str, network: str) -> bool:
    if not address:
        return False
    try:
        found = _address(address)
    except ValueError:  # a connection that comes from no network: a Unix socket
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found) in _network(network)
