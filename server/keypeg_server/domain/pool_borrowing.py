"""Seats of a pool that are taken offline: lent, renewed, given back, written off, over.

Promises: a borrowed seat is a lease like another, under all rules of the pool, and under those of borrowing:
for how long, how many, by whom, and what always stays. Never above what the pool has, never through the queue.
Nothing here ends a seat before its computer has given it up or its time is over, but for a write-off within
the publisher's budget.

Leaves to others: the time (service/borrows.py), and signing: `seal` makes a borrow's document, and is given in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from keypeg.errors import AlreadyExists, KeypegError
from keypeg_server.domain import borrow_refusals as refusals
from keypeg_server.domain.borrow import (
    RECORDS_LIMIT,
    RECORDS_OF_USER_LIMIT,
    Borrow,
    Event,
    Exposure,
    State,
    Terms,
)
from keypeg_server.domain.decision import (
    Ask,
    Decision,
    DropBorrow,
    DropLease,
    PutBorrow,
    PutLease,
)
from keypeg_server.domain.lease import Holder, Lease
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_shrinking import check_lasting

Seal = Callable[[Borrow], bytes]  # the signed document of a borrow


def lend(pool: Pool, ask: Ask, terms: Terms, now_us: int, seal: Seal) -> Decision:
    """A seat for a computer to take offline, at once or not at all."""
    _check_rules(pool, ask.holder, terms.duration_us)
    _check_count(pool, ask.units)
    _check_records(pool, ask.holder)
    if terms.end_us(now_us) <= now_us:
        raise refusals.too_late(pool)
    check_lasting(pool, ask.units, terms.end_us(now_us), now_us)
    for one in pool.borrows.values():
        if one.return_key == terms.return_key:
            raise AlreadyExists(
                f"A seat of {pool.name} is borrowed with this key already; make a key for each borrow.",
                # Whose it is may have asked so long ago that only the key is known, and not the request.
                resource=one.name if one.holder.user == ask.holder.user else pool.name,
            )
    more = ask.units if pool.book is None else pool.book.extra_of(ask).units
    if more and pool.capacity < pool.held + more <= pool.most:
        raise refusals.too_many(pool, ask.units, pool.capacity, "borrow_overdraft")
    decision = pool.acquire(ask._replace(wait=False), now_us)
    lease = decision.outcome
    assert isinstance(lease, Lease)
    try:
        _lent(pool, decision, lease, terms, now_us, seal)
    except KeypegError:
        pool.undo(decision.changes)
        raise
    return decision


def renew(pool: Pool, id: str, terms: Terms, now_us: int, seal: Seal) -> Decision:
    """A later end for a seat that is out; its key and its computer stay the same."""
    before = pool.borrows[id]
    if not before.is_out or now_us >= before.end_us:
        raise refusals.over(before)
    _check_rules(pool, before.holder, terms.duration_us)
    _check_count(pool, 0)
    standing = pool.register.standing(before.holder)
    if standing.denied is not None or not standing.allowed:
        raise refusals.may_not_use(pool)
    end_us = terms.end_us(now_us)
    if end_us <= before.end_us:
        return Decision(pool.lease(id), [], [], False)
    check_lasting(pool, before.units, end_us, now_us, instead_of=id)
    after = replace(before, end_us=end_us, serial=before.serial + 1)
    after = replace(after, document=seal(after))
    old, new = pool.lease(id), after.lease()
    assert old is not None
    pool.replace_lease(new)
    pool.replace_borrow(after)
    return Decision(new, [PutLease(new, old), PutBorrow(after, before)], [], False)


def give_back(pool: Pool, id: str, by: str, now_us: int) -> Decision:
    """Its computer has given it up; nothing changes when that was known."""
    return _left(pool, id, Event.RETURNED, now_us, by, "")


def write_off(pool: Pool, id: str, by: str, reason: str, now_us: int) -> Decision:
    """It is lost: its seat goes to others, though its document works; nothing changes when that was done."""
    borrow = pool.borrows[id]
    check_write_off(pool, borrow, now_us)
    return _left(pool, id, Event.WRITTEN_OFF, now_us, by, reason)


def end(pool: Pool, id: str, now_us: int) -> Decision:
    """It is over, and nobody believes in it: the seat is free, and nothing is known of it any more."""
    borrow = pool.borrows[id]
    decision = Decision(None, [], [], False)
    if borrow.is_out:
        _free(pool, decision, id, now_us)
    pool.drop_borrow(borrow)
    decision.changes.append(DropBorrow(borrow))
    return decision


def check_write_off(pool: Pool, borrow: Borrow, now_us: int) -> None:
    """Refuse to give up what was returned, is over, or exposes more than the publisher allows."""
    if borrow.state is State.WRITTEN_OFF:
        return
    if borrow.state is State.RETURNED or now_us >= borrow.end_us:
        raise refusals.over(borrow)
    if pool.exposed + borrow.units > pool.rules.write_off:
        raise refusals.beyond_budget(pool, borrow)


def exposure(pool: Pool, borrow: Borrow) -> Exposure:
    """What writing this off exposes, or has exposed."""
    units = 0 if borrow.state is State.RETURNED else borrow.units
    more = units if borrow.is_out else 0
    return Exposure(units, borrow.end_us, borrow.free_us, pool.exposed + more, pool.rules.write_off)


def _check_rules(pool: Pool, holder: Holder, duration_us: int) -> None:
    lent = pool.rules.borrowing
    if not lent.longest_us:
        raise refusals.not_lent(pool)
    if duration_us > lent.longest_us:
        raise refusals.too_long(pool, duration_us)
    if not pool.register.standing(holder).borrows:
        raise refusals.not_among(pool)


def _check_count(pool: Pool, units: int) -> None:
    """With no units more: whether those that are out may stay so for longer."""
    lent = pool.rules.borrowing
    if lent.most is not None and pool.borrowed + units > lent.most:
        raise refusals.too_many(pool, units, lent.most, "borrow_most")
    if pool.borrowed + units > pool.capacity - lent.floor:
        raise refusals.too_many(pool, units, pool.capacity - lent.floor, "borrow_floor")


def _check_records(pool: Pool, holder: Holder) -> None:
    """Whether one more can be known."""
    if len(pool.borrows) >= RECORDS_LIMIT:
        raise refusals.too_many_known(pool)
    if len(pool.borrows) >= RECORDS_OF_USER_LIMIT:
        own = sum(one.holder.user == holder.user for one in pool.borrows.values())
        if own >= RECORDS_OF_USER_LIMIT:
            raise refusals.too_many_of_user(pool)


def _lent(
    pool: Pool, decision: Decision, given: Lease, terms: Terms, now_us: int, seal: Seal
) -> None:
    """Make what was given a borrowed seat."""
    borrow = Borrow(
        given.id,
        pool.id,
        given.holder,
        given.units,
        given.features,
        given.fencing_number,
        now_us,
        terms.end_us(now_us),
        terms.return_key,
        terms.fingerprint,
        subject=given.subject,
    )
    borrow = replace(borrow, document=seal(borrow))
    lease = borrow.lease()
    pool.replace_lease(lease)
    pool.put_borrow(borrow)
    at = decision.changes.index(PutLease(given, None))
    decision.changes[at] = PutLease(lease, None)
    decision.changes.append(PutBorrow(borrow, None))
    decision.outcome = lease


def _left(pool: Pool, id: str, event: Event, now_us: int, by: str, reason: str) -> Decision:
    before = pool.borrows[id]
    after = before.after(event, now_us, by, reason)
    decision = Decision(pool.lease(id), [], [], False)
    if after is before:
        return decision
    if before.is_out:
        _free(pool, decision, id, now_us)
    pool.replace_borrow(after)
    decision.changes.append(PutBorrow(after, before))
    return decision


def _free(pool: Pool, decision: Decision, id: str, now_us: int) -> None:
    lease = pool.lease(id)
    assert lease is not None
    pool.drop_lease(lease)
    decision.outcome = lease
    decision.changes.append(DropLease(lease))
    if pool.line:
        pool.serve(decision, now_us)
