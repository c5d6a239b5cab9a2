"""The rules of a pool of seats, all in one place: requests in, decisions out.

Promises: never more units or feature units held than the pool has; all that a request names or nothing;
first come, first served within a priority, and strictly (a big request at the head is not overtaken by a
smaller one of its priority or a lower one); fencing numbers only grow. With rules (pool_rules.py): what they
say, where only who takes nothing from others goes ahead of them: who shares a seat, uses its own reservation
or its own lingering seat, and where who waits for its own sake alone holds up nobody. A decision lists its changes, and
undoing the changes of all decisions since some moment, the newest first, brings that moment's state back
(but for the fencing number, which never goes back).

Leaves to others: when a holder is gone (deadlines), the disk, telling anyone. No clock: the time comes in,
in microseconds since 1970, for the records only.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from keypeg import names
from keypeg.errors import (
    FeatureUnknown,
    KeypegError,
    NotFound,
    PoolExhausted,
    PoolRule,
    PoolTooSmall,
    QueueFull,
)
from keypeg_server.domain.decision import (
    Ask,
    Change,
    Decision,
    DropLease,
    DropLinger,
    DropPlace,
    Obstacle,
    PutFreed,
    PutLease,
    PutLinger,
    PutPlace,
    PutRules,
)
from keypeg_server.domain.freed import Freed, held_off
from keypeg_server.domain.lease import (
    Features,
    Lease,
    Place,
    lease_prefix,
    place_prefix,
)
from keypeg_server.domain.outlook import Usual
from keypeg_server.domain.pool_book import OWN, Book, Delta
from keypeg_server.domain.pool_rules import PLAIN, PoolRules

QUEUE_LIMIT: Final = (
    10_000  # places: each is a row and a few hundred bytes; named `pool.queue_length`
)


class Pool:
    """The seats of one activation and product."""

    __slots__ = (
        "_arrivals",
        "_book",
        "_epoch_us",
        "_features_held",
        "_held",
        "_latest_us",
        "_leases",
        "_lingers",
        "_of_session",
        "_places",
        "_queue",
        "_rank",
        "account",
        "activation",
        "capacity",
        "feature_capacity",
        "fencing_number",
        "freed",
        "id",
        "lease_prefix",
        "name",
        "place_prefix",
        "product",
        "queue_limit",
        "retired",
        "rules",
        "usual",
    )

    def __init__(
        self,
        id: str,
        *,
        account: str,
        product: str,
        activation: str,
        capacity: int,
        feature_capacity: Mapping[str, int],
        fencing_number: int = 0,
        queue_limit: int = QUEUE_LIMIT,
        rules: PoolRules = PLAIN,
        freed: tuple[Freed, ...] = (),
    ) -> None:
        self.id: Final = id
        self.name: Final = names.POOL.build(id)
        self.lease_prefix: Final = lease_prefix(id)
        self.place_prefix: Final = place_prefix(id)
        self.account: Final = account
        self.product: Final = product
        self.activation: Final = activation
        self.capacity = capacity
        self.feature_capacity = dict(feature_capacity)
        self.fencing_number = fencing_number
        self.queue_limit = queue_limit
        self.retired = False
        self.freed = freed  # of leases that are still there, or whose users have to stay away
        self._arrivals = 0
        self._held = 0
        self._features_held: dict[str, int] = dict.fromkeys(feature_capacity, 0)
        self._leases: dict[str, Lease] = {}
        self._places: dict[str, Place] = {}
        self._queue: list[Place] = []  # by rank
        self._of_session: dict[str, set[str]] = {}  # ids of leases and places
        self.usual: Final = Usual()
        self.rules = PLAIN
        self._book: Book | None = None  # what rules count; None when there is nothing of that
        self._lingers: dict[str, Lease] = {}
        self._rank: Callable[[Place], tuple[int, int]] = _rank
        self._epoch_us: int | None = None  # of the pool's own clock, which goes on over restarts
        self._latest_us = 0  # on that clock
        if rules is not PLAIN:
            self._install(rules)

    # What there is.

    @property
    def held(self) -> int:
        """Units held; those that linger with them."""
        return self._held

    @property
    def lingering(self) -> int:
        """Units that nobody uses, but that stay with their user for a time."""
        return sum(lease.units for lease in self._lingers.values())

    @property
    def overdrawn(self) -> int:
        """Units held above what the pool has."""
        return max(0, self._held - self.capacity)

    @property
    def lease_count(self) -> int:
        """How many leases there are."""
        return len(self._leases)

    @property
    def in_use(self) -> bool:
        """Whether anybody holds or waits."""
        return bool(self._leases or self._queue)

    @property
    def most(self) -> int:
        """Units that may be held at once."""
        return self.capacity + self.rules.overdraft

    @property
    def book(self) -> Book | None:
        """What rules count; None when there are none."""
        return self._book

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    def feature_held(self, feature: str) -> int:
        """Units of a feature held."""
        return self._features_held[feature]

    def lease(self, id: str) -> Lease | None:
        """The lease with this id."""
        return self._leases.get(id)

    def place(self, id: str) -> Place | None:
        """The queue place with this id."""
        return self._places.get(id)

    def position(self, place: Place) -> int:
        """Where a place of the queue stands; from 1."""
        return bisect_left(self._queue, self._rank(place), key=self._rank) + 1

    def rank(self, place: Place) -> tuple[int, int]:
        """Orders the queue: the lowest is served first."""
        return self._rank(place)

    def leases(self) -> list[Lease]:
        """All leases, the oldest first."""
        return sorted(self._leases.values(), key=lambda lease: lease.fencing_number)

    def some_leases(self, count: int) -> Iterator[Lease]:
        """At most `count` leases, mostly the oldest."""
        return (lease for lease, _ in zip(self._leases.values(), range(count), strict=False))

    def queue(self) -> tuple[Place, ...]:
        """All places, the next to be served first."""
        return tuple(self._queue)

    def of_session(self, session: str) -> tuple[list[Lease], list[Place]]:
        """What a session holds, the oldest first, and where it waits, the next to be served first."""
        ids = self._of_session.get(session)
        if not ids:
            return [], []
        leases = [self._leases[id] for id in ids if id in self._leases]
        places = [self._places[id] for id in ids if id in self._places]
        places.sort(key=self._rank)
        return sorted(leases, key=lambda lease: lease.fencing_number), places

    def count_of_session(self, session: str) -> int:
        """How many leases and places a session has."""
        return len(self._of_session.get(session, ()))

    def sessions(self) -> Iterable[str]:
        """The ids of all sessions that hold or wait."""
        return self._of_session.keys()

    # What can be done.

    def restore(self, leases: Iterable[Lease], places: Iterable[Place]) -> None:
        """Take what was on disk, into an empty pool; nothing is checked and nobody is served."""
        for lease in leases:
            if lease.subject and self._book is None:  # of rules that are gone
                self._install(self.rules, shared=True)
            self._put_lease(lease)
            self.fencing_number = max(self.fencing_number, lease.fencing_number)
        for place in places:
            self._put_place(place)
            self._arrivals = max(self._arrivals, place.arrival)
            self._latest_us = max(self._latest_us, place.clock_us)

    def acquire(self, ask: Ask, now_us: int) -> Decision:
        """Seats now, or a place when it may wait; else the refusal that says which rule."""
        self._check(ask.units, ask.features)
        if self.freed:
            self._check_hold_off(ask.holder.user, now_us)
        if self._book is not None:
            return self._acquire_by_rules(self._book, ask, now_us)
        queue = self._queue
        if (queue and queue[0].priority >= ask.priority) or not self._fits(ask.units, ask.features):
            return self._enqueue(ask, now_us)
        lease = self._grant(ask, now_us)
        return Decision(lease, [PutLease(lease, None)], [], False)

    def release(self, id: str, now_us: int, *, linger: bool = False) -> Decision:
        """The end of a lease or of a queue place; what becomes free is given to those who wait.

        With `linger` it was given back in order: it may stay with its user, if the rules say so.
        """
        lease = self._leases.get(id)
        if lease is not None:
            freed = self._drop_lease(lease)
            decision = Decision(lease, [DropLease(lease)], [], False)
            self.usual.over(lease, now_us)
            if linger and self.rules.linger_us and self.freed_of(id) is None:
                self._linger(decision, lease, freed)
        else:
            place = self._places.get(id)
            if place is None:
                return Decision(None, [], [], False)
            self._drop_place(place)
            decision = Decision(place, [DropPlace(place)], [], bool(self._queue))
        if self._queue:
            self._serve(decision, now_us)
        return decision

    def gone(self, session: str, now_us: int, *, linger: bool = False) -> Decision:
        """The end of all that a session holds and waits for; `linger` as for `release`."""
        leases, places = self.of_session(session)
        changes: list[Change] = []
        for place in places:
            self._drop_place(place)
            changes.append(DropPlace(place))
        decision = Decision(None, changes, [], bool(places and self._queue))
        for lease in leases:
            freed = self._drop_lease(lease)
            changes.append(DropLease(lease))
            self.usual.over(lease, now_us)
            if linger and self.rules.linger_us and self.freed_of(lease.id) is None:
                self._linger(decision, lease, freed)
        if changes and self._queue:
            self._serve(decision, now_us)
        return decision

    def free(self, freed: Freed, now_us: int) -> Decision:
        """A lease is to be given back, as an administrator says; it stays until its holder did, or is gone.

        When its user has to stay away for a time, it waits here no more either.
        """
        lease = self._leases[freed.lease]
        kept = tuple(
            one for one in self.freed if one.lease in self._leases or one.until_us > now_us
        )
        decision = Decision(lease, [PutFreed(self.id, (*kept, freed), self.freed)], [], False)
        self.freed = (*kept, freed)
        if freed.holds_off:
            for place in [one for one in self._queue if one.holder.user == freed.user]:
                self._drop_place(place)
                decision.changes.append(DropPlace(place))
                decision.queue_moved = bool(self._queue)
            if self._queue:
                self._serve(decision, now_us)
        return decision

    def freed_of(self, id: str) -> Freed | None:
        """How a lease was freed; None when it was not."""
        return next((one for one in self.freed if one.lease == id), None) if self.freed else None

    def lingered(self, id: str, now_us: int) -> Decision:
        """The end of a seat's lingering; nothing when it was taken again meanwhile."""
        lease = self._lingers.get(id)
        decision = Decision(lease, [], [], False)
        if lease is not None:
            self._drop_linger(lease)
            decision.changes.append(DropLinger(lease))
            if self._queue:
                self._serve(decision, now_us)
        return decision

    def set_rules(self, rules: PoolRules, now_us: int) -> Decision:
        """Other rules. Who holds keeps what it holds; who waits may be served now."""
        decision = Decision(None, [], [], bool(self._queue))
        if not rules.linger_us:
            for lease in list(self._lingers.values()):
                self._drop_linger(lease)
                decision.changes.append(DropLinger(lease))
        decision.changes.append(PutRules(self.id, rules, self.rules))
        self._install(rules)
        if self._queue:
            self._serve(decision, now_us)
        return decision

    def tried(self, ask: Ask, now_us: int) -> tuple[Decision, int]:
        """What `acquire` would decide, and the position of a place; nothing has changed afterwards."""
        fence, arrivals, latest = self.fencing_number, self._arrivals, self._latest_us
        decision = self.acquire(ask, now_us)
        outcome = decision.outcome
        position = self.position(outcome) if isinstance(outcome, Place) else 0
        self.undo(decision.changes)
        self.fencing_number, self._arrivals, self._latest_us = fence, arrivals, latest
        return decision, position

    def extend(self, id: str, valid_for_us: int) -> Decision:
        """A lease whose holder may believe in it for longer."""
        before = self._leases[id]
        lease = replace(before, valid_for_us=max(before.valid_for_us, valid_for_us))
        self._replace_lease(lease)
        return Decision(lease, [PutLease(lease, before)], [], False)

    def undo(self, changes: Iterable[Change]) -> None:
        """Take back the changes of one decision; those of all later ones are taken back already."""
        for change in reversed(list(changes)):
            match change:
                case PutLease(lease, None):
                    self._drop_lease(lease)
                case PutLease(_, before) if before is not None:
                    self._replace_lease(before)
                case DropLease(lease):
                    self._put_lease(lease)
                case PutPlace(place):
                    self._drop_place(place)
                case DropPlace(place):
                    self._put_place(place)
                case PutLinger(lease):
                    self._drop_linger(lease)
                case DropLinger(lease):
                    self._put_linger(lease)
                case PutRules(_, _, old_rules):
                    self._install(old_rules)
                case PutFreed(_, _, old_freed):
                    self.freed = old_freed

    # The rules.

    def obstacle(self, ask: Ask | Place) -> Obstacle | None:
        """What keeps a request, or a place of the queue, from being served now."""
        if self._book is not None:
            waits = isinstance(ask, Place)
            obstacle = self._book.obstacle(ask, self._held, self._free_of, waits=waits)
            if obstacle is None and self._ahead(self._book, ask):
                return Obstacle("queue_order")
            return obstacle
        if self._held + ask.units > self.capacity:
            return Obstacle("capacity")
        for feature, count in ask.features:
            if self._features_held[feature] + count > self.feature_capacity[feature]:
                return Obstacle("feature_capacity", feature)
        if self._queue and self._queue[0].priority >= ask.priority and self._queue[0] is not ask:
            return Obstacle("queue_order")
        return None

    def _check(self, units: int, features: Features) -> None:
        """Refuse what this pool can never give."""
        if self.retired:
            raise NotFound(
                f"{self.name} is being removed; ask for another pool.", resource=self.name
            )
        if units > self.most:
            raise self._too_small("seats", units, self.most)
        for feature, count in features:
            has = self.feature_capacity.get(feature)
            if has is None:
                raise FeatureUnknown(
                    f"{self.name} counts no feature {feature}; it counts "
                    f"{', '.join(sorted(self.feature_capacity)) or 'none'}.",
                    pool=self.name,
                    feature=feature,
                )
            if count > has:
                raise self._too_small(feature, count, has)

    def _check_hold_off(self, user: str, now_us: int) -> None:
        """Refuse who had a seat freed, and has to stay away yet."""
        found = [one for one in self.freed if one.user == user and one.until_us > now_us]
        if found:
            raise held_off(self.name, max(found, key=lambda one: one.until_us))

    def _too_small(self, what: str, asked: int, has: int) -> PoolTooSmall:
        return PoolTooSmall(
            f"{asked} of {what} were asked of {self.name}, which has {has} in all; ask for fewer.",
            pool=self.name,
            what=what,
            asked=str(asked),
            capacity=str(has),
        )

    def _fits(self, units: int, features: Features) -> bool:
        if self._held + units > self.capacity:
            return False
        for feature, count in features:
            if self._features_held[feature] + count > self.feature_capacity[feature]:
                return False
        return True

    def _enqueue(self, ask: Ask, now_us: int) -> Decision:
        if not ask.wait:
            raise self.exhausted(ask.units)
        limit = self.queue_limit
        if self.rules.queue_length is not None:
            limit = min(limit, self.rules.queue_length)
        if len(self._queue) >= limit:
            raise QueueFull(
                f"{len(self._queue)} wait for {self.name} already, which is its limit; try again later.",
                pool=self.name,
                limit="pool.queue_length",
                value=str(limit),
            )
        self._arrivals += 1
        if self._epoch_us is None:
            self._epoch_us = self._latest_us - ask.clock_us
        self._latest_us = max(self._latest_us, self._epoch_us + ask.clock_us)
        place = Place(
            ask.id,
            self.id,
            ask.holder,
            ask.units,
            ask.features,
            ask.priority,
            self._arrivals,
            now_us,
            ask.valid_for_us,
            ask.request_id,
            self._latest_us,
        )
        self._put_place(place)
        return Decision(place, [PutPlace(place)], [], self._queue[-1] is not place)

    def exhausted(self, units: int) -> KeypegError:
        """The bare refusal of a request that can not be served now; explain.py says why."""
        return PoolExhausted(
            f"No {units} free of {self.name}: {self._held} of {self.capacity} seats are held and "
            f"{len(self._queue)} wait.",
            pool=self.name,
        )

    def _serve(self, decision: Decision, now_us: int) -> None:
        """Give seats to the head of the queue for as long as they suffice for it."""
        if self._book is not None:
            self._serve_by_rules(self._book, decision, now_us)
            return
        queue = self._queue
        while queue and self._fits(queue[0].units, queue[0].features):
            place = queue[0]
            self._drop_place(place)
            lease = self._grant(place, now_us)
            decision.changes.append(DropPlace(place))
            decision.changes.append(PutLease(lease, None))
            decision.served.append(lease)
            decision.queue_moved = True
        decision.queue_moved = decision.queue_moved and bool(queue)

    def _grant(self, ask: Ask | Place, now_us: int) -> Lease:
        self.fencing_number += 1
        if self._book is not None:
            return self._grant_by_rules(self._book, ask, now_us)
        lease = Lease(
            ask.id,
            self.id,
            ask.holder,
            ask.units,
            ask.features,
            self.fencing_number,
            now_us,
            ask.valid_for_us,
        )
        self._put_lease(lease)
        return lease

    # With rules.

    def _acquire_by_rules(self, book: Book, ask: Ask, now_us: int) -> Decision:
        taken = self._take_lingers(book, ask)
        covered = _covers(taken, ask)
        obstacle = book.obstacle(ask, self._held, self._free_of, waits=False)
        if obstacle is None and not covered and self._ahead(book, ask):
            obstacle = Obstacle("queue_order")
        if obstacle is None:
            lease = self._grant(ask, now_us)
            changes: list[Change] = [DropLinger(one) for one in taken]
            changes.append(PutLease(lease, None))
            decision = Decision(lease, changes, [], False)
            if self._queue:  # who shares this seat now, or what lingered and was not needed
                self._serve(decision, now_us)
            return decision
        for one in taken:
            self._put_linger(one)
        if obstacle.rule == "too_small":
            raise self._too_small(
                "seats that are not reserved for others", ask.units, obstacle.limit
            )
        if obstacle.rule in OWN:
            raise PoolRule(
                f"A rule of {self.name} forbids it: {obstacle.rule}.",
                pool=self.name,
                rule=obstacle.rule,
            )
        return self._enqueue(ask, now_us)

    def _serve_by_rules(self, book: Book, decision: Decision, now_us: int) -> None:
        """Serve the queue for as long as anybody in it can be: the head, else who takes nothing from it."""
        while (place := self._next(book)) is not None:
            taken = self._take_lingers(book, place)
            self._drop_place(place)
            lease = self._grant(place, now_us)
            decision.changes += [DropLinger(one) for one in taken]
            decision.changes.append(DropPlace(place))
            decision.changes.append(PutLease(lease, None))
            decision.served.append(lease)
            decision.queue_moved = True
        decision.queue_moved = decision.queue_moved and bool(self._queue)

    def _next(self, book: Book) -> Place | None:
        """The place to serve now."""
        for place in self._queue:
            obstacle = self._obstacle_with_lingers(book, place)
            if obstacle is None:
                return place
            if obstacle.rule not in OWN:
                break
        if book.has_unused:
            for index, line in book.lines.items():
                if book.unused(index) and (first := self._first_of(book, line)) is not None:
                    return first
        return self._next_for_free(book)

    def _first_of(self, book: Book, line: list[Place]) -> Place | None:
        """Who is next of those with one reservation, if it needs nothing else."""
        for place in line:
            obstacle = self._obstacle_with_lingers(book, place)
            if obstacle is None:
                return place if book.needs_nobody(place) else None
            if obstacle.rule not in OWN:
                return None
        return None

    def _next_for_free(self, book: Book) -> Place | None:
        """Somebody further back for whom a seat is there already: shared, or lingering for its user."""
        while (hint := book.hint()) is not None:
            for place in hint.values():
                covered = _covers(list(book.lingers(place.holder.user)), place)
                there = covered or not book.extra_of(place).units
                if there and self._obstacle_with_lingers(book, place) is None:
                    return place
            book.no_hint()
        return None

    def _obstacle_with_lingers(self, book: Book, place: Place) -> Obstacle | None:
        if not book.lingers(place.holder.user):
            return book.obstacle(place, self._held, self._free_of, waits=True)
        taken = self._take_lingers(book, place)
        obstacle = book.obstacle(place, self._held, self._free_of, waits=True)
        for one in taken:
            self._put_linger(one)
        return obstacle

    def _ahead(self, book: Book, ask: Ask | Place) -> bool:
        """Whether somebody is ahead in the queue who would lose by this."""
        if not self._queue:
            return False
        if isinstance(ask, Place):
            rank = self._rank(ask)
        else:
            epoch = self._latest_us - ask.clock_us if self._epoch_us is None else self._epoch_us
            clock = max(self._latest_us, epoch + ask.clock_us)
            ageing = self.rules.ageing_us
            first = clock - ask.priority * ageing if ageing else -ask.priority
            rank = (first, self._arrivals + 1)
        line = self._queue
        if book.needs_nobody(ask):
            own = book.register.standing(ask.holder).reservation
            if own is None or not book.extra_of(ask).units:
                return False
            line = book.lines.get(own, [])
        for place in line:
            if self._rank(place) >= rank:
                return False
            obstacle = book.obstacle(place, self._held, self._free_of, waits=True)
            if obstacle is None or obstacle.rule not in OWN:
                return True
        return False

    def _take_lingers(self, book: Book, ask: Ask | Place) -> list[Lease]:
        """Let a user's lingering seats go, as many as this needs."""
        taken: list[Lease] = []
        for lease in book.lingers(ask.holder.user):
            if _covers(taken, ask):
                break
            self._drop_linger(lease)
            taken.append(lease)
        return taken

    def _grant_by_rules(self, book: Book, ask: Ask | Place, now_us: int) -> Lease:
        extra = book.extra_of(ask).units
        lease = Lease(
            ask.id,
            self.id,
            ask.holder,
            ask.units,
            ask.features,
            self.fencing_number,
            now_us,
            ask.valid_for_us,
            self.rules.subject(ask.holder),
            bool(extra) and self._held + extra > self.capacity,
        )
        self._put_lease(lease)
        return lease

    def _linger(self, decision: Decision, lease: Lease, freed: Delta | None) -> None:
        """Keep what a lease has freed with its user; not what is above what the pool has."""
        if freed is None or freed.units >= 0 or self._held - freed.units > self.capacity:
            return
        features = tuple((name, -count) for name, count in freed.features)
        kept = replace(lease, units=-freed.units, features=features, subject="")
        self._put_linger(kept)
        decision.changes.append(PutLinger(kept))
        decision.lingering += (kept,)

    def _free_of(self, feature: str) -> int:
        return self.feature_capacity.get(feature, 0) - self._features_held.get(feature, 0)

    def _install(self, rules: PoolRules, *, shared: bool = False) -> None:
        """Count by other rules; `shared` when there are leases that share seats, of rules before."""
        self.rules = rules
        queue = sorted(self._queue, key=_rank)
        if rules.ageing_us:
            ageing = rules.ageing_us
            self._rank = lambda place: (place.clock_us - place.priority * ageing, place.arrival)
            queue.sort(key=self._rank)
        else:
            self._rank = _rank
        self._queue = queue
        self._held = 0
        self._features_held = dict.fromkeys(self.feature_capacity, 0)
        shared = shared or any(lease.subject for lease in self._leases.values())
        self._book = book = None
        if shared or not rules.is_plain or self._lingers:
            self._book = book = Book(rules, self.capacity)
        for lease in (*self._leases.values(), *self._lingers.values()):
            self._add(Delta(lease.units, lease.features) if book is None else book.put(lease))
        if book is not None:
            for lease in self._lingers.values():
                book.linger(lease)
            for place in queue:
                book.enqueue(place, self._rank)

    # The changes, the only ways to another state.

    def _put_lease(self, lease: Lease) -> None:
        self._leases[lease.id] = lease
        if self._book is None:
            self._held += lease.units
            for feature, count in lease.features:
                self._features_held[feature] += count
        else:
            self._add(self._book.put(lease))
        self._enter(lease.holder.session, lease.id)

    def _drop_lease(self, lease: Lease) -> Delta | None:
        """What was freed, where rules count."""
        del self._leases[lease.id]
        self._exit(lease.holder.session, lease.id)
        if self._book is None:
            self._held -= lease.units
            for feature, count in lease.features:
                self._features_held[feature] -= count
            return None
        freed = self._book.drop(lease)
        self._add(freed)
        return freed

    def _replace_lease(self, lease: Lease) -> None:
        self._leases[lease.id] = lease
        if self._book is not None:
            self._book.renewed(lease)

    def _put_linger(self, lease: Lease) -> None:
        assert self._book is not None
        self._lingers[lease.id] = lease
        self._book.linger(lease)
        self._add(self._book.put(lease))

    def _drop_linger(self, lease: Lease) -> None:
        assert self._book is not None
        del self._lingers[lease.id]
        self._book.linger_no_more(lease)
        self._add(self._book.drop(lease))

    def _add(self, delta: Delta) -> None:
        self._held += delta.units
        for feature, count in delta.features:
            self._features_held[feature] += count

    def _put_place(self, place: Place) -> None:
        self._places[place.id] = place
        insort(self._queue, place, key=self._rank)
        if self._book is not None:
            self._book.enqueue(place, self._rank)
        self._enter(place.holder.session, place.id)

    def _drop_place(self, place: Place) -> None:
        del self._places[place.id]
        del self._queue[bisect_left(self._queue, self._rank(place), key=self._rank)]
        if self._book is not None:
            self._book.dequeue(place, self._rank)
        self._exit(place.holder.session, place.id)

    def _enter(self, session: str, id: str) -> None:
        if session:
            ids = self._of_session.get(session)
            if ids is None:
                self._of_session[session] = {id}
            else:
                ids.add(id)

    def _exit(self, session: str, id: str) -> None:
        if session:
            ids = self._of_session[session]
            ids.remove(id)
            if not ids:
                del self._of_session[session]


def _rank(place: Place) -> tuple[int, int]:
    return place.rank


def _covers(leases: list[Lease], ask: Ask | Place) -> bool:
    """Whether these have all that is asked for."""
    if sum(lease.units for lease in leases) < ask.units:
        return False
    return all(
        sum(dict(lease.features).get(name, 0) for lease in leases) >= count
        for name, count in ask.features
    )
