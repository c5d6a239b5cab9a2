"""What a pool with rules counts: seats that several leases share, reservations, limits.

Promises: a seat counts for as long as any lease that shares it is there, by the most units that one of them
has; every change costs the same however many leases there are (but for those that share its seat). Nothing
that is reserved is left to others, and nobody gets over a limit by what is put in after `obstacle` said None.

Leaves to others: what comes in and goes out (pool.py), and the order of the queue.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from typing import Final, TypeVar

from keypeg_server.domain.decision import Ask, Obstacle
from keypeg_server.domain.lease import Holder, Lease, Place
from keypeg_server.domain.pool_seat import Delta, Seat
from keypeg_server.domain.pool_standing import Register

_T = TypeVar("_T")

# Obstacles that are the asker's own: nobody waits for their sake.
OWN: Final = frozenset(("deny", "allow", "limit", "too_small"))


class Book:
    """The counts. One of a pool, made anew when its rules change."""

    def __init__(self, register: Register, capacity: int) -> None:
        self.rules = rules = register.rules
        self.capacity: Final = capacity
        self.register: Final = register
        self._seats: dict[str, Seat] = {}
        self._used = [0] * len(rules.reservations)
        self._reserved = sum(one.units for one in rules.reservations)
        self._unused = self._reserved  # of all reservations
        self._limited: dict[tuple[int, str], int] = {}
        self._waiting: dict[tuple[int, str], int] = {}  # units that wait, by limit
        self.lines: dict[int, list[Place]] = {}  # who waits with a reservation, by rank
        self._lingering: dict[str, dict[str, Lease]] = {}  # by user and id
        self._of_subject: dict[str, dict[str, Place]] = {}  # who waits, by what they would share
        self._of_user: dict[
            str, dict[str, Place]
        ] = {}  # who waits, where seats may linger for them
        self._hints: dict[tuple[str, str], None] = {}  # of whom a seat has come to be there

    # Leases.

    def put(self, lease: Lease) -> Delta:
        """A lease is there."""
        key = lease.subject or lease.id
        seat = self._seats.get(key)
        if lease.subject in self._of_subject:
            self._hints["subject", lease.subject] = None
        if seat is None:
            return self._put_first(key, lease)
        return self._changed(key, seat, lambda: seat.leases.__setitem__(lease.id, lease))

    def drop(self, lease: Lease) -> Delta:
        """A lease is gone."""
        key = lease.subject or lease.id
        seat = self._seats[key]
        return self._changed(key, seat, lambda: seat.leases.__delitem__(lease.id))

    def renewed(self, lease: Lease) -> None:
        """A lease has another length, and is the same otherwise."""
        self._seats[lease.subject or lease.id].leases[lease.id] = lease

    def seat(self, subject: str) -> Seat | None:
        """The seat of a subject."""
        return self._seats.get(subject) if subject else None

    def extra_of(self, ask: Ask | Place) -> Delta:
        """How much more would be held if this were served."""
        seat = self.seat(self.rules.subject(ask.holder))
        if seat is None:
            return Delta(ask.units, ask.features)
        more = ((name, count - seat.features.get(name, 0)) for name, count in ask.features)
        return Delta(max(0, ask.units - seat.units), tuple(one for one in more if one[1] > 0))

    def unused(self, reservation: int | None) -> int:
        """Units of a reservation that are free."""
        if reservation is None:
            return 0
        return max(0, self.rules.reservations[reservation].units - self._used[reservation])

    @property
    def has_unused(self) -> bool:
        """Whether any reservation has units that are free."""
        return self._unused > 0

    def limit_used(self, key: tuple[int, str]) -> int:
        """Units that count towards a limit."""
        return self._limited.get(key, 0)

    def towards(self, ask: Ask | Place, count: int) -> list[Lease]:
        """Some leases that count towards the limits of this; of its own user first."""
        limits = set(self.register.standing(ask.holder).limits)
        found: list[Lease] = []
        for seat in self._seats.values():
            if limits & seat.limits:
                found.extend(seat.leases.values())
                if len(found) > count**2:
                    break
        found = [lease for lease in found if not self._lingers_now(lease)]
        found.sort(key=lambda lease: lease.holder.user != ask.holder.user)
        return found[:count]

    # Who waits.

    def enqueue(self, place: Place, rank: Callable[[Place], tuple[int, int]]) -> None:
        """A place is there."""
        standing = self.register.standing(place.holder)
        for key in standing.limits:
            self._waiting[key] = self._waiting.get(key, 0) + place.units
        if standing.reservation is not None:
            insort(self.lines.setdefault(standing.reservation, []), place, key=rank)
        subject = self.rules.subject(place.holder)
        if subject:
            self._of_subject.setdefault(subject, {})[place.id] = place
            if subject in self._seats:
                self._hints["subject", subject] = None
        if self.rules.linger_us:
            self._of_user.setdefault(place.holder.user, {})[place.id] = place

    def dequeue(self, place: Place, rank: Callable[[Place], tuple[int, int]]) -> None:
        """A place is gone."""
        standing = self.register.standing(place.holder)
        for key in standing.limits:
            _take(self._waiting, key, place.units)
        if standing.reservation is not None:
            line = self.lines[standing.reservation]
            del line[bisect_left(line, rank(place), key=rank)]
            if not line:
                del self.lines[standing.reservation]
        subject = self.rules.subject(place.holder)
        if subject:
            _leave(self._of_subject, subject, place.id)
        if self.rules.linger_us:
            _leave(self._of_user, place.holder.user, place.id)

    def hint(self) -> dict[str, Place] | None:
        """Places for which a seat may have come to be there; None when there are none."""
        while self._hints:
            kind, whose = next(iter(self._hints))
            places = (self._of_subject if kind == "subject" else self._of_user).get(whose)
            if places:
                return places
            self.no_hint()
        return None

    def no_hint(self) -> None:
        """None of the places of `hint` can be served."""
        del self._hints[next(iter(self._hints))]

    # Seats that linger.

    def lingers(self, user: str) -> tuple[Lease, ...]:
        """The seats that linger for a user, the oldest first."""
        found = self._lingering.get(user)
        return tuple(found.values()) if found else ()

    def linger(self, lease: Lease) -> None:
        """A seat lingers for its user; it is `put` as well."""
        self._lingering.setdefault(lease.holder.user, {})[lease.id] = lease
        if lease.holder.user in self._of_user:
            self._hints["user", lease.holder.user] = None

    def linger_no_more(self, lease: Lease) -> None:
        """A seat lingers no more; it is dropped as well."""
        _leave(self._lingering, lease.holder.user, lease.id)

    def _lingers_now(self, lease: Lease) -> bool:
        return lease.id in self._lingering.get(lease.holder.user, ())

    # The rules.

    def obstacle(
        self, ask: Ask | Place, held: int, free_of: Callable[[str], int], *, waits: bool
    ) -> Obstacle | None:
        """What keeps this from being served now, beside who is ahead; `waits` when it is in the queue."""
        rules = self.rules
        standing = self.register.standing(ask.holder)
        if standing.denied is not None:
            return Obstacle("deny", who=str(standing.denied.who))
        if not standing.allowed:
            return Obstacle("allow")
        own = standing.reservation
        most = self.capacity + rules.overdraft
        others = self._reserved - (0 if own is None else rules.reservations[own].units)
        if ask.units > most - others:
            return Obstacle("too_small", who="", limit=most - others)
        seat = self.seat(rules.subject(ask.holder))
        delta = self.extra_of(ask)
        counted: frozenset[tuple[int, str]] = frozenset() if seat is None else seat.limits
        for key in (*standing.limits, *(counted.difference(standing.limits) if counted else ())):
            limit = rules.limits[key[0]]
            more = delta.units if seat is None or key in counted else max(seat.units, ask.units)
            used = self.limit_used(key) + (0 if waits else self._waiting.get(key, 0))
            if more and used + more > limit.units:
                return Obstacle("limit", who=str(limit.who), limit=limit.units, used=used)
        if delta.units and held + delta.units > most:
            return Obstacle("capacity")
        for feature, count in delta.features:
            if count > free_of(feature):
                return Obstacle("feature_capacity", feature)
        kept = self._unused - self.unused(own)
        if delta.units and held + delta.units + kept > most:
            return Obstacle("reserved", limit=kept)
        return None

    def needs_nobody(self, ask: Ask | Place) -> bool:
        """Whether this takes nothing that others could get: it shares a seat, or uses its own reservation."""
        delta = self.extra_of(ask)
        if not delta.units and not delta.features:
            return True
        own = self.register.standing(ask.holder).reservation
        return not delta.features and delta.units <= self.unused(own)

    # Inside.

    def _put_first(self, key: str, lease: Lease) -> Delta:
        """What `_changed` comes to for a seat that nobody had: most of all changes, and all at a start."""
        standing = self.register.standing(lease.holder)
        seat = self._seats[key] = Seat()
        seat.leases[lease.id] = lease
        seat.units = lease.units
        seat.features = dict(lease.features)
        seat.reservation = standing.reservation
        seat.limits = frozenset(standing.limits)
        self._charge(seat, 1)
        return Delta(lease.units, lease.features)

    def _changed(self, key: str, seat: Seat, change: Callable[[], None]) -> Delta:
        units, features = seat.units, seat.features
        self._charge(seat, -1)
        change()
        leases = seat.leases.values()
        seat.units = max((one.units for one in leases), default=0)
        seat.features = {}
        for one in leases:
            for name, count in one.features:
                seat.features[name] = max(count, seat.features.get(name, 0))
        standing = self.register.standing
        oldest: Holder | None = None
        if seat.leases:
            oldest = min(leases, key=lambda one: one.fencing_number).holder
        seat.reservation = None if oldest is None else standing(oldest).reservation
        seat.limits = frozenset(limit for one in leases for limit in standing(one.holder).limits)
        self._charge(seat, 1)
        if not seat.leases:
            del self._seats[key]
        all_features = sorted(features.keys() | seat.features.keys())
        more = ((one, seat.features.get(one, 0) - features.get(one, 0)) for one in all_features)
        return Delta(seat.units - units, tuple(one for one in more if one[1]))

    def _charge(self, seat: Seat, sign: int) -> None:
        if not seat.units:
            return
        if seat.reservation is not None:
            before = self.unused(seat.reservation)
            self._used[seat.reservation] += sign * seat.units
            self._unused += self.unused(seat.reservation) - before
        for key in seat.limits:
            if sign > 0:
                self._limited[key] = self._limited.get(key, 0) + seat.units
            else:
                _take(self._limited, key, seat.units)


def _leave(holdings: dict[str, dict[str, _T]], whose: str, id: str) -> None:
    items = holdings[whose]
    del items[id]
    if not items:
        del holdings[whose]


def _take(counts: dict[tuple[int, str], int], key: tuple[int, str], units: int) -> None:
    left = counts[key] - units
    if left:
        counts[key] = left
    else:
        del counts[key]
