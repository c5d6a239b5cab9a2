"""What a pool of seats has: who holds, who waits, what lingers.

Promises: reading changes nothing, and costs the same however many leases there are where nothing else is said.

Leaves to others: changes (pool_state.py), and whether one may be made (pool.py).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from keypeg import names
from keypeg_server.domain.borrow import Borrow
from keypeg_server.domain.capacity import Capacity
from keypeg_server.domain.freed import Freed
from keypeg_server.domain.lease import Lease, Place, lease_prefix, place_prefix
from keypeg_server.domain.outlook import Usual
from keypeg_server.domain.pool_book import Book
from keypeg_server.domain.pool_rules import PLAIN, PoolRules
from keypeg_server.domain.pool_standing import Register

QUEUE_LIMIT: Final = (
    10_000  # places: each is a row and a few hundred bytes; named `pool.queue_length`
)


class PoolView:
    """What there is of the seats of one activation and product."""

    __slots__ = (
        "_leases",
        "_of_session",
        "_places",
        "account",
        "activation",
        "arrivals",
        "base",
        "book",
        "borrowed",
        "borrows",
        "capacity",
        "epoch_us",
        "exposed",
        "feature_capacity",
        "features_held",
        "fencing_number",
        "freed",
        "held",
        "id",
        "latest_us",
        "lease_prefix",
        "line",
        "lingers",
        "name",
        "place_prefix",
        "places_of_user",
        "plan",
        "product",
        "queue_limit",
        "rank",
        "register",
        "retired",
        "rules",
        "user_queue_limit",
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
        user_queue_limit: int = QUEUE_LIMIT,
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
        self.base: Final = capacity  # seats of the license's own
        self.capacity = capacity  # with those that are there for a time
        self.plan: tuple[Capacity, ...] = ()  # seats that are there for a time, now or some day
        self.feature_capacity = dict(feature_capacity)
        self.fencing_number = fencing_number
        self.queue_limit = queue_limit
        self.user_queue_limit = user_queue_limit
        self.places_of_user: dict[str, int] = {}  # how many, of those who have any
        self.retired = False
        self.freed = freed  # of leases that are still there, or whose users have to stay away
        self.arrivals = 0
        self.held = 0  # units; those that linger with them
        self.features_held: dict[str, int] = dict.fromkeys(feature_capacity, 0)
        self._leases: dict[str, Lease] = {}
        self._places: dict[str, Place] = {}
        self.line: list[Place] = []  # who waits, by rank
        self._of_session: dict[str, set[str]] = {}  # ids of leases and places
        self.usual: Final = Usual()
        self.rules = rules
        self.register = Register(rules)
        # What rules count; None when there is nothing of that.
        self.book: Book | None = Book(self.register, capacity) if rules.count else None
        self.lingers: dict[str, Lease] = {}
        self.borrows: dict[str, Borrow] = {}  # that are not over, whatever became of them
        self.borrowed = 0  # units that are out
        self.exposed = 0  # units that were written off, and whose documents may still work
        self.rank = ranking(rules)
        self.epoch_us: int | None = None  # of the pool's own clock, which goes on over restarts
        self.latest_us = 0  # on that clock

    @property
    def lingering(self) -> int:
        """Units that nobody uses, but that stay with their user for a time."""
        return sum(lease.units for lease in self.lingers.values())

    @property
    def overdrawn(self) -> int:
        """Units held above what the pool has."""
        return max(0, self.held - self.capacity)

    @property
    def lease_count(self) -> int:
        """How many leases there are."""
        return len(self._leases)

    @property
    def in_use(self) -> bool:
        """Whether anybody holds or waits, or may use what was written off."""
        return bool(self._leases or self.line or self.exposed)

    @property
    def most(self) -> int:
        """Units that may be held at once."""
        return self.capacity + self.rules.overdraft

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self.line)

    def feature_held(self, feature: str) -> int:
        """Units of a feature held."""
        return self.features_held[feature]

    def lease(self, id: str) -> Lease | None:
        """The lease with this id."""
        return self._leases.get(id)

    def place(self, id: str) -> Place | None:
        """The queue place with this id."""
        return self._places.get(id)

    def position(self, place: Place) -> int:
        """Where a place of the queue stands; from 1."""
        return bisect_left(self.line, self.rank(place), key=self.rank) + 1

    def leases(self) -> list[Lease]:
        """All leases, the oldest first."""
        return sorted(self._leases.values(), key=lambda lease: lease.fencing_number)

    def some_leases(self, count: int) -> Iterator[Lease]:
        """At most `count` leases, mostly the oldest."""
        return (lease for lease, _ in zip(self._leases.values(), range(count), strict=False))

    def queue(self) -> tuple[Place, ...]:
        """All places, the next to be served first."""
        return tuple(self.line)

    def of_session(self, session: str) -> tuple[list[Lease], list[Place]]:
        """What a session holds, the oldest first, and where it waits, the next to be served first."""
        ids = self._of_session.get(session)
        if not ids:
            return [], []
        leases = [self._leases[id] for id in ids if id in self._leases]
        places = [self._places[id] for id in ids if id in self._places]
        places.sort(key=self.rank)
        return sorted(leases, key=lambda lease: lease.fencing_number), places

    def count_of_session(self, session: str) -> int:
        """How many leases and places a session has."""
        return len(self._of_session.get(session, ()))

    def sessions(self) -> Iterable[str]:
        """The ids of all sessions that hold or wait."""
        return self._of_session.keys()

    def freed_of(self, id: str) -> Freed | None:
        """How a lease was freed; None when it was not."""
        return next((one for one in self.freed if one.lease == id), None) if self.freed else None

    def free_of(self, feature: str) -> int:
        return self.feature_capacity.get(feature, 0) - self.features_held.get(feature, 0)


def ranking(rules: PoolRules) -> Callable[[Place], tuple[int, int]]:
    """What orders the queue: the lowest is served first."""
    ageing = rules.ageing_us
    if not ageing:
        return _rank
    return lambda place: (place.clock_us - place.priority * ageing, place.arrival)


def _rank(place: Place) -> tuple[int, int]:
    return place.rank
