"""How a pool without rules serves, and what is the same with rules: checks, grants, places of the queue.

Promises: first come, first served within a priority, and strictly: a big request at the head is not overtaken
by a smaller one of its priority or a lower one. The one place where leases are made.

Leaves to others: pools with rules (pool_ruled.py), which of both it is (pool.py).
"""

from __future__ import annotations

from keypeg.errors import (
    FeatureUnknown,
    NotFound,
    PoolExhausted,
    PoolTooSmall,
    QueueFull,
)
from keypeg_server.domain.decision import Ask, Decision, DropPlace, Obstacle, PutLease, PutPlace
from keypeg_server.domain.freed import held_off
from keypeg_server.domain.lease import Features, Lease, Place
from keypeg_server.domain.pool_state import PoolState


def check(pool: PoolState, units: int, features: Features) -> None:
    """Refuse what this pool can never give."""
    if pool.retired:
        raise NotFound(f"{pool.name} is being removed; ask for another pool.", resource=pool.name)
    if units > pool.most:
        raise too_small(pool, "seats", units, pool.most)
    for feature, count in features:
        has = pool.feature_capacity.get(feature)
        if has is None:
            raise FeatureUnknown(
                f"{pool.name} counts no feature {feature}; it counts "
                f"{', '.join(sorted(pool.feature_capacity)) or 'none'}.",
                pool=pool.name,
                feature=feature,
            )
        if count > has:
            raise too_small(pool, feature, count, has)


def check_hold_off(pool: PoolState, user: str, now_us: int) -> None:
    """Refuse who had a seat freed, and has to stay away yet."""
    found = [one for one in pool.freed if one.user == user and one.until_us > now_us]
    if found:
        raise held_off(pool.name, max(found, key=lambda one: one.until_us))


def too_small(pool: PoolState, what: str, asked: int, has: int) -> PoolTooSmall:
    """The refusal of what is more than the pool has."""
    return PoolTooSmall(
        f"{asked} of {what} were asked of {pool.name}, which has {has} in all; ask for fewer.",
        pool=pool.name,
        what=what,
        asked=str(asked),
        capacity=str(has),
    )


def acquire(pool: PoolState, ask: Ask, now_us: int) -> Decision:
    """Seats now, or a place when it may wait, without rules."""
    line = pool.line
    if (line and line[0].priority >= ask.priority) or not _fits(pool, ask.units, ask.features):
        return enqueue(pool, ask, now_us)
    lease = grant(pool, ask, now_us)
    return Decision(lease, [PutLease(lease, None)], [], False)


def serve(pool: PoolState, decision: Decision, now_us: int) -> None:
    """Give seats to the head of the queue for as long as they suffice for it, without rules."""
    line = pool.line
    while line and _fits(pool, line[0].units, line[0].features):
        place = line[0]
        pool.drop_place(place)
        lease = grant(pool, place, now_us)
        decision.changes.append(DropPlace(place))
        decision.changes.append(PutLease(lease, None))
        decision.served.append(lease)
        decision.queue_moved = True
    decision.queue_moved = decision.queue_moved and bool(line)


def obstacle(pool: PoolState, ask: Ask | Place) -> Obstacle | None:
    """What keeps a request, or a place of the queue, from being served now, without rules."""
    if pool.held + ask.units > pool.capacity:
        return Obstacle("capacity")
    for feature, count in ask.features:
        if pool.features_held[feature] + count > pool.feature_capacity[feature]:
            return Obstacle("feature_capacity", feature)
    if pool.line and pool.line[0].priority >= ask.priority and pool.line[0] is not ask:
        return Obstacle("queue_order")
    return None


def enqueue(pool: PoolState, ask: Ask, now_us: int) -> Decision:
    """A place at the end of its priority, when it may wait."""
    if not ask.wait:
        raise _exhausted(pool, ask.units)
    limit = pool.queue_limit
    if pool.rules.queue_length is not None:
        limit = min(limit, pool.rules.queue_length)
    if len(pool.line) >= limit:
        raise QueueFull(
            f"{len(pool.line)} wait for {pool.name} already, which is its limit; try again later.",
            pool=pool.name,
            limit="pool.queue_length",
            value=str(limit),
        )
    own = pool.places_of_user.get(ask.holder.user, 0)
    if own >= pool.user_queue_limit:
        raise QueueFull(
            f"You have {own} places in the queue of {pool.name} already, which is the limit of one user; wait for "
            "some of them, or leave them.",
            pool=pool.name,
            limit="pool.user_queue_places",
            value=str(pool.user_queue_limit),
        )
    pool.arrivals += 1
    if pool.epoch_us is None:
        pool.epoch_us = pool.latest_us - ask.clock_us
    pool.latest_us = max(pool.latest_us, pool.epoch_us + ask.clock_us)
    place = Place(
        ask.id,
        pool.id,
        ask.holder,
        ask.units,
        ask.features,
        ask.priority,
        pool.arrivals,
        now_us,
        ask.valid_for_us,
        ask.request_id,
        pool.latest_us,
    )
    pool.put_place(place)
    return Decision(place, [PutPlace(place)], [], pool.line[-1] is not place)


def grant(pool: PoolState, ask: Ask | Place, now_us: int) -> Lease:
    """A lease, with the next fencing number."""
    pool.fencing_number += 1
    subject, overdraft = "", False
    if pool.book is not None:
        subject = pool.rules.subject(ask.holder)
        extra = pool.book.extra_of(ask).units
        overdraft = bool(extra) and pool.held + extra > pool.capacity
    lease = Lease(
        ask.id,
        pool.id,
        ask.holder,
        ask.units,
        ask.features,
        pool.fencing_number,
        now_us,
        ask.valid_for_us,
        subject,
        overdraft,
    )
    pool.put_lease(lease)
    return lease


def _fits(pool: PoolState, units: int, features: Features) -> bool:
    if pool.held + units > pool.capacity:
        return False
    for feature, count in features:
        if pool.features_held[feature] + count > pool.feature_capacity[feature]:
            return False
    return True


def _exhausted(pool: PoolState, units: int) -> PoolExhausted:
    """The bare refusal of a request that can not be served now; explain.py says why."""
    return PoolExhausted(
        f"No {units} free of {pool.name}: {pool.held} of {pool.capacity} seats are held and "
        f"{len(pool.line)} wait.",
        pool=pool.name,
    )
