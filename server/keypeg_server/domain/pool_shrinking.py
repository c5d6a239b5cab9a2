"""A pool that has more or fewer seats than before: who is served, and who gives back.

Promises: seats that come are given to those who wait, at once. Of those that go, lingering ones go first; then
the newest holders are the ones to give back, as many as it takes for the rest to be within what the pool may
give (with its overdraft); borrowed seats stay, for they were lent within what lasts. Who waits for more than the pool
has now waits no more.

Leaves to others: when (service/capacity_keeping.py), telling holders and waiting for them (service/recalls.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keypeg.errors import LeaseRecalled, PoolRule
from keypeg.v1 import error_pb2, explanation_pb2
from keypeg_server.domain.borrow_refusals import moment
from keypeg_server.domain.capacity import falls, seats_at
from keypeg_server.domain.decision import Decision, DropLinger, DropPlace, PutCapacity
from keypeg_server.domain.lease import Lease
from keypeg_server.domain.pool import Pool

RULE: Final = "temporary_capacity"


def resize(pool: Pool, capacity: int, now_us: int) -> Decision:
    """So many seats from now on."""
    decision = Decision(None, [PutCapacity(pool.id, capacity, pool.capacity)], [], False)
    pool.set_capacity(capacity)
    for lease in list(pool.lingers.values()):
        if pool.held <= pool.most:
            break
        pool.drop_linger(lease)
        decision.changes.append(DropLinger(lease))
    for place in pool.queue():
        if place.units > pool.most:
            pool.drop_place(place)
            decision.changes.append(DropPlace(place))
    decision.queue_moved = bool(pool.line)
    if pool.line:
        pool.serve(decision, now_us)
    return decision


def over(pool: Pool, leaving: Callable[[str], bool]) -> list[Lease]:
    """The leases that have to be given back; `leaving` says which (ids) are on their way already."""
    seats: dict[str, list[Lease]] = {}  # leases that share one, the newest seat first
    for lease in reversed(pool.leases()):
        seats.setdefault(lease.subject or lease.id, []).append(lease)
    excess = pool.held - pool.most
    excess -= sum(_units(shared) for shared in seats.values() if all(leaving(o.id) for o in shared))
    found: list[Lease] = []
    for shared in seats.values():
        if excess <= 0:
            break
        staying = [one for one in shared if not leaving(one.id)]
        if not staying or any(one.borrowed_until_us for one in shared):
            continue
        found += staying
        excess -= _units(shared)
    return found


def check_lasting(
    pool: Pool, units: int, end_us: int, now_us: int, *, instead_of: str = ""
) -> None:
    """Refuse to lend seats beyond the end of those that are there for a time."""
    for fall in falls(pool.plan, now_us, end_us):
        lasting = pool.base + seats_at(pool.plan, fall)
        lent = sum(
            one.units
            for one in pool.borrows.values()
            if one.is_out and one.end_us > fall and one.id != instead_of
        )
        if lent + units > lasting:
            raise PoolRule(
                f"{pool.name} has {lasting} seats from {moment(fall)} on, and {lent} of them are lent beyond that; "
                "borrow until then at the latest.",
                pool=pool.name,
                rule=RULE,
                latest_time=moment(fall),
            )


def recalled(pool: Pool, lease: Lease) -> LeaseRecalled:
    """What the holder of a seat hears that is there no more."""
    name = pool.lease_prefix + lease.id
    sentence = (
        f"Temporary seats of {pool.name} have ended: it has {pool.capacity} now, and {name} is one of the newest of "
        "those above that. Stop using it now; ask for a seat again, and wait in the queue."
    )
    explanation = explanation_pb2.Explanation(
        reason=error_pb2.REASON_LEASE_RECALLED,
        sentence=sentence,
        metadata={
            "pool": pool.name,
            "lease": name,
            "rule": RULE,
            "capacity": str(pool.capacity),
        },
    )
    explanation.remedies.add(
        action="wait", resource=pool.name, sentence="Ask again, and wait in the queue."
    )
    error = LeaseRecalled(sentence, explanation=explanation)
    error.metadata.update(explanation.metadata)
    return error


def _units(shared: list[Lease]) -> int:
    return max(one.units for one in shared)
