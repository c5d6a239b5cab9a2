"""Homes of several servers: who takes what, and what a server does that was away."""

from __future__ import annotations

import asyncio

import pytest

from keypeg.errors import ServerDraining, StorageUnavailable
from keypeg_server.service.homes import Here, News, There
from tests.server.service.cluster_world import Clock, MemoryRows, Server, pass_time

A = "accounts/a"


@pytest.fixture
def rows() -> MemoryRows:
    return MemoryRows()


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def two(rows: MemoryRows, clock: Clock) -> tuple[Server, Server]:
    one, other = await Server.start(rows, clock, "one"), await Server.start(rows, clock, "other")
    await one.cluster.tick()
    return one, other


async def test_who_is_asked_first_takes_a_home_and_the_other_learns_where_it_is(
    rows: MemoryRows, clock: Clock
) -> None:
    one, other = await two(rows, clock)
    assert await one.cluster.find(A) == Here(1)
    assert one.cluster.epoch(A) == one.cluster.here(A) == 1
    assert await other.cluster.find(A) == There(one.cluster.node, "one:1")
    assert other.cluster.epoch(A) is other.cluster.here(A) is None
    assert one.household.said == [f"adopt {A}"]
    assert other.household.said == []


async def test_a_home_that_many_ask_for_is_taken_once(rows: MemoryRows, clock: Clock) -> None:
    one, other = await two(rows, clock)
    found = await asyncio.gather(*(s.cluster.find(A) for s in (one, other) for _ in range(20)))
    assert len([where for where in found if isinstance(where, Here)]) == 20
    assert len(one.household.said + other.household.said) == 1


async def test_the_homes_of_a_dead_server_are_taken_with_a_higher_epoch(
    rows: MemoryRows, clock: Clock
) -> None:
    one, other = await two(rows, clock)
    rows.with_seats.add(A)
    await one.cluster.find(A)
    await pass_time(clock, 3.0, other)
    assert isinstance(await other.cluster.find(A), There)
    await pass_time(clock, 1.0, other)
    assert other.cluster.here(A) == 2, "it was taken without being asked for"
    assert await other.cluster.find(A) == Here(2)


async def test_a_server_that_was_away_does_nothing_for_what_it_lost(
    rows: MemoryRows, clock: Clock
) -> None:
    one, other = await two(rows, clock)
    await one.cluster.find(A)
    node = one.cluster.node
    await pass_time(clock, 6.0, other)
    assert await other.cluster.find(A) == Here(2)
    assert not one.cluster.alive()
    assert one.cluster.here(A) is None
    with pytest.raises(ServerDraining):
        await one.cluster.find(A)
    await one.cluster.tick()  # it finds that it was declared dead, and begins anew
    await one.cluster.tick()
    assert one.household.said == [f"adopt {A}", "suspend", f"abandon {A}", "forget"]
    assert one.cluster.node != node
    assert one.cluster.alive()
    assert one.cluster.epoch(A) is None
    assert await one.cluster.find(A) == There(other.cluster.node, "other:1")


async def test_while_the_database_is_away_nobody_acts_and_nobody_dies(
    rows: MemoryRows, clock: Clock
) -> None:
    one, other = await two(rows, clock)
    await one.cluster.find(A)
    rows.away = True
    await pass_time(clock, 10.0, one, other)
    assert not one.cluster.alive()
    assert not other.cluster.alive()
    rows.away = False
    await other.cluster.tick()  # the first to see it back declares nobody dead
    await pass_time(clock, 0.5, one, other)
    assert one.cluster.here(A) == 1
    assert len(rows.there) == 2
    assert f"abandon {A}" not in one.household.said


async def test_a_beat_that_took_too_long_lets_nobody_act(rows: MemoryRows, clock: Clock) -> None:
    one = await Server.start(rows, clock, "one")
    beat = rows.beat

    async def slow(node: str) -> object:
        found = await beat(node)
        clock.now += 2.5
        return found

    rows.beat = slow  # type: ignore[method-assign, assignment]
    clock.now += 0.5
    assert await one.cluster.tick()
    assert not one.cluster.alive()
    assert one.household.said == ["suspend"]


async def test_who_leaves_gives_all_back_and_others_take_it_at_once(
    rows: MemoryRows, clock: Clock
) -> None:
    one, other = await two(rows, clock)
    rows.with_seats.add(A)
    await one.cluster.find(A)
    await one.cluster.leave()
    assert one.household.said == [f"adopt {A}", f"abandon {A}"]
    await other.cluster.tick()
    assert await other.cluster.find(A) == Here(2)
    assert await one.cluster.find(A) == There(other.cluster.node, "other:1"), "it still knows where"
    with pytest.raises(ServerDraining):
        await one.cluster.find("accounts/of-nobody")


async def test_a_home_that_can_not_be_loaded_is_tried_again(rows: MemoryRows, clock: Clock) -> None:
    one, _ = await two(rows, clock)
    one.household.fails = True
    with pytest.raises(StorageUnavailable):
        await one.cluster.find(A)
    assert one.cluster.epoch(A) is None
    one.household.fails = False
    assert await one.cluster.find(A) == Here(2)


async def test_a_home_that_is_lost_while_it_is_loaded_is_dropped_after(
    rows: MemoryRows, clock: Clock
) -> None:
    one, other = await two(rows, clock)
    one.household.held_up = asyncio.Event()
    asked = asyncio.ensure_future(one.cluster.find(A))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await pass_time(clock, 6.0, other)
    assert await other.cluster.find(A) == Here(2)
    await one.cluster.tick()
    await one.cluster.tick()
    assert one.cluster.here(A) is None
    one.household.held_up.set()
    assert await asked == There(other.cluster.node, "other:1")
    assert one.household.said[-2:] == [f"adopt {A}", f"abandon {A}"]


async def test_what_a_transaction_finds_lost_is_dropped_at_once(
    rows: MemoryRows, clock: Clock
) -> None:
    one, other = await two(rows, clock)
    await one.cluster.find(A)
    rows.homes[A] = other.cluster.node, 7
    one.cluster.lost({A: None})
    one.cluster.lost({A: 6})
    assert one.cluster.here(A) == 1, "that was of another time"
    error = one.cluster.lost({A: 1})
    assert isinstance(error, ServerDraining)
    assert one.household.said == [f"adopt {A}", f"abandon {A}"]
    assert isinstance(await one.cluster.find(A), There)


async def test_who_is_told_that_a_server_has_not_what_it_should_asks_again(
    rows: MemoryRows, clock: Clock
) -> None:
    one, other = await two(rows, clock)
    await one.cluster.find(A)
    there = await other.cluster.find(A)
    assert isinstance(there, There)
    rows.homes[A] = None, 1
    assert await other.cluster.find(A) == there
    other.cluster.not_there(A, there)
    assert await other.cluster.find(A) == Here(2)


async def test_a_call_waits_until_who_had_the_home_is_gone(rows: MemoryRows, clock: Clock) -> None:
    one, other = await two(rows, clock)
    await one.cluster.find(A)
    there = await other.cluster.find(A)
    assert isinstance(there, There)
    assert not await other.cluster.changed(there, 0.0)
    waiting = asyncio.ensure_future(other.cluster.changed(there, 60))
    await pass_time(clock, 4.0, other)
    assert await waiting


async def test_a_process_that_has_ended_on_this_computer_is_not_waited_for(
    rows: MemoryRows, clock: Clock
) -> None:
    first = await Server.start(rows, clock, "one")
    await first.cluster.find(A)
    again = await Server.start(rows, clock, "one", gone=["process of one"])
    assert await again.cluster.find(A) == Here(2)


async def test_of_three_servers_each_takes_its_share_of_what_a_dead_one_had(
    rows: MemoryRows, clock: Clock
) -> None:
    servers = [await Server.start(rows, clock, name) for name in ("one", "two", "three")]
    parents = [f"accounts/a-{number}" for number in range(30)]
    for parent in parents:
        rows.with_seats.add(parent)
        await servers[0].cluster.find(parent)
    await pass_time(clock, 5.0, *servers[1:])
    for _ in range(50):
        await asyncio.sleep(0)
    shares = [len(server.cluster.mine()) for server in servers[1:]]
    assert sum(shares) == 30
    assert min(shares) >= 5


async def test_news_are_heard_once_by_all_others_and_swept_when_all_had_time(
    rows: MemoryRows, clock: Clock
) -> None:
    one, other = await two(rows, clock)
    rows.news += [News(one.cluster.node, number, "thing", "{}") for number in (1, 2)]
    await pass_time(clock, 1.0, one, other)
    assert other.household.said == ["hear thing"] * 2
    assert one.household.said == []
    await pass_time(clock, 50.0, one, other)
    assert rows.news
    await pass_time(clock, 30.0, one, other)
    assert rows.news == []
    assert other.household.said == ["hear thing"] * 2


async def test_who_may_have_missed_news_believes_nothing_any_more(
    rows: MemoryRows, clock: Clock
) -> None:
    one, other = await two(rows, clock)
    rows.news.append(News(one.cluster.node, 1, "thing", "{}"))
    await pass_time(clock, 0.5, one, other)
    rows.away = True
    await pass_time(clock, 40.0, one, other)
    rows.away = False
    await other.cluster.tick()
    assert "forget" in other.household.said


async def test_it_says_when_it_may_act_and_when_not(rows: MemoryRows, clock: Clock) -> None:
    one = await Server.start(rows, clock, "one")
    heard: list[bool] = []
    one.cluster.on_alive = heard.append
    await pass_time(clock, 0.5, one)
    rows.away = True
    clock.now += 3
    one.cluster._acting._ended()  # as its timer does
    rows.away = False
    await one.cluster.tick()
    assert heard == [True, False, True]


async def test_who_was_cut_off_believes_nothing_though_it_never_heard_of_anything(
    rows: MemoryRows, clock: Clock
) -> None:
    """What was told meanwhile may be removed by now; and nobody was there to declare it dead."""
    one = await Server.start(rows, clock, "one")
    await one.cluster.tick()
    one.household.said.clear()
    rows.away = True
    await pass_time(clock, 90.0, one)
    rows.away = False
    await one.cluster.tick()
    assert one.household.said == ["forget"]


async def test_beats_do_not_wait_behind_all_the_homes_that_are_asked_for(
    rows: MemoryRows, clock: Clock
) -> None:
    """As when everyone whose server died comes at once: the rows are asked on one connection, in turn."""
    one = await Server.start(rows, clock, "one")
    take, most, now = rows.take, 0, 0

    async def slow(parent: str, node: str) -> Here | There:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return await take(parent, node)

    rows.take = slow  # type: ignore[method-assign]
    found = await asyncio.gather(*(one.cluster.find(f"accounts/a{n}") for n in range(200)))
    assert all(isinstance(where, Here) for where in found)
    assert 1 < most <= 8
