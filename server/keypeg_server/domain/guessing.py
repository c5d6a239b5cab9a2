"""Who must wait before signing in again: against guessing, without a lock that shuts others out.

Failures fill buckets, which leak: one for the login from where it was tried, one for everything from there, and one
for the login from everywhere it is not at home. Whoever signed in from somewhere before is at home there, and only the
first of these counts for them: nobody else's guesses keep them out.

Promises: pure; time is an argument (seconds, monotonic); memory is bounded, the longest untouched is forgotten first.
What is unknown (a login, a place) waits as what is known does, so that waiting tells nothing.

Leaves to others: checking passwords (service/passwords.py), and what a place is told (service/accounts.py).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

REMEMBERED: Final = 50_000  # buckets of a kind, and pairs at home


@dataclass(frozen=True)
class Bucket:
    """How many failures it holds, and how many seconds one takes to leak."""

    size: int
    leak: float


TRIES: Final = Bucket(10, 30.0)  # of one login from one place
PLACE: Final = Bucket(100, 3.0)  # of all logins from one place
LOGIN: Final = Bucket(100, 30.0)  # of one login from places where it is not at home


class _Levels:
    """The levels of many buckets of one kind."""

    def __init__(self, kind: Bucket) -> None:
        self._kind = kind
        self._levels: OrderedDict[tuple[str, ...], tuple[float, float]] = OrderedDict()

    def wait(self, key: tuple[str, ...], now: float) -> float:
        """Seconds until there is room for a failure; 0 when there is."""
        over = self._level(key, now) - (self._kind.size - 1)
        return max(0.0, over * self._kind.leak)

    def add(self, key: tuple[str, ...], now: float, count: int = 1) -> None:
        """One failure more, or one less."""
        self._levels[key] = (max(0.0, self._level(key, now) + count), now)
        self._levels.move_to_end(key)
        if len(self._levels) > REMEMBERED:
            self._levels.popitem(last=False)

    def empty(self, key: tuple[str, ...]) -> None:
        """As if there had been none."""
        self._levels.pop(key, None)

    def _level(self, key: tuple[str, ...], now: float) -> float:
        level, at = self._levels.get(key, (0.0, now))
        return max(0.0, level - (now - at) / self._kind.leak)


class Guesses:
    """What is remembered of failures."""

    def __init__(self) -> None:
        self._tries = _Levels(TRIES)
        self._places = _Levels(PLACE)
        self._logins = _Levels(LOGIN)
        self._at_home: OrderedDict[tuple[str, str], None] = OrderedDict()

    def begin(self, login: str, address: str, now: float) -> float:
        """Try this login from there: seconds to wait before that; 0: now, and it counts as a failure until it is none.

        So many tries at once are as many as one after the other.
        """
        pair = (login, place_of(address))
        counting = self._counting(pair)
        wait = max(levels.wait(key, now) for levels, key in counting)
        if not wait:
            for levels, key in counting:
                levels.add(key, now)
        return wait

    def forgive(self, login: str, address: str, now: float) -> None:
        """It was not tried after all."""
        for levels, key in self._counting((login, place_of(address))):
            levels.add(key, now, -1)

    def succeeded(self, login: str, address: str, now: float) -> None:
        """It was no failure: the login is at home there."""
        pair = (login, place_of(address))
        self.forgive(login, address, now)
        self._tries.empty(pair)
        self._at_home[pair] = None
        self._at_home.move_to_end(pair)
        if len(self._at_home) > REMEMBERED:
            self._at_home.popitem(last=False)

    def at_home(self, login: str, address: str) -> bool:
        """Whether the login signed in from there before."""
        return (login, place_of(address)) in self._at_home

    def _counting(self, pair: tuple[str, str]) -> list[tuple[_Levels, tuple[str, ...]]]:
        """The buckets that count a try."""
        own = (self._tries, pair)
        if pair in self._at_home:
            return [own]
        return [own, (self._places, pair[1:]), (self._logins, pair[:1])]


def place_of(address: str) -> str:
    """What counts as one place: an IPv4 address, the /64 of an IPv6 one, or this computer."""
    if not address:
        return ""
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        return str(ip_network((found, 64), strict=False))
    return str(found)
