"""When the seats of a pool may come free, for explanations of refusals.

Promises: as of a moment ago at most; one look serves every refusal of that moment.

Leaves to others: what an outlook says (domain/outlook.py), deadlines (`ends_at`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keypeg_server.domain.caller import Caller
from keypeg_server.domain.explain import Sight
from keypeg_server.domain.lease import Lease
from keypeg_server.domain.outlook import EXAMINED, Outlook
from keypeg_server.domain.pool import Pool
from keypeg_server.service.ports import Clock

KEPT: Final = 0.1  # seconds for which a pool's outlook serves every refusal
LARGE: Final = 3_000  # leases: beyond that even one look each second would hold up others
LARGE_KEPT: Final = (
    1.0  # seconds for which the outlook of a larger pool serves, also when it has changed
)


class Outlooks:
    """The outlooks of all pools, each made when it is asked for."""

    def __init__(self, clock: Clock, ends_at: Callable[[Lease], float | None]) -> None:
        """`ends_at` says when a lease ends unless its holder is heard of, on the monotonic clock."""
        self._clock = clock
        self._ends_at = ends_at
        self._made: dict[Pool, tuple[tuple[int, ...], Outlook]] = {}

    def sight(self, caller: Caller) -> Sight:
        """What explanations for this caller are made from."""
        return Sight(caller, self.of)

    def of(self, pool: Pool) -> Outlook | None:
        """When its seats may come free; None for a pool with very many leases.

        Of a large pool it is as of a second ago at most: what was given back since makes it sooner, and what
        was renewed since later, as anything may that comes after an answer.
        """
        if pool.lease_count > LARGE:
            return None
        now, wall_us = self._clock.monotonic(), self._clock.wall_us()
        as_of: tuple[int, ...] = (int(now / LARGE_KEPT),)
        if pool.lease_count <= EXAMINED:
            as_of = (int(now / KEPT), pool.fencing_number, pool.held, pool.lease_count)
        kept = self._made.get(pool)
        if kept is not None and kept[0] == as_of:
            return kept[1]

        def ends_at(lease: Lease) -> int | None:
            deadline = self._ends_at(lease)
            return None if deadline is None else wall_us + round((deadline - now) * 1e6)

        made = Outlook(pool.leases(), ends_at)
        self._made[pool] = as_of, made
        return made

    def forget(self, pool: Pool) -> None:
        """A pool is here no more."""
        self._made.pop(pool, None)
