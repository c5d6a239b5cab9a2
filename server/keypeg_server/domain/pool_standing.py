"""How the rules of a pool see its holders: denied, allowed, with what reservation, under which limits.

Promises: pure, and remembered for as many holders as a large site has; what is forgotten is found anew. What a new
holder costs does not grow with the entries of lists nor with the members of groups: each is looked up by what it may
be named by, and by the groups that it is in.

Leaves to others: what the rules say (pool_rules.py), and counting (pool_book.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final

from keypeg_server.domain.lease import Holder
from keypeg_server.domain.pool_rules import EVERY, Deny, Kind, PoolRules, Who

KNOWN_LIMIT: Final = 100_000  # holders whose standing is remembered; some 300 bytes each
NETWORKS: Final = 16_384  # that are not parsed again: more than all lists of one pool have
ADDRESSES: Final = 4_096

# What somebody can be named by: a kind, and a user, a host in lower case, a network as `_network` has it, a group, or
# None for everybody of whom that is known.
_Key = tuple[str, object]
_USER: Final = Kind.USER.value
_HOST: Final = Kind.HOST.value
_NETWORK: Final = Kind.NETWORK.value
_GROUP: Final = Kind.GROUP.value

_BITS: Final = {4: 32, 6: 128}
_address = lru_cache(ADDRESSES)(ip_address)


@dataclass(frozen=True, slots=True)
class Standing:
    """How the rules see one holder."""

    denied: Deny | None  # the first that names it
    allowed: bool
    reservation: int | None  # which is its own
    limits: tuple[tuple[int, str], ...]  # which it counts towards: a limit, and for `*` whom
    borrows: bool  # whether it is among those who may borrow, if any do


class Register:
    """The rules, ready to be held against holders; remembers what it found."""

    __slots__ = (
        "_allowed",
        "_denied",
        "_groups",
        "_known",
        "_lent",
        "_limits",
        "_networks",
        "_reservations",
        "rules",
    )

    def __init__(self, rules: PoolRules) -> None:
        self.rules: Final = rules
        self._known: dict[tuple[str, str, str, str], Standing] = {}
        self._networks: dict[tuple[int, int], None] = {}  # versions and lengths that are in use
        self._groups: dict[_Key, list[str]] = {}  # by member
        for group in rules.groups:
            for member in group.members:
                self._groups.setdefault(self._key(member), []).append(group.name)
        self._denied = self._positions(one.who for one in rules.denied)
        self._allowed = self._positions(rules.allowed)
        self._reservations = self._positions(one.who for one in rules.reservations)
        self._limits = self._positions(one.who for one in rules.limits)
        self._lent = self._positions(rules.borrowing.allowed)

    def standing(self, holder: Holder) -> Standing:
        """How the rules see this holder."""
        key = (holder.user, holder.device, holder.host_name, holder.address)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= KNOWN_LIMIT:
                del self._known[next(iter(self._known))]
            found = self._known[key] = self._standing(holder)
        return found

    def _standing(self, holder: Holder) -> Standing:
        rules, keys = self.rules, self._keys(holder)
        limits = []
        for index in _found(self._limits, keys):
            who = rules.limits[index].who
            limits.append((index, _own(who.kind, holder) if who.name == EVERY else ""))
        denied = _found(self._denied, keys)
        reservations = _found(self._reservations, keys)
        return Standing(
            denied=rules.denied[denied[0]] if denied else None,
            allowed=not rules.allowed or bool(_found(self._allowed, keys)),
            reservation=reservations[0] if reservations else None,
            limits=tuple(limits),
            borrows=not rules.borrowing.allowed or bool(_found(self._lent, keys)),
        )

    def _keys(self, holder: Holder) -> list[_Key]:
        """All that this holder can be named by."""
        keys: list[_Key] = [
            (_USER, holder.user),
            (_HOST, holder.device),
            (_HOST, holder.host_name.lower()),
        ]
        if holder.user:
            keys.append((_USER, None))
        if holder.device:
            keys.append((_HOST, None))
        if holder.address:
            keys.append((_NETWORK, None))
            if self._networks:
                keys.extend(self._networks_of(holder.address))
        if self._groups:
            keys.extend([(_GROUP, name) for key in keys for name in self._groups.get(key, ())])
        return keys

    def _networks_of(self, address: str) -> list[_Key]:
        try:
            found = _address(address)
        except ValueError:  # a connection that comes from no network: a Unix socket
            return []
        found = getattr(found, "ipv4_mapped", None) or found
        number, bits = int(found), _BITS[found.version]
        return [
            (_NETWORK, (version, length, number >> (bits - length)))
            for version, length in self._networks
            if version == found.version
        ]

    def _positions(self, whos: Iterable[Who]) -> dict[_Key, list[int]]:
        """Where in a list each name stands."""
        found: dict[_Key, list[int]] = {}
        for index, who in enumerate(whos):
            found.setdefault(self._key(who), []).append(index)
        return found

    def _key(self, who: Who) -> _Key:
        if who.kind is Kind.GROUP:
            return (_GROUP, who.name)
        if who.name == EVERY:
            return (who.kind.value, None)
        if who.kind is Kind.USER:
            return (_USER, who.name)
        if who.kind is Kind.HOST:
            return (_HOST, who.name.lower())
        network = _network(who.name)
        self._networks[network[:2]] = None
        return (_NETWORK, network)


def _found(positions: dict[_Key, list[int]], keys: list[_Key]) -> list[int]:
    """Where a list names somebody, in the order of the list."""
    if not positions:
        return []
    found = [index for key in keys for index in positions.get(key, ())]
    return sorted(set(found)) if len(found) > 1 else found


def _own(kind: Kind, holder: Holder) -> str:
    if kind is Kind.USER:
        return holder.user
    return holder.device if kind is Kind.HOST else holder.address


@lru_cache(NETWORKS)
def _network(text: str) -> tuple[int, int, int]:
    """A network's version, length, and the bits that all its addresses begin with."""
    found = ip_network(text)
    host_bits = _BITS[found.version] - found.prefixlen
    return found.version, found.prefixlen, int(found.network_address) >> host_bits
