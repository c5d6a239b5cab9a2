"""The rules of a pool of seats, all in one place: requests in, decisions out.

Promises: never more units or feature units held than the pool has; all that a request names or nothing;
first come, first served within a priority, and strictly (a big request at the head is not overtaken by a
smaller one of its priority or a lower one); fencing numbers only grow. A decision lists its changes, and
undoing the changes of all decisions since some moment, the newest first, brings that moment's state back
(but for the fencing number, which never goes back).

Leaves to others: when a holder is gone (deadlines), the disk, telling anyone. No clock: the time comes in,
in microseconds since 1970, for the records only.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from keypeg import names
from keypeg.errors import (
    FeatureUnknown,
    KeypegError,
    NotFound,
    PoolExhausted,
    PoolTooSmall,
    QueueFull,
)
from keypeg_server.domain.decision import (
    Ask,
    Change,
    Decision,
    DropLease,
    DropPlace,
    Obstacle,
    PutLease,
    PutPlace,
)
from keypeg_server.domain.lease import (
    Features,
    Lease,
    Place,
    lease_prefix,
    place_prefix,
)

QUEUE_LIMIT: Final = (
    10_000  # places: each is a row and a few hundred bytes; named `pool.queue_length`
)


class Pool:
    """The seats of one activation and product."""

    __slots__ = (
        "_arrivals",
        "_features_held",
        "_held",
        "_leases",
        "_of_session",
        "_places",
        "_queue",
        "account",
        "activation",
        "capacity",
        "feature_capacity",
        "fencing_number",
        "id",
        "lease_prefix",
        "name",
        "place_prefix",
        "product",
        "queue_limit",
        "retired",
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
        self._arrivals = 0
        self._held = 0
        self._features_held: dict[str, int] = dict.fromkeys(feature_capacity, 0)
        self._leases: dict[str, Lease] = {}
        self._places: dict[str, Place] = {}
        self._queue: list[Place] = []  # by rank
        self._of_session: dict[str, set[str]] = {}  # ids of leases and places

    # What there is.

    @property
    def held(self) -> int:
        """Units held."""
        return self._held

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
        return bisect_left(self._queue, place.rank, key=_rank) + 1

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
        return sorted(leases, key=lambda lease: lease.fencing_number), sorted(places, key=_rank)

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
            self._put_lease(lease)
            self.fencing_number = max(self.fencing_number, lease.fencing_number)
        for place in places:
            self._put_place(place)
            self._arrivals = max(self._arrivals, place.arrival)

    def acquire(self, ask: Ask, now_us: int) -> Decision:
        """Seats now, or a place when it may wait; else the refusal that says which rule."""
        self._check(ask.units, ask.features)
        queue = self._queue
        if (queue and queue[0].priority >= ask.priority) or not self._fits(ask.units, ask.features):
            return self._enqueue(ask, now_us)
        lease = self._grant(ask, now_us)
        return Decision(lease, [PutLease(lease, None)], [], False)

    def release(self, id: str, now_us: int) -> Decision:
        """The end of a lease or of a queue place; what becomes free is given to those who wait."""
        lease = self._leases.get(id)
        if lease is not None:
            self._drop_lease(lease)
            decision = Decision(lease, [DropLease(lease)], [], False)
        else:
            place = self._places.get(id)
            if place is None:
                return Decision(None, [], [], False)
            self._drop_place(place)
            decision = Decision(place, [DropPlace(place)], [], bool(self._queue))
        if self._queue:
            self._serve(decision, now_us)
        return decision

    def gone(self, session: str, now_us: int) -> Decision:
        """The end of all that a session holds and waits for."""
        leases, places = self.of_session(session)
        changes: list[Change] = []
        for place in places:
            self._drop_place(place)
            changes.append(DropPlace(place))
        for lease in leases:
            self._drop_lease(lease)
            changes.append(DropLease(lease))
        decision = Decision(None, changes, [], bool(places and self._queue))
        if changes and self._queue:
            self._serve(decision, now_us)
        return decision

    def extend(self, id: str, valid_for_us: int) -> Decision:
        """A lease whose holder may believe in it for longer."""
        before = self._leases[id]
        lease = Lease(
            before.id,
            before.pool,
            before.holder,
            before.units,
            before.features,
            before.fencing_number,
            before.acquire_time_us,
            max(before.valid_for_us, valid_for_us),
        )
        self._leases[id] = lease
        return Decision(lease, [PutLease(lease, before)], [], False)

    def undo(self, changes: Iterable[Change]) -> None:
        """Take back the changes of one decision; those of all later ones are taken back already."""
        for change in reversed(list(changes)):
            match change:
                case PutLease(lease, None):
                    self._drop_lease(lease)
                case PutLease(_, before) if before is not None:
                    self._leases[before.id] = before
                case DropLease(lease):
                    self._put_lease(lease)
                case PutPlace(place):
                    self._drop_place(place)
                case DropPlace(place):
                    self._put_place(place)

    # The rules.

    def obstacle(self, units: int, features: Features, priority: int) -> Obstacle | None:
        """What keeps a request from being served now."""
        if self._held + units > self.capacity:
            return Obstacle("capacity")
        for feature, count in features:
            if self._features_held[feature] + count > self.feature_capacity[feature]:
                return Obstacle("feature_capacity", feature)
        if self._queue and self._queue[0].priority >= priority:
            return Obstacle("queue_order")
        return None

    def _check(self, units: int, features: Features) -> None:
        """Refuse what this pool can never give."""
        if self.retired:
            raise NotFound(
                f"{self.name} is being removed; ask for another pool.", resource=self.name
            )
        if units > self.capacity:
            raise self._too_small("seats", units, self.capacity)
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
        if len(self._queue) >= self.queue_limit:
            raise QueueFull(
                f"{len(self._queue)} wait for {self.name} already, which is its limit; try again later.",
                pool=self.name,
                limit="pool.queue_length",
                value=str(self.queue_limit),
            )
        self._arrivals += 1
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

    # The four changes, the only ways to another state.

    def _put_lease(self, lease: Lease) -> None:
        self._leases[lease.id] = lease
        self._held += lease.units
        for feature, count in lease.features:
            self._features_held[feature] += count
        self._enter(lease.holder.session, lease.id)

    def _drop_lease(self, lease: Lease) -> None:
        del self._leases[lease.id]
        self._held -= lease.units
        for feature, count in lease.features:
            self._features_held[feature] -= count
        self._exit(lease.holder.session, lease.id)

    def _put_place(self, place: Place) -> None:
        self._places[place.id] = place
        insort(self._queue, place, key=_rank)
        self._enter(place.holder.session, place.id)

    def _drop_place(self, place: Place) -> None:
        del self._places[place.id]
        del self._queue[bisect_left(self._queue, place.rank, key=_rank)]
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
