"""The rules that an account may set on a pool, one by one, on the pool itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keypeg.errors import FieldInvalid, PoolExhausted, PoolRule, PoolTooSmall, QueueFull
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.domain.decision import Ask
from keypeg_server.domain.explain import Sight, refused
from keypeg_server.domain.lease import Features, Holder, Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_effects import Consequence, effects
from keypeg_server.domain.pool_rules import (
    PLAIN,
    Borrowing,
    Counting,
    Deny,
    Group,
    Kind,
    Limit,
    PoolRules,
    Reservation,
    Who,
    from_json,
)
from keypeg_server.domain.pool_rules_check import check

NOW = 1_700_000_000_000_000
ADMIN = Caller("accounts/a/users/boss", "boss", "accounts/a", Role.ADMIN, "t1")


def user(name: str) -> Who:
    return Who(Kind.USER, f"accounts/a/users/{name}" if name != "*" else name)


def group(name: str, *users: str) -> Group:
    return Group(name, tuple(user(one) for one in users))


CAD = Who(Kind.GROUP, "cad")
OFFICE = Who(Kind.NETWORK, "10.1.0.0/16")
ATLAS = Who(Kind.HOST, "Atlas")


def make_pool(capacity: int, rules: PoolRules, **features: int) -> Pool:
    check(rules, capacity)
    return Pool(
        "p",
        account="accounts/a",
        product="publishers/x/products/y",
        activation="accounts/a/licenses/l/activations/n",
        capacity=capacity,
        feature_capacity=features,
        rules=rules,
    )


def ask(
    id: str,
    name: str = "",
    units: int = 1,
    features: Features = (),
    *,
    wait: bool = False,
    priority: int = 0,
    host: str = "helios",
    device: str = "dev-1",
    process: int = 7,
    session: str = "",
    address: str = "",
    at: int = 0,
) -> Ask:
    holder = Holder(
        session or f"s-{id}",
        f"accounts/a/users/{name or id}",
        device,
        host,
        "app",
        process,
        address,
    )
    return Ask(id, holder, units, features, wait, priority, 60_000_000, "", at)


def granted(pool: Pool, *args, **kwargs) -> Lease:
    outcome = pool.acquire(ask(*args, **kwargs), NOW).outcome
    assert isinstance(outcome, Lease)
    return outcome


def waiting(pool: Pool, *args, **kwargs) -> Place:
    outcome = pool.acquire(ask(*args, wait=True, **kwargs), NOW).outcome
    assert isinstance(outcome, Place)
    return outcome


def rule_of(pool: Pool, wanted: Ask) -> str:
    """The rule that a refusal names."""
    with pytest.raises((PoolRule, PoolExhausted, PoolTooSmall)) as caught:
        pool.acquire(wanted, NOW)
    return refused(pool, wanted, caught.value, Sight(ADMIN)).metadata["rule"]


# Counting.


@pytest.mark.behaviour("SEAT-13")
@pytest.mark.parametrize(
    ("counting", "seats"),
    [
        (Counting.LEASE, 6),
        (Counting.PROCESS, 4),
        (Counting.SESSION, 5),
        (Counting.USER_AND_HOST, 3),
        (Counting.USER, 2),
    ],
)
def test_leases_share_a_seat_as_the_counting_says(counting: Counting, seats: int):
    pool = make_pool(6, PoolRules(counting=counting))
    for id, name, device, process, session in (
        ("1", "mia", "dev-a", 1, "s1"),
        ("2", "mia", "dev-a", 1, "s1"),  # the same session
        ("3", "mia", "dev-a", 1, "s2"),  # another session of the process
        ("4", "mia", "dev-a", 2, "s3"),  # another process
        ("5", "mia", "dev-b", 1, "s4"),  # another device
        ("6", "tom", "dev-b", 1, "s5"),  # another user
    ):
        granted(pool, id, name, device=device, process=process, session=session)
    assert pool.held == seats


@pytest.mark.behaviour("SEAT-13")
def test_a_shared_seat_is_free_when_the_last_of_its_leases_has_gone_and_not_before():
    pool = make_pool(1, PoolRules(counting=Counting.USER))
    granted(pool, "a", "mia", session="s1")
    granted(pool, "b", "mia", session="s2")
    waiting(pool, "c", "tom")
    assert pool.held == 1
    assert not pool.release("a", NOW).served
    assert pool.held == 1, "the other session still believes in it"
    assert [one.id for one in pool.gone("s2", NOW).served] == ["c"]


def test_a_shared_seat_counts_by_the_most_units_that_one_of_its_leases_has():
    pool = make_pool(5, PoolRules(counting=Counting.USER), mesh=2)
    granted(pool, "a", "mia", 1, (("mesh", 1),))
    granted(pool, "b", "mia", 3, (("mesh", 2),))
    assert (pool.held, pool.feature_held("mesh")) == (3, 2)
    pool.release("b", NOW)
    assert (pool.held, pool.feature_held("mesh")) == (1, 1)


def test_who_has_a_seat_joins_it_past_those_who_wait():
    pool = make_pool(1, PoolRules(counting=Counting.USER))
    granted(pool, "a", "mia")
    waiting(pool, "b", "tom")
    assert granted(pool, "c", "mia").units == 1
    assert pool.held == 1


def test_two_who_wait_for_one_seat_are_served_together():
    pool = make_pool(1, PoolRules(counting=Counting.USER))
    granted(pool, "a", "mia")
    waiting(pool, "b", "tom", session="s1")
    waiting(pool, "x", "zoe")
    waiting(pool, "c", "tom", session="s2")
    assert [one.id for one in pool.release("a", NOW).served] == ["b", "c"]
    assert pool.held == 1


def test_leases_keep_what_they_were_counted_by_when_the_counting_changes():
    pool = make_pool(2, PoolRules(counting=Counting.USER))
    for id in "abcd":
        granted(pool, id, "mia")
    decision = pool.set_rules(PLAIN, NOW)
    assert pool.held == 1, "more than there are would be held at once"
    granted(pool, "e", "mia")
    assert pool.held == 2
    pool.release("e", NOW)
    pool.undo(decision.changes)
    assert pool.rules.counting is Counting.USER
    again = make_pool(2, PLAIN)
    again.restore(pool.leases(), ())
    assert again.held == 1


# Reservations.


@pytest.mark.behaviour("SEAT-9")
def test_what_is_reserved_is_left_to_those_it_is_for():
    pool = make_pool(
        3, PoolRules(reservations=(Reservation(CAD, 2),), groups=(group("cad", "mia"),))
    )
    granted(pool, "a", "tom")
    assert rule_of(pool, ask("b", "tom")) == "reserved"
    granted(pool, "c", "mia")
    granted(pool, "d", "mia")
    assert pool.held == 3


def test_who_has_a_reservation_is_not_held_up_by_those_who_wait_for_other_seats():
    pool = make_pool(2, PoolRules(reservations=(Reservation(user("mia"), 1),)))
    granted(pool, "a", "tom")
    waiting(pool, "b", "tom")
    assert granted(pool, "c", "mia")
    waiting(pool, "d", "mia")
    pool.release("c", NOW)
    assert pool.lease("d") is not None, "her reserved seat is free again"
    assert pool.lease("b") is None
    pool.release("a", NOW)
    assert pool.lease("b") is not None


def test_asking_for_more_than_is_not_reserved_for_others_is_refused_at_once():
    pool = make_pool(3, PoolRules(reservations=(Reservation(user("mia"), 2),)))
    with pytest.raises(PoolTooSmall):
        pool.acquire(ask("a", "tom", 2, wait=True), NOW)


# Limits, allow and deny lists.


@pytest.mark.behaviour("SEAT-9")
@pytest.mark.parametrize(
    ("who", "same", "other"),
    [
        (user("mia"), {"name": "mia"}, {"name": "tom"}),
        (user("*"), {"name": "mia"}, {"name": "tom"}),
        (CAD, {"name": "mia"}, {"name": "zoe"}),
        (ATLAS, {"host": "atlas"}, {"host": "helios"}),
        (Who(Kind.HOST, "dev-1"), {}, {"device": "dev-2"}),
        (OFFICE, {"address": "10.1.2.3"}, {"address": "10.2.2.3"}),
        (OFFICE, {"address": "::ffff:10.1.2.3"}, {"address": ""}),
    ],
    ids=str,
)
def test_a_limit_is_kept_for_those_it_names(who: Who, same: dict[str, Any], other: dict[str, Any]):
    pool = make_pool(5, PoolRules(limits=(Limit(who, 1),), groups=(group("cad", "mia", "tom"),)))
    granted(pool, "a", **same)
    assert rule_of(pool, ask("b", **same)) == "limit"
    assert rule_of(pool, ask("b", wait=True, **same)) == "limit", "waiting would not help"
    assert granted(pool, "c", **other)
    pool.release("a", NOW)
    assert granted(pool, "d", **same)


def test_sharing_a_seat_does_not_lift_a_limit():
    rules = PoolRules(counting=Counting.USER, limits=(Limit(ATLAS, 1), Limit(OFFICE, 1)))
    pool = make_pool(5, rules)
    granted(pool, "a", "mia", 1, host="atlas")
    assert rule_of(pool, ask("b", "mia", 2, host="helios")) == "limit"
    granted(pool, "c", "tom", 1, address="10.1.0.1")
    assert rule_of(pool, ask("d", "mia", 1, address="10.1.0.1")) == "limit"


@pytest.mark.behaviour("SEAT-9")
@pytest.mark.parametrize(
    ("who", "holder"),
    [
        (user("mia"), {"name": "mia"}),
        (CAD, {"name": "mia"}),
        (ATLAS, {"host": "ATLAS"}),
        (OFFICE, {"address": "10.1.2.3"}),
    ],
    ids=str,
)
def test_lists_allow_and_deny(who: Who, holder: dict[str, Any]):
    groups = (group("cad", "mia"),)
    denying = make_pool(2, PoolRules(denied=(Deny(who),), groups=groups))
    assert rule_of(denying, ask("a", wait=True, **holder)) == "deny"
    assert granted(denying, "b", "tom")
    allowing = make_pool(2, PoolRules(allowed=(who,), groups=groups))
    assert granted(allowing, "a", **holder)
    assert rule_of(allowing, ask("b", "tom", wait=True)) == "allow"
    both = make_pool(2, PoolRules(allowed=(who,), denied=(Deny(who),), groups=groups))
    assert rule_of(both, ask("a", **holder)) == "deny"


@pytest.mark.behaviour("SEAT-9")
def test_who_is_denied_while_waiting_holds_up_nobody():
    pool = make_pool(1, PLAIN)
    granted(pool, "a", "tom")
    waiting(pool, "b", "mia")
    waiting(pool, "c", "zoe")
    pool.set_rules(PoolRules(denied=(Deny(user("mia")),)), NOW)
    assert [one.id for one in pool.release("a", NOW).served] == ["c"]
    assert [one.id for one in pool.set_rules(PLAIN, NOW).served] == []
    assert [one.id for one in pool.release("c", NOW).served] == ["b"]


@pytest.mark.behaviour("SEAT-9")
def test_tighter_rules_cut_nobody_who_holds_and_say_what_they_change():
    pool = make_pool(3, PLAIN)
    for id in ("mia", "tom", "zoe"):
        granted(pool, id)
    waiting(pool, "ann")
    rules = PoolRules(
        limits=(Limit(user("mia"), 0),), denied=(Deny(user("tom")), Deny(user("zoe"), cut=True))
    )
    said = {one.holding.id: one.consequence for one in effects(pool, rules, NOW)}
    assert said == {
        "mia": Consequence.KEPT,
        "tom": Consequence.KEPT,
        "zoe": Consequence.RECALLED,
    }
    assert pool.rules is PLAIN
    pool.set_rules(rules, NOW)
    assert pool.held == 3


def test_wider_rules_serve_who_waits_and_say_so():
    pool = make_pool(2, PoolRules(reservations=(Reservation(user("mia"), 1),)))
    granted(pool, "a", "tom")
    waiting(pool, "b", "zoe")
    assert [one.consequence for one in effects(pool, PLAIN, NOW)] == [Consequence.SERVED]
    assert pool.lease("b") is None
    assert [one.id for one in pool.set_rules(PLAIN, NOW).served] == ["b"]


# Linger and overdraft.

LINGERING = PoolRules(linger_us=10_000_000)


@pytest.mark.behaviour("SEAT-11")
def test_a_seat_that_was_given_back_stays_with_its_user_for_a_time():
    pool = make_pool(1, LINGERING)
    granted(pool, "a", "mia")
    waiting(pool, "b", "tom")
    decision = pool.release("a", NOW, linger=True)
    assert [one.id for one in decision.lingering] == ["a"]
    assert (pool.held, pool.lingering, decision.served) == (1, 1, [])
    again = granted(pool, "c", "mia")  # past who waits: it is still hers
    assert (again.fencing_number, pool.lingering) == (2, 0)
    pool.release("c", NOW, linger=True)
    assert [one.id for one in pool.lingered("c", NOW).served] == ["b"]
    assert pool.lingered("c", NOW).changes == []


@pytest.mark.behaviour("SEAT-11")
def test_the_seat_of_a_crashed_app_does_not_linger():
    pool = make_pool(1, LINGERING)
    granted(pool, "a", "mia", session="s1")
    waiting(pool, "b", "tom")
    assert [one.id for one in pool.gone("s1", NOW).served] == ["b"]


def test_a_lingering_seat_serves_its_user_who_waits_for_more_than_is_free():
    pool = make_pool(2, LINGERING)
    granted(pool, "a", "mia")
    granted(pool, "b", "mia")
    waiting(pool, "x", "tom")
    waiting(pool, "c", "mia")
    assert [one.id for one in pool.release("a", NOW, linger=True).served] == ["c"]
    assert pool.lingering == 0


def test_undoing_what_took_a_lingering_seat_brings_it_back():
    pool = make_pool(1, LINGERING)
    granted(pool, "a", "mia")
    pool.release("a", NOW, linger=True)
    decision = pool.acquire(ask("b", "mia"), NOW)
    pool.undo(decision.changes)
    assert (pool.held, pool.lingering, pool.leases()) == (1, 1, [])


@pytest.mark.behaviour("SEAT-11")
def test_an_overdraft_is_bounded_and_flagged_and_does_not_linger():
    pool = make_pool(2, PoolRules(overdraft=1, linger_us=1))
    first, second, third = (granted(pool, id) for id in "abc")
    assert [first.overdraft, second.overdraft, third.overdraft] == [False, False, True]
    assert pool.overdrawn == 1
    assert rule_of(pool, ask("d")) == "capacity"
    pool.set_rules(replace(pool.rules, overdraft=0), NOW)
    assert pool.held == 3, "nobody is cut"
    assert not pool.release("a", NOW, linger=True).lingering, "it would be above what there is"
    assert pool.release("b", NOW, linger=True).lingering
    assert rule_of(pool, ask("d")) == "capacity"
    granted(pool, "e", "b")  # its own, that lingers
    assert (pool.held, pool.overdrawn) == (2, 0)


# The queue.


def test_ageing_lets_nobody_starve():
    hour = 3_600_000_000
    pool = make_pool(1, PoolRules(ageing_us=hour))
    granted(pool, "a")
    waiting(pool, "slow", priority=0, at=hour)
    waiting(pool, "urgent", priority=3, at=2 * hour)
    waiting(pool, "late", priority=3, at=5 * hour)
    order = [place.id for place in pool.queue()]
    assert order == ["urgent", "slow", "late"]
    again = make_pool(1, pool.rules)
    again.restore(pool.leases(), pool.queue())
    assert [place.id for place in again.queue()] == order


def test_after_a_restart_the_age_of_who_waits_goes_on():
    hour = 3_600_000_000
    pool = make_pool(1, PoolRules(ageing_us=hour))
    granted(pool, "a")
    waiting(pool, "old", at=100 * hour)
    again = make_pool(1, pool.rules)
    again.restore(pool.leases(), pool.queue())
    waiting(again, "new", at=0)  # the clock of another start
    waiting(again, "urgent", priority=1, at=hour * 3 // 2)
    assert [place.id for place in again.queue()] == ["old", "new", "urgent"]


def test_the_length_of_the_queue_is_a_rule():
    pool = make_pool(1, PoolRules(queue_length=1))
    granted(pool, "a")
    waiting(pool, "b")
    with pytest.raises(QueueFull) as caught:
        pool.acquire(ask("c", wait=True), NOW)
    assert caught.value.metadata["value"] == "1"


# The rules themselves.

ALL = PoolRules(
    counting=Counting.PROCESS,
    reservations=(Reservation(CAD, 1),),
    limits=(Limit(user("*"), 2), Limit(OFFICE, 3)),
    allowed=(CAD, ATLAS),
    denied=(Deny(user("eve"), cut=True),),
    groups=(group("cad", "mia", "tom"),),
    linger_us=5_000_000,
    overdraft=1,
    ageing_us=60_000_000,
    queue_length=0,
)


LENT = replace(
    PLAIN, borrowing=Borrowing(1, 2, 3, (CAD,)), write_off=3, groups=(group("cad", "mia"),)
)


def test_rules_of_borrowing_count_nothing_by_themselves():
    assert LENT.count is False
    assert replace(LENT, linger_us=1).count


def test_rules_without_borrowing_read_as_before_there_was_any():
    assert "borrow" not in ALL.to_json()
    assert "write_off" not in ALL.to_json()


@pytest.mark.parametrize("rules", [PLAIN, ALL, LENT], ids=["plain", "all", "lent"])
def test_rules_are_read_as_they_were_written(rules: PoolRules):
    assert from_json(rules.to_json()) == rules
    check(rules, 3)


def test_an_etag_differs_when_the_rules_differ():
    assert len({ALL.etag, PLAIN.etag, replace(ALL, linger_us=1).etag}) == 3


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        (PoolRules(reservations=(Reservation(user("mia"), 4),)), "reservations"),
        (PoolRules(allowed=(CAD,)), "allowed[0]"),
        (PoolRules(allowed=(user("*"),)), "allowed[0]"),
        (PoolRules(denied=(Deny(Who(Kind.USER, "mia")),)), "denied[0]"),
        (PoolRules(limits=(Limit(Who(Kind.NETWORK, "10.1.2.3/8"), 1),)), "limits[0]"),
        (PoolRules(limits=(Limit(CAD, 1), Limit(CAD, 2))), "limits"),
        (PoolRules(groups=(Group("a", (CAD,)),)), "groups[0].members[0]"),
        (PoolRules(groups=(group("a"), group("a"))), "groups"),
        (PoolRules(overdraft=4), "overdraft_units"),
        (PoolRules(linger_us=10**14), "linger"),
        (PoolRules(borrowing=Borrowing(longest_us=10**14)), "borrowing.longest"),
        (PoolRules(borrowing=Borrowing(floor=4)), "borrowing.floor_units"),
        (PoolRules(borrowing=Borrowing(most=4)), "borrowing.most_units"),
        (PoolRules(borrowing=Borrowing(allowed=(CAD,))), "borrowing.allowed[0]"),
        (PoolRules(write_off=4), "write_off_units"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_rules_that_can_not_be_kept_are_refused_by_field(rules: PoolRules, field: str):
    with pytest.raises(FieldInvalid) as caught:
        check(rules, 3)
    assert field in caught.value.fields
