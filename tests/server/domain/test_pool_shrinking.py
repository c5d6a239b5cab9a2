"""A pool that has more or fewer seats than before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.errors import PoolRule
from keypeg_server.domain.borrow import Borrow, State
from keypeg_server.domain.capacity import Capacity
from keypeg_server.domain.lease import Holder
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_rules import Counting, PoolRules
from keypeg_server.domain.pool_shrinking import check_lasting, over, recalled, resize
from tests.server.domain.test_pool import NOW, ask, granted, make_pool, waiting


def nobody(id: str) -> bool:
    return False


def test_seats_that_come_are_given_to_who_waits_at_once() -> None:
    pool = make_pool(1)
    granted(pool, "a")
    for name in "bcd":
        waiting(pool, name)
    decision = resize(pool, 3, NOW)
    assert [lease.id for lease in decision.served] == ["b", "c"]
    assert (pool.held, pool.capacity, pool.waiting) == (3, 3, 1)
    assert over(pool, nobody) == []


def test_the_newest_holders_give_back_as_many_as_it_takes() -> None:
    pool = make_pool(5)
    for name, units in (("a", 1), ("b", 2), ("c", 1), ("d", 1)):
        granted(pool, name, units)
    resize(pool, 3, NOW)
    assert [lease.id for lease in over(pool, nobody)] == ["d", "c"]
    assert [lease.id for lease in over(pool, {"d"}.__contains__)] == ["c"]
    assert over(pool, {"c", "d"}.__contains__) == []
    assert str(pool.capacity) == recalled(pool, pool.leases()[-1]).metadata["capacity"]


def test_overdraft_that_the_rules_allow_is_left_to_its_holders() -> None:
    pool = make_pool(4)
    pool.set_rules(PoolRules(overdraft=1), NOW)
    for name in "abcd":
        granted(pool, name)
    resize(pool, 2, NOW)
    assert [lease.id for lease in over(pool, nobody)] == ["d"]


def test_who_waits_for_more_than_there_is_waits_no_more() -> None:
    pool = make_pool(4)
    granted(pool, "a", 2)
    waiting(pool, "b", 3)
    waiting(pool, "c", 1)
    decision = resize(pool, 2, NOW)
    assert [place.id for place in pool.queue()] == ["c"]
    assert pool.place("b") is None
    pool.undo(decision.changes)
    assert (pool.capacity, pool.waiting) == (4, 2)


def test_a_shared_seat_is_given_back_by_all_who_share_it() -> None:
    pool = make_pool(3)
    pool.set_rules(PoolRules(counting=Counting.USER), NOW)
    for session, user in (("s1", "ann"), ("s2", "bob"), ("s3", "ann"), ("s4", "cyd")):
        holder = Holder(session, user, "d", "h", "app", 1)
        pool.acquire(ask(session)._replace(holder=holder), NOW)
    assert pool.held == 3
    resize(pool, 2, NOW)
    assert [lease.id for lease in over(pool, nobody)] == ["s4"]
    resize(pool, 1, NOW)
    assert sorted(lease.id for lease in over(pool, nobody)) == ["s1", "s3", "s4"]


def lent(pool: Pool, id: str, units: int, end_us: int) -> None:
    holder = Holder("", id, "d", "h", "app", 1)
    borrow = Borrow(id, pool.id, holder, units, (), 1, NOW, end_us, b"", b"", 1, b"")
    assert borrow.state is State.OUT
    pool.put_borrow(borrow)


def test_seats_are_lent_no_longer_than_they_last() -> None:
    pool = make_pool(2)
    pool.plan = (Capacity("more", 3, 0, NOW, NOW + 100),)
    resize(pool, 5, NOW)
    lent(pool, "a", 1, NOW + 500)
    lent(pool, "b", 2, NOW + 100)
    check_lasting(pool, 1, NOW + 900, NOW)
    check_lasting(pool, 2, NOW + 100, NOW)
    with pytest.raises(PoolRule) as caught:
        check_lasting(pool, 2, NOW + 101, NOW)
    assert caught.value.metadata["rule"] == "temporary_capacity"


@given(
    st.lists(st.integers(1, 3), max_size=8),
    st.lists(st.integers(0, 12), min_size=1, max_size=5),
    st.lists(st.integers(1, 4), max_size=5),
)
def test_whatever_the_size_the_rest_fits_and_undoing_brings_it_back(
    holds: list[int], sizes: list[int], waits: list[int]
) -> None:
    pool = make_pool(12)
    for number, units in enumerate(holds):
        pool.acquire(ask(f"h{number}", units, wait=True), NOW)
    for number, units in enumerate(waits):
        pool.acquire(ask(f"w{number}", units, wait=True), NOW)
    for size in sizes:
        before = (pool.capacity, pool.held, pool.leases(), pool.queue())
        decision = resize(pool, size, NOW)
        gone = over(pool, nobody)
        assert pool.held - sum(lease.units for lease in gone) <= size
        assert all(place.units <= size for place in pool.queue())
        after = (pool.capacity, pool.held, pool.leases(), pool.queue())
        pool.undo(decision.changes)
        assert (pool.capacity, pool.held, pool.leases(), pool.queue()) == before
        resize(pool, size, NOW)
        assert (pool.capacity, pool.held) == after[:2]
        for lease in gone:
            pool.release(lease.id, NOW)
