"""What is asked of a pool, and what a decision changes: plain values that can be put on disk and taken back.

Promises: a decision's changes, applied in order to the state before it, give the state after it.

Leaves to others: the rules (pool.py), rows (storage/pool_store.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from keypeg_server.domain.borrow import Borrow
from keypeg_server.domain.freed import Freed
from keypeg_server.domain.lease import Features, Holder, Lease, Place
from keypeg_server.domain.pool_rules import PoolRules


@dataclass(frozen=True, slots=True)
class PutLease:
    """A lease is there; `before` is what was there under its id."""

    lease: Lease
    before: Lease | None


@dataclass(frozen=True, slots=True)
class DropLease:
    """A lease is gone."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class PutPlace:
    """A queue place is there."""

    place: Place


@dataclass(frozen=True, slots=True)
class DropPlace:
    """A queue place is gone."""

    place: Place


@dataclass(frozen=True, slots=True)
class PutLinger:
    """A seat that was given back stays with its user for a time; in memory alone."""

    lease: Lease  # that it was


@dataclass(frozen=True, slots=True)
class DropLinger:
    """A seat lingers no more."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class PutRules:
    """A pool has these rules; `before` is what it had."""

    pool: str  # the pool's id
    rules: PoolRules
    before: PoolRules


@dataclass(frozen=True, slots=True)
class PutFreed:
    """A pool has these seats that were freed; `before` is what it had."""

    pool: str  # the pool's id
    freed: tuple[Freed, ...]
    before: tuple[Freed, ...]


@dataclass(frozen=True, slots=True)
class PutCapacity:
    """A pool has so many seats; `before` is what it had. In memory alone: its license and the time tell."""

    pool: str  # the pool's id
    capacity: int
    before: int


@dataclass(frozen=True, slots=True)
class PutBorrow:
    """A borrow is as this says; `before` is what was there under its id. Its lease is told by itself."""

    borrow: Borrow
    before: Borrow | None


@dataclass(frozen=True, slots=True)
class DropBorrow:
    """A borrow is over, and not known any more."""

    borrow: Borrow


Change = (
    PutLease
    | DropLease
    | PutPlace
    | DropPlace
    | PutLinger
    | DropLinger
    | PutRules
    | PutFreed
    | PutCapacity
    | PutBorrow
    | DropBorrow
)


class Ask(NamedTuple):
    """A request for seats."""

    id: str  # of the lease or place that it becomes; never used before
    holder: Holder
    units: int  # at least 1
    features: Features
    wait: bool
    priority: int
    valid_for_us: int
    request_id: str = ""  # by which who asked knows its answer
    clock_us: int = 0  # now, on a clock that no one sets


@dataclass(slots=True)
class Decision:
    """What was decided; made in memory already, and undone by undoing the changes."""

    outcome: (
        Lease | Place | None
    )  # what the request got or gave back; None when there was nothing to do
    changes: list[Change]  # in the order in which they were made
    served: list[Lease]  # leases that went to others, who were waiting
    queue_moved: bool  # places that are still in the queue have other positions now
    lingering: tuple[Lease, ...] = ()  # seats that stay with their users from now on


@dataclass(frozen=True, slots=True)
class Obstacle:
    """The rule that keeps a request from being served now."""

    rule: str  # `capacity`, `feature_capacity`, `queue_order`, `reserved`, `limit`, `deny`, `allow`, ...
    feature: str = ""  # for `feature_capacity`
    who: str = ""  # for `limit` and `deny`: whom the rule names
    limit: int = 0  # for `limit`, `reserved` and `too_small`: units
    used: int = 0  # for `limit`: units that count towards it
