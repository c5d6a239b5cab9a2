"""The rules of a pool, one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keypeg.errors import FeatureUnknown, NotFound, PoolExhausted, PoolTooSmall, QueueFull
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.domain.decision import Ask
from keypeg_server.domain.explain import Sight, refused, why_not
from keypeg_server.domain.lease import Features, Holder, Lease, Place
from keypeg_server.domain.pool import Pool

NOW = 1_700_000_000_000_000
ADMIN = Caller("accounts/a/users/boss", "boss", "accounts/a", Role.ADMIN, "t1")
MEMBER = Caller("accounts/a/users/mia", "mia", "accounts/a", Role.MEMBER, "t2")


def make_pool(
    capacity: int = 3, queue_limit: int = 100, user_queue_limit: int = 100, **features: int
) -> Pool:
    return Pool(
        "p",
        account="accounts/a",
        product="publishers/x/products/y",
        activation="accounts/a/licenses/l/activations/n",
        capacity=capacity,
        feature_capacity=features,
        queue_limit=queue_limit,
        user_queue_limit=user_queue_limit,
    )


def ask(
    id: str,
    units: int = 1,
    features: Features = (),
    *,
    wait: bool = False,
    priority: int = 0,
    session: str | None = None,
) -> Ask:
    holder = Holder(session or f"s-{id}", f"accounts/a/users/{id}", "dev-1", "host", "app", 7)
    return Ask(id, holder, units, features, wait, priority, 60_000_000)


def granted(pool: Pool, *args, **kwargs) -> Lease:
    outcome = pool.acquire(ask(*args, **kwargs), NOW).outcome
    assert isinstance(outcome, Lease)
    return outcome


def waiting(pool: Pool, *args, **kwargs) -> Place:
    outcome = pool.acquire(ask(*args, wait=True, **kwargs), NOW).outcome
    assert isinstance(outcome, Place)
    return outcome


def test_seats_are_given_until_all_are_held_and_fencing_numbers_grow():
    pool = make_pool(2)
    assert [granted(pool, "a").fencing_number, granted(pool, "b").fencing_number] == [1, 2]
    with pytest.raises(PoolExhausted):
        pool.acquire(ask("c"), NOW)
    pool.release("a", NOW)
    assert granted(pool, "c").fencing_number == 3
    assert pool.held == 2


def test_features_are_taken_with_the_units_or_not_at_all():
    pool = make_pool(5, mesh=2)
    granted(pool, "a", 1, (("mesh", 2),))
    with pytest.raises(PoolExhausted):
        pool.acquire(ask("b", 1, (("mesh", 1),)), NOW)
    assert (pool.held, pool.feature_held("mesh")) == (1, 2)
    pool.release("a", NOW)
    assert (pool.held, pool.feature_held("mesh")) == (0, 0)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (ask("a", 4, wait=True), PoolTooSmall),
        (ask("a", 1, (("mesh", 3),), wait=True), PoolTooSmall),
        (ask("a", 1, (("solver", 1),), wait=True), FeatureUnknown),
    ],
)
def test_what_a_pool_never_has_is_refused_even_to_who_would_wait(request_, error):
    pool = make_pool(3, mesh=2)
    with pytest.raises(error) as caught:
        pool.acquire(request_, NOW)
    assert caught.value.metadata["pool"] == "pools/p"
    assert pool.waiting == 0


def test_who_waits_is_served_in_order_within_priority():
    pool = make_pool(1)
    granted(pool, "a")
    first, second = waiting(pool, "b"), waiting(pool, "c")
    urgent = waiting(pool, "d", priority=5)
    assert [pool.position(place) for place in (urgent, first, second)] == [1, 2, 3]
    order = []
    for id in ("a", "d", "b", "c"):
        order += [lease.id for lease in pool.release(id, NOW).served]
    assert order == ["d", "b", "c"]


def test_a_big_request_at_the_head_is_not_overtaken():
    pool = make_pool(3)
    granted(pool, "a", 2)
    big = waiting(pool, "big", 3)
    small = waiting(pool, "small", 1)
    with pytest.raises(PoolExhausted):
        pool.acquire(ask("late", 1), NOW)  # one is free, and the head has waited longer
    assert [pool.position(big), pool.position(small)] == [1, 2]
    assert isinstance(pool.acquire(ask("urgent", 1, priority=1), NOW).outcome, Lease)
    assert not pool.release("a", NOW).served
    assert [lease.id for lease in pool.release("urgent", NOW).served] == ["big"]


def test_a_big_head_that_leaves_lets_the_next_one_through():
    pool = make_pool(3)
    granted(pool, "a", 2)
    waiting(pool, "big", 3)
    waiting(pool, "small", 1)
    decision = pool.release("big", NOW)
    assert [lease.id for lease in decision.served] == ["small"]
    assert isinstance(decision.outcome, Place)


def test_a_full_queue_refuses_by_its_named_limit():
    pool = make_pool(1, queue_limit=1)
    granted(pool, "a")
    waiting(pool, "b")
    with pytest.raises(QueueFull) as caught:
        pool.acquire(ask("c", wait=True), NOW)
    assert caught.value.metadata["limit"] == "pool.queue_length"


def test_one_user_fills_no_queue_alone():
    pool = make_pool(1, user_queue_limit=2)
    granted(pool, "holds")

    def line_up(id: str, user: str) -> object:
        wanted = ask(id, wait=True)
        holder = replace(wanted.holder, user=f"accounts/a/users/{user}")
        return pool.acquire(wanted._replace(holder=holder), NOW).outcome

    line_up("b", "tom")
    line_up("c", "tom")
    with pytest.raises(QueueFull) as caught:
        line_up("d", "tom")
    assert caught.value.metadata["limit"] == "pool.user_queue_places"
    assert isinstance(line_up("e", "eva"), Place)
    pool.release("b", NOW)  # leaves
    assert isinstance(line_up("d", "tom"), Place)
    pool.release("holds", NOW)  # serves one of them
    assert isinstance(line_up("f", "tom"), Place)


def test_a_session_that_is_gone_gives_back_all_and_leaves_every_queue():
    pool = make_pool(2)
    granted(pool, "a", session="one")
    granted(pool, "b", session="one")
    waiting(pool, "c", session="one")
    waiting(pool, "d", session="two")
    decision = pool.gone("one", NOW)
    assert [lease.id for lease in decision.served] == ["d"]
    assert (pool.held, pool.waiting) == (1, 0)
    assert list(pool.sessions()) == ["two"]
    assert pool.gone("one", NOW).changes == []


def test_what_is_not_there_releases_nothing():
    pool = make_pool(1)
    assert pool.release("nobody", NOW).outcome is None


def test_undoing_a_release_takes_the_seat_back_from_who_was_served():
    pool = make_pool(1)
    held = granted(pool, "a")
    place = waiting(pool, "b")
    decision = pool.release("a", NOW)
    pool.undo(decision.changes)
    assert pool.leases() == [held]
    assert pool.queue() == (place,)
    assert pool.release("a", NOW).served[0].fencing_number == 3  # 2 is never given again


def valid_for_us(pool: Pool, id: str) -> int:
    lease = pool.lease(id)
    assert lease is not None, f"{id} is not held"
    return lease.valid_for_us


def test_an_extension_only_lengthens_and_is_undone():
    pool = make_pool(1)
    granted(pool, "a")
    unchanged = pool.extend("a", 1).outcome
    assert isinstance(unchanged, Lease)
    assert unchanged.valid_for_us == 60_000_000
    decision = pool.extend("a", 90_000_000)
    assert valid_for_us(pool, "a") == 90_000_000
    pool.undo(decision.changes)
    assert valid_for_us(pool, "a") == 60_000_000


def test_what_was_on_disk_goes_on_in_order():
    before = make_pool(1)
    granted(before, "a")
    waiting(before, "b")
    waiting(before, "c", priority=1)
    after = make_pool(1)
    after.restore(before.leases(), reversed(before.queue()))
    assert after.queue() == before.queue()
    assert waiting(after, "d").arrival > max(place.arrival for place in before.queue())
    assert after.release("a", NOW).served[0].fencing_number == 2


def test_a_retired_pool_gives_nothing_more():
    pool = make_pool(1)
    pool.retired = True
    with pytest.raises(NotFound):
        pool.acquire(ask("a"), NOW)


@pytest.mark.parametrize(
    ("capacity", "taken", "asked", "rule"),
    [(2, 2, 1, "capacity"), (3, 2, 2, "capacity")],
)
def test_an_explanation_names_rule_holders_and_remedies(capacity, taken, asked, rule):
    pool = make_pool(capacity)
    granted(pool, "mia", taken)
    wanted = ask("tom", asked)
    with pytest.raises(PoolExhausted) as caught:
        pool.acquire(wanted, NOW)
    error = refused(pool, wanted, caught.value, Sight(ADMIN))
    explanation = error.explanation
    assert explanation is not None
    assert explanation.metadata["rule"] == rule
    assert error.metadata["held_count"] == str(taken)
    assert explanation.holders[0].host_name == "host"
    assert [remedy.action for remedy in explanation.remedies] == ["wait", "release"]


def test_an_explanation_shows_a_member_only_the_own_holdings():
    pool = make_pool(2)
    granted(pool, "mia")
    granted(pool, "tom")
    holders = why_not(pool, ask("zoe"), Sight(MEMBER)).holders
    assert [holder.user for holder in holders] == ["accounts/a/users/mia", ""]
    assert [holder.host_name for holder in holders] == ["host", ""]
    assert [holder.app for holder in holders] == ["app", "app"]


def test_an_explanation_tells_feature_and_queue_from_seats():
    pool = make_pool(3, mesh=1)
    granted(pool, "a", 1, (("mesh", 1),))
    why = why_not(pool, ask("zoe", 1, (("mesh", 1),)), Sight(ADMIN))
    assert (why.metadata["rule"], why.metadata["feature"]) == ("feature_capacity", "mesh")
    waiting(pool, "b", 3)
    place = waiting(pool, "c")
    why = why_not(pool, place, Sight(ADMIN), position=2)
    assert why.metadata["rule"] == "queue_order"
    assert "number 2 of 2" in why.sentence
