"""How a pool with rules serves: lingering seats, reservations, who goes ahead of whom.

Promises: only who takes nothing from others goes ahead of them: who shares a seat, uses its own
reservation or its own lingering seat; and who waits for its own sake alone holds up nobody.

Leaves to others: what rules count, and whether one is in the way (pool_book.py).
"""

from __future__ import annotations

from keypeg.errors import PoolRule
from keypeg_server.domain.decision import (
    Ask,
    Change,
    Decision,
    DropLinger,
    DropPlace,
    Obstacle,
    PutLease,
    PutLinger,
)
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool_book import OWN, Book
from keypeg_server.domain.pool_seat import Delta
from keypeg_server.domain.pool_serving import enqueue, grant, too_small
from keypeg_server.domain.pool_state import PoolState


def acquire(pool: PoolState, book: Book, ask: Ask, now_us: int) -> Decision:
    """Seats now, or a place when it may wait; else the refusal that says which rule."""
    taken = _take_lingers(pool, book, ask)
    covered = _covers(taken, ask)
    obstacle = book.obstacle(ask, pool.held, pool.free_of, waits=False)
    if obstacle is None and not covered and _ahead(pool, book, ask):
        obstacle = Obstacle("queue_order")
    if obstacle is None:
        lease = grant(pool, ask, now_us)
        changes: list[Change] = [DropLinger(one) for one in taken]
        changes.append(PutLease(lease, None))
        decision = Decision(lease, changes, [], False)
        if pool.line:  # who shares this seat now, or what lingered and was not needed
            serve(pool, book, decision, now_us)
        return decision
    for one in taken:
        pool.put_linger(one)
    if obstacle.rule == "too_small":
        raise too_small(pool, "seats that are not reserved for others", ask.units, obstacle.limit)
    if obstacle.rule in OWN:
        raise PoolRule(
            f"A rule of {pool.name} forbids it: {obstacle.rule}.",
            pool=pool.name,
            rule=obstacle.rule,
        )
    return enqueue(pool, ask, now_us)


def serve(pool: PoolState, book: Book, decision: Decision, now_us: int) -> None:
    """Serve the queue for as long as anybody in it can be: the head, else who takes nothing from it."""
    while (place := _next(pool, book)) is not None:
        taken = _take_lingers(pool, book, place)
        pool.drop_place(place)
        lease = grant(pool, place, now_us)
        decision.changes += [DropLinger(one) for one in taken]
        decision.changes.append(DropPlace(place))
        decision.changes.append(PutLease(lease, None))
        decision.served.append(lease)
        decision.queue_moved = True
    decision.queue_moved = decision.queue_moved and bool(pool.line)


def obstacle(pool: PoolState, book: Book, ask: Ask | Place) -> Obstacle | None:
    """What keeps a request, or a place of the queue, from being served now."""
    found = book.obstacle(ask, pool.held, pool.free_of, waits=isinstance(ask, Place))
    if found is None and _ahead(pool, book, ask):
        return Obstacle("queue_order")
    return found


def linger(pool: PoolState, decision: Decision, lease: Lease, freed: Delta | None) -> None:
    """Keep what a lease has freed with its user; not what is above what the pool has."""
    if freed is None or freed.units >= 0 or pool.held - freed.units > pool.capacity:
        return
    features = tuple((name, -count) for name, count in freed.features)
    kept = lease._replace(units=-freed.units, features=features, subject="")
    pool.put_linger(kept)
    decision.changes.append(PutLinger(kept))
    decision.lingering += (kept,)


def _next(pool: PoolState, book: Book) -> Place | None:
    """The place to serve now."""
    for place in pool.line:
        obstacle = _obstacle_with_lingers(pool, book, place)
        if obstacle is None:
            return place
        if obstacle.rule not in OWN:
            break
    if book.has_unused:
        for index, line in book.lines.items():
            if book.unused(index) and (first := _first_of(pool, book, line)) is not None:
                return first
    return _next_for_free(pool, book)


def _first_of(pool: PoolState, book: Book, line: list[Place]) -> Place | None:
    """Who is next of those with one reservation, if it needs nothing else."""
    for place in line:
        obstacle = _obstacle_with_lingers(pool, book, place)
        if obstacle is None:
            return place if book.needs_nobody(place) else None
        if obstacle.rule not in OWN:
            return None
    return None


def _next_for_free(pool: PoolState, book: Book) -> Place | None:
    """Somebody further back for whom a seat is there already: shared, or lingering for its user."""
    while (hint := book.hint()) is not None:
        for place in hint.values():
            covered = _covers(list(book.lingers(place.holder.user)), place)
            there = covered or not book.extra_of(place).units
            if there and _obstacle_with_lingers(pool, book, place) is None:
                return place
        book.no_hint()
    return None


def _obstacle_with_lingers(pool: PoolState, book: Book, place: Place) -> Obstacle | None:
    if not book.lingers(place.holder.user):
        return book.obstacle(place, pool.held, pool.free_of, waits=True)
    taken = _take_lingers(pool, book, place)
    obstacle = book.obstacle(place, pool.held, pool.free_of, waits=True)
    for one in taken:
        pool.put_linger(one)
    return obstacle


def _ahead(pool: PoolState, book: Book, ask: Ask | Place) -> bool:
    """Whether somebody is ahead in the queue who would lose by this."""
    if not pool.line:
        return False
    if isinstance(ask, Place):
        rank = pool.rank(ask)
    else:
        epoch = pool.latest_us - ask.clock_us if pool.epoch_us is None else pool.epoch_us
        clock = max(pool.latest_us, epoch + ask.clock_us)
        ageing = pool.rules.ageing_us
        first = clock - ask.priority * ageing if ageing else -ask.priority
        rank = (first, pool.arrivals + 1)
    line = pool.line
    if book.needs_nobody(ask):
        own = book.register.standing(ask.holder).reservation
        if own is None or not book.extra_of(ask).units:
            return False
        line = book.lines.get(own, [])
    for place in line:
        if pool.rank(place) >= rank:
            return False
        obstacle = book.obstacle(place, pool.held, pool.free_of, waits=True)
        if obstacle is None or obstacle.rule not in OWN:
            return True
    return False


def _take_lingers(pool: PoolState, book: Book, ask: Ask | Place) -> list[Lease]:
    """Let a user's lingering seats go, as many as this needs."""
    taken: list[Lease] = []
    for lease in book.lingers(ask.holder.user):
        if _covers(taken, ask):
            break
        pool.drop_linger(lease)
        taken.append(lease)
    return taken


def _covers(leases: list[Lease], ask: Ask | Place) -> bool:
    """Whether these have all that is asked for."""
    if sum(lease.units for lease in leases) < ask.units:
        return False
    return all(
        sum(dict(lease.features).get(name, 0) for lease in leases) >= count
        for name, count in ask.features
    )
