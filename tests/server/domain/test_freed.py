"""Seats that were freed: who is held off, who waits no more, what does not linger, and what can be undone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.errors import PoolRule
from keypeg_server.domain.freed import Freed, from_json, held_off, recalled, to_json
from keypeg_server.domain.lease import Lease
from keypeg_server.domain.pool_rules import PoolRules
from tests.server.domain.test_pool import NOW, ask, granted, make_pool, waiting

MIA = "accounts/a/users/mia"
SECOND = 1_000_000


def freed(lease: str, user: str = MIA, seconds: int = 0) -> Freed:
    return Freed(lease, user, "boss", "Needed elsewhere", NOW, NOW + seconds * SECOND)


def test_the_seat_stays_with_its_holder_until_it_is_given_back():
    pool = make_pool(1)
    granted(pool, "mia")
    later = waiting(pool, "ada")
    pool.free(freed("mia"), NOW)
    assert (pool.held, pool.position(later)) == (1, 1)
    (given_on,) = pool.release("mia", NOW).served
    assert given_on.id == "ada"


def test_its_user_is_held_off_for_exactly_the_time_and_others_are_not():
    pool = make_pool(2)
    granted(pool, "mia")
    pool.free(freed("mia", seconds=10), NOW)
    pool.release("mia", NOW)
    mine = ask("mia", wait=True)
    for now in (NOW, NOW + 10 * SECOND - 1):
        with pytest.raises(PoolRule, match="Needed elsewhere"):
            pool.acquire(mine, now)
        with pytest.raises(PoolRule):
            pool.tried(mine, now)
    granted(pool, "ada")
    assert isinstance(pool.acquire(mine, NOW + 10 * SECOND).outcome, Lease)


def test_who_is_held_off_waits_no_more_and_all_of_it_can_be_undone():
    pool = make_pool(1)
    granted(pool, "mia")
    place = waiting(pool, "mia2", session="s")
    mine = ask("second", wait=True)._replace(holder=place.holder)
    pool.acquire(mine, NOW)
    other = waiting(pool, "ada")
    decision = pool.free(freed("mia", user=place.holder.user, seconds=10), NOW)
    assert pool.queue() == (other,)
    assert decision.queue_moved
    assert pool.freed_of("mia") is not None
    pool.undo(decision.changes)
    assert [one.id for one in pool.queue()] == ["mia2", "second", "ada"]
    assert pool.freed == ()


def test_a_freed_seat_does_not_linger():
    pool = make_pool(1)
    pool.set_rules(PoolRules(linger_us=10 * SECOND), NOW)
    granted(pool, "mia")
    pool.free(freed("mia"), NOW)
    assert pool.release("mia", NOW, linger=True).lingering == ()
    assert pool.held == 0


def test_what_is_over_is_forgotten_with_the_next_one():
    pool = make_pool(3)
    for id in ("mia", "ada", "tom"):
        granted(pool, id)
    pool.free(freed("mia", seconds=5), NOW)
    pool.free(freed("ada", user="accounts/a/users/ada"), NOW)
    pool.release("mia", NOW)
    pool.free(freed("tom", user="accounts/a/users/tom"), NOW + 6 * SECOND)
    assert [one.lease for one in pool.freed] == ["ada", "tom"]


def test_the_words_say_who_why_and_until_when():
    told = recalled("pools/p", "pools/p/leases/mia", freed("mia", seconds=10))
    assert told.sentence == (
        "boss took back pools/p/leases/mia: Needed elsewhere. Stop using it now. You can take a seat of"
        " pools/p again from 2023-11-14 22:13:30 UTC on."
    )
    assert told.explanation is not None
    assert told.explanation.earliest_time.ToMicroseconds() == NOW + 10 * SECOND
    at_once = recalled("pools/p", "x", freed("mia")).explanation
    assert at_once is not None
    assert not at_once.HasField("earliest_time")
    refusal = held_off("pools/p", freed("mia", seconds=10))
    assert refusal.metadata["rule"] == "hold_off"
    assert refusal.metadata["freed_by"] == "boss"


@given(st.lists(st.builds(Freed, *[st.text()] * 4, st.integers(), st.integers())))
def test_what_is_kept_is_read_again(all_freed: list[Freed]):
    assert from_json(to_json(all_freed)) == tuple(all_freed)
