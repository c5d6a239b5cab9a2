"""Leases, queue places, and who has them: plain values.

Promises: immutable; names are built once per pool, ids are 32 hexadecimal characters.

Leaves to others: when a lease is given (pool.py) and when it ends (service).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from keypeg import names

Features = tuple[tuple[str, int], ...]  # feature id and units, by id; the same feature once
_SAMPLE: Final = "0"
_KNOWN_POOLS: Final = 4_096  # whose prefixes are not built again


@lru_cache(_KNOWN_POOLS)
def lease_prefix(pool: str) -> str:
    """What the names of all leases of the pool with this id begin with."""
    return names.LEASE.build(pool, _SAMPLE)[: -len(_SAMPLE)]


@lru_cache(_KNOWN_POOLS)
def place_prefix(pool: str) -> str:
    """What the names of all queue places of the pool with this id begin with."""
    return names.PLACE.build(pool, _SAMPLE)[: -len(_SAMPLE)]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds or waits: one running app of one user on one device."""

    session: str  # the session's id; empty for a holder without a stream
    user: str
    device: str
    host_name: str
    app: str
    process_id: int  # on its device; 0 when not known
    address: str = (
        ""  # where its connection comes from, as this server sees it; empty for a local one
    )


class Lease(NamedTuple):
    """A hold on units and features of a pool. A tuple, for that is made in a fifth of the time."""

    id: str
    pool: str  # the pool's id
    holder: Holder
    units: int
    features: Features
    fencing_number: int
    acquire_time_us: int  # wall clock; for people
    valid_for_us: int  # the longest that the holder may believe in it after its last answer
    subject: str = ""  # leases of one subject share a seat; empty for one that shares with none
    overdraft: bool = False  # given above what the pool has
    borrowed_until_us: int = (
        0  # the end of its document, on the wall clock; 0 for one that is not borrowed
    )


class Place(NamedTuple):
    """A place in the queue of a pool; the lease that it becomes has the same id."""

    id: str
    pool: str
    holder: Holder
    units: int
    features: Features
    priority: int  # the higher, the sooner
    arrival: int  # orders places of one priority; grows per pool
    create_time_us: int  # wall clock; for people
    valid_for_us: int  # of the lease that it becomes
    request_id: str = ""  # of the request that waits: who asked finds its answer by it
    clock_us: int = 0  # when it was taken, on a clock of the pool that only goes forward

    @property
    def rank(self) -> tuple[int, int]:
        """Orders the queue: the lowest is served first."""
        return (-self.priority, self.arrival)
