"""What other rules would change, and for whom.

Promises: tells of every lease and place (up to a limit) that rules treat otherwise than before; nothing is
changed. Who holds keeps what it holds, but for those whom `cut` recalls.

Leaves to others: deciding (pool.py), telling (rpc/seat_service.py).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from keypeg_server.domain.borrow_refusals import moment
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_rules import Deny, PoolRules

EFFECTS_SHOWN: Final = 1_000  # an answer must fit into a message


class Consequence(enum.Enum):
    """What befalls a lease or a place."""

    RECALLED = "recalled"  # the holder is told to stop now
    KEPT = "kept"  # it stays until it is released, but could not be taken again
    SERVED = "served"  # who waits gets its seat
    UNSERVED = "unserved"  # who waits is served no more


@dataclass(frozen=True, slots=True)
class Effect:
    """One of them."""

    holding: Lease | Place
    consequence: Consequence
    rule: str
    sentence: str


def effects(pool: Pool, rules: PoolRules, now_us: int) -> list[Effect]:
    """What these rules would change for those who hold and wait now."""
    fence = pool.fencing_number
    decision = pool.set_rules(rules, now_us)
    try:
        found = list(islice(_effects(pool, rules), EFFECTS_SHOWN))
    finally:
        pool.undo(decision.changes)
        pool.fencing_number = fence
    served = [
        Effect(lease, Consequence.SERVED, "", "Waits now, and gets its seat.")
        for lease in decision.served
    ]
    return (served + found)[:EFFECTS_SHOWN]


def cut(pool: Pool) -> list[tuple[Lease, Deny]]:
    """The leases that the pool's rules recall."""
    if not any(one.cut for one in pool.rules.denied):
        return []
    online = (lease for lease in pool.leases() if not lease.borrowed_until_us)
    standing = ((lease, pool.register.standing(lease.holder).denied) for lease in online)
    return [(lease, deny) for lease, deny in standing if deny is not None and deny.cut]


def _effects(pool: Pool, rules: PoolRules) -> Iterator[Effect]:
    for lease in pool.leases():
        standing = pool.register.standing(lease.holder)
        if standing.denied is not None:
            if standing.denied.cut and not lease.borrowed_until_us:
                yield Effect(
                    lease,
                    Consequence.RECALLED,
                    "deny",
                    f"Is recalled: {standing.denied.who} is denied.",
                )
            else:
                yield _kept(lease, "deny", f"{standing.denied.who} is denied")
        elif not standing.allowed:
            yield _kept(lease, "allow", "it is not among those allowed")
        elif pool.book is not None:
            for key in standing.limits:
                limit, used = rules.limits[key[0]], pool.book.limit_used(key)
                if used > limit.units:
                    yield _kept(lease, "limit", f"{limit.who} has {used} of {limit.units} units")
                    break
    for place in pool.queue():
        obstacle = pool.obstacle(place)
        if obstacle is not None and obstacle.rule in ("deny", "allow", "limit", "too_small"):
            yield Effect(
                place,
                Consequence.UNSERVED,
                obstacle.rule,
                f"Waits, and is not served as long as the rule {obstacle.rule} is in its way.",
            )


def _kept(lease: Lease, rule: str, why: str) -> Effect:
    until = "it is released"
    if lease.borrowed_until_us:
        until = f"it is returned, or the end of its borrow at {moment(lease.borrowed_until_us)}"
    return Effect(lease, Consequence.KEPT, rule, f"Stays until {until}: {why}.")
