"""Rules of pools from and to the contract.

Promises: `decode` and `encode` are each other's inverse on rules that can be kept.

Leaves to others: whether rules can be kept (domain/pool_rules.py), well-formedness (validate.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from keypeg.v1 import pool_rules_pb2 as pb
from keypeg.v1.seat_service_pb2 import (
    POOL_CONSEQUENCE_KEPT,
    POOL_CONSEQUENCE_RECALLED,
    POOL_CONSEQUENCE_SERVED,
    POOL_CONSEQUENCE_UNSERVED,
    PoolConsequence,
    PoolEffect,
)
from keypeg_server.domain import explain
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.lease import Lease
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_effects import Consequence, Effect
from keypeg_server.domain.pool_rules import (
    Borrowing,
    Counting,
    Deny,
    Group,
    Kind,
    Limit,
    PoolRules,
    Reservation,
    Who,
)

_US: Final = timedelta(microseconds=1)
_COUNTING: Final[Mapping[pb.SeatCounting.ValueType, Counting]] = {
    pb.SEAT_COUNTING_UNSPECIFIED: Counting.LEASE,
    pb.SEAT_COUNTING_LEASE: Counting.LEASE,
    pb.SEAT_COUNTING_PROCESS: Counting.PROCESS,
    pb.SEAT_COUNTING_SESSION: Counting.SESSION,
    pb.SEAT_COUNTING_USER_AND_HOST: Counting.USER_AND_HOST,
    pb.SEAT_COUNTING_USER: Counting.USER,
}
_COUNTED: Final = {counting: number for number, counting in _COUNTING.items()}
_CONSEQUENCE: Final[Mapping[Consequence, PoolConsequence.ValueType]] = {
    Consequence.RECALLED: POOL_CONSEQUENCE_RECALLED,
    Consequence.KEPT: POOL_CONSEQUENCE_KEPT,
    Consequence.SERVED: POOL_CONSEQUENCE_SERVED,
    Consequence.UNSERVED: POOL_CONSEQUENCE_UNSERVED,
}
assert set(_COUNTED) == set(Counting)
assert set(_CONSEQUENCE) == set(Consequence)


def decode(rules: pb.PoolRules) -> PoolRules:
    """The domain's rules."""
    return PoolRules(
        counting=_COUNTING[rules.counting],
        reservations=tuple(Reservation(_who(one.subject), one.units) for one in rules.reservations),
        limits=tuple(Limit(_who(one.subject), one.units) for one in rules.limits),
        allowed=tuple(_who(one) for one in rules.allowed),
        denied=tuple(Deny(_who(one.subject), one.cut) for one in rules.denied),
        groups=tuple(
            Group(one.name, tuple(_who(member) for member in one.members)) for one in rules.groups
        ),
        linger_us=rules.linger.ToTimedelta() // _US,
        overdraft=rules.overdraft_units,
        ageing_us=rules.ageing.ToTimedelta() // _US,
        queue_length=rules.queue_length if rules.HasField("queue_length") else None,
        borrowing=_borrowing(rules.borrowing),
        write_off=rules.write_off_units,
    )


def encode(rules: PoolRules) -> pb.PoolRules:
    """The contract's rules, with their etag."""
    shown = pb.PoolRules(
        counting=_COUNTED[rules.counting],
        reservations=[
            pb.PoolReservation(subject=_subject(one.who), units=one.units)
            for one in rules.reservations
        ],
        limits=[pb.PoolLimit(subject=_subject(one.who), units=one.units) for one in rules.limits],
        allowed=[_subject(one) for one in rules.allowed],
        denied=[pb.PoolDenial(subject=_subject(one.who), cut=one.cut) for one in rules.denied],
        groups=[
            pb.PoolGroup(name=one.name, members=[_subject(member) for member in one.members])
            for one in rules.groups
        ],
        overdraft_units=rules.overdraft,
        queue_length=rules.queue_length,
        etag=rules.etag,
        write_off_units=rules.write_off,
    )
    lent = rules.borrowing
    if lent != Borrowing():
        shown.borrowing.floor_units = lent.floor
        shown.borrowing.allowed.extend(_subject(one) for one in lent.allowed)
        if lent.most is not None:
            shown.borrowing.most_units = lent.most
        shown.borrowing.longest.FromMicroseconds(lent.longest_us)
    if rules.linger_us:
        shown.linger.FromMicroseconds(rules.linger_us)
    if rules.ageing_us:
        shown.ageing.FromMicroseconds(rules.ageing_us)
    return shown


def effect(pool: Pool, one: Effect, caller: Caller) -> PoolEffect:
    """What rules change for one."""
    held = one.holding
    shown = PoolEffect(
        resource=(pool.lease_prefix if isinstance(held, Lease) else pool.place_prefix) + held.id,
        consequence=_CONSEQUENCE[one.consequence],
        rule=one.rule,
        sentence=one.sentence,
    )
    if isinstance(held, Lease):
        shown.holder.CopyFrom(explain.holder(pool, held, caller))
    else:
        shown.holder.units, shown.holder.app = held.units, held.holder.app
        if caller.sees_holder(pool.account, held.holder.user):
            shown.holder.user, shown.holder.host_name = held.holder.user, held.holder.host_name
    return shown


def _borrowing(lent: pb.PoolBorrowing) -> Borrowing:
    return Borrowing(
        longest_us=lent.longest.ToTimedelta() // _US,
        floor=lent.floor_units,
        most=lent.most_units if lent.HasField("most_units") else None,
        allowed=tuple(_who(one) for one in lent.allowed),
    )


def _who(subject: pb.PoolSubject) -> Who:
    kind = subject.WhichOneof("subject")
    assert kind is not None, "validate.py refuses a subject without one"
    return Who(Kind(kind), getattr(subject, kind))


def _subject(who: Who) -> pb.PoolSubject:
    shown = pb.PoolSubject()
    setattr(shown, who.kind.value, who.name)
    return shown
