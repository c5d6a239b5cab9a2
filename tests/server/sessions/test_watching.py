"""Watching pools and reading their past: what is told, to whom, and what a slow reader loses."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from keypeg.errors import FieldInvalid, LimitExceeded, NotFound, ServerDraining, TokenInvalid
from keypeg.v1 import pool_event_pb2 as pb
from keypeg.v1.pool_event_pb2 import PoolEvent, PoolEventKind
from keypeg.v1.pool_rules_pb2 import PoolRules
from keypeg.v1.seat_service_pb2 import (
    FreeSeatRequest,
    ListLeasesRequest,
    ListPoolEventsRequest,
    ReleaseSeatRequest,
    RenewSeatRequest,
    UpdatePoolRulesRequest,
)
from keypeg_server.domain import events
from keypeg_server.domain.caller import Role
from keypeg_server.service import watching
from tests.server.sessions.test_seat_service import ask
from tests.server.sessions.world import ACCOUNT, Ended, World, caller

pytestmark = pytest.mark.behaviour("SEAT-14")

POOL = "pools/p1"


def kind(event: PoolEvent) -> str:
    return PoolEventKind.Name(event.kind).removeprefix("POOL_EVENT_KIND_")


async def take(world: World, name: str = "mia", pool: str = POOL) -> ReleaseSeatRequest:
    lease = (await world.seats(name).AcquireSeat(ask(pool))).lease
    return ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number)


async def past(world: World, name: str = "boss", parent: str = POOL, **fields) -> list[PoolEvent]:
    request = ListPoolEventsRequest(parent=parent, **fields)
    found: list[PoolEvent] = []
    while True:
        page = await world.seats(name).ListPoolEvents(request)
        assert len(page.events) <= (request.page_size or 100)
        found += page.events
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_first_what_is_then_what_happens_each_once_and_in_order(world: World) -> None:
    await world.add_pool(1, mesh=3)
    held = await take(world)
    app = world.app("tom", "device-t")
    await app.open()
    queued = await app.wait(pool=POOL)
    watch = world.watch()
    (snapshot,) = await watch.snapshot()
    assert (snapshot.pool.name, snapshot.pool.held_count, snapshot.pool.waiting_count) == (
        POOL, 1, 1,
    )  # fmt: skip
    assert [one.name for one in snapshot.leases] == [held.name]
    assert snapshot.leases[0].user == f"{ACCOUNT}/users/mia"
    assert [one.name for one in snapshot.places] == [queued.place.name]
    assert snapshot.places[0].host_name == "host of device-t"

    await world.seats().ReleaseSeat(held)
    released, served = await watch.event(), await watch.event()
    assert (kind(released), released.resource, released.how) == ("RELEASED", held.name, "released")
    assert released.since_time == snapshot.leases[0].acquire_time
    assert kind(served) == "SERVED"
    assert served.since_time == queued.place.create_time
    assert app.opened is not None
    assert served.session == app.opened.session
    assert (served.user, served.process_id) == (f"{ACCOUNT}/users/tom", 4711)
    assert served.sequence == released.sequence + 1

    lease = (await app.next("acquired")).lease
    free = FreeSeatRequest(name=lease.name, request_id=str(uuid.uuid4()), reason="Needed.")
    free.hold_off.FromSeconds(60)
    await world.seats("boss").FreeSeat(free)
    recalled = await watch.event()
    assert (kind(recalled), recalled.reason) == ("RECALLED", "Needed.")
    assert recalled.by == f"{ACCOUNT}/users/boss"
    assert recalled.until_time.seconds - recalled.time.seconds == 60
    await app.release(lease.name)
    returned = await watch.event()
    assert (kind(returned), returned.how) == ("RELEASED", "recalled")

    await world.seats("boss").UpdatePoolRules(
        UpdatePoolRulesRequest(name=POOL, rules=PoolRules(overdraft_units=0, queue_length=7))
    )
    assert kind(await watch.event()) == "RULES_CHANGED"
    await take(world)
    assert kind(await watch.event()) == "ACQUIRED"
    with pytest.raises(Exception, match="held"):
        await take(world, "eva")
    refused = await watch.event()
    assert (kind(refused), refused.reason, refused.rule, refused.count) == (
        "REFUSED", "POOL_EXHAUSTED", "capacity", 1,
    )  # fmt: skip
    await world.pass_time(62)
    expired = await watch.event()
    assert (kind(expired), expired.how) == ("EXPIRED", "deadline")

    told = [released, served, recalled, returned]
    assert [one for one in await past(world) if one.sequence in {t.sequence for t in told}] == told


async def test_who_leaves_the_queue_is_told_of(world: World) -> None:
    await world.add_pool(1)
    await take(world)
    watch = world.watch(ACCOUNT)
    await watch.snapshot()
    app = world.app("tom", "device-t")
    await app.open()
    queued = await app.wait(pool=POOL, priority=3)
    waits = await watch.event()
    assert (kind(waits), waits.priority, waits.resource) == ("QUEUED", 3, queued.place.name)
    await app.release(queued.place.name)
    left = await watch.event()
    assert (kind(left), left.resource) == ("LEFT", queued.place.name)


async def test_an_account_is_watched_whole_and_others_are_not_seen(world: World) -> None:
    nothing = await world.watch(ACCOUNT).snapshot()
    assert len(nothing) == 1
    assert not nothing[0].HasField("pool")
    await world.add_pool(1)
    await world.add_pool(2, "p2")
    watch, one = world.watch(ACCOUNT), world.watch("pools/p2")
    assert [part.pool.name for part in await watch.snapshot()] == [POOL, "pools/p2"]
    await one.snapshot()
    await take(world)
    await take(world, pool="pools/p2")
    assert [(await watch.event()).pool for _ in range(2)] == [POOL, "pools/p2"]
    assert (await one.event()).pool == "pools/p2"
    for parent in (POOL, ACCOUNT):
        with pytest.raises(Ended) as ended:
            await world.watch(parent, "eve").read()
        assert isinstance(ended.value.error, NotFound)
        with pytest.raises(NotFound):
            await past(world, "eve", parent)


async def test_a_member_sees_who_where_it_is_itself(world: World) -> None:
    await world.add_pool(3)
    await take(world, "eva")
    watch = world.watch(name="tom")
    (snapshot,) = await watch.snapshot()
    assert snapshot.leases[0].user == ""
    assert snapshot.leases[0].app == "cad"
    own, other = await take(world, "tom"), await take(world, "eva")
    seen = [await watch.event(), await watch.event()]
    assert [(one.user, one.device, one.resource) for one in seen] == [
        (f"{ACCOUNT}/users/tom", "device-a", own.name),
        ("", "", other.name),
    ]
    for name in (own.name, other.name):
        free = FreeSeatRequest(name=name, request_id=str(uuid.uuid4()), reason="Needed.")
        await world.seats("boss").FreeSeat(free)
    seen += [await watch.event(), await watch.event()]
    assert [(one.reason, one.by) for one in seen[2:]] == [("Needed.", ""), ("", "")]
    assert await past(world, "tom") == [*(await past(world, "tom"))[:1], *seen]


async def test_a_slow_reader_is_told_that_it_missed_some_and_gets_a_new_snapshot(
    world: World,
) -> None:
    world.unread_limit = 5
    await world.restart()
    await world.add_pool(100)
    told: list[watching.Told] = []
    boss = world.watching.watch(caller("boss", Role.ADMIN), POOL)
    told.append(await anext(boss))
    for _ in range(5):
        await take(world)
    told += [await anext(boss) for _ in range(5)]
    for _ in range(12):
        await take(world)
    told += [await anext(boss), await anext(boss)]
    assert told[-2] == watching.Missed(12)
    assert isinstance(told[-1], tuple)
    assert len(told[-1][0].leases) == 17
    await take(world)
    last = await anext(boss)
    assert isinstance(last, watching.Happened)
    assert last.event.kind.name == "ACQUIRED"
    await boss.aclose()
    assert not world.watching._watchers


async def test_a_long_snapshot_comes_in_parts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keypeg_server.rpc.seat_encode.PART", 2)
    await world.add_pool(5)
    for _ in range(5):
        await take(world)
    parts = await world.watch().snapshot()
    assert [(len(part.leases), part.last) for part in parts] == [(2, False), (2, False), (1, True)]


async def test_streams_end_with_their_user_their_pool_their_account_and_their_server(
    world: World,
) -> None:
    await world.add_pool(1)
    await world.add_pool(1, "p2")
    watch, gone, user, moved = (
        world.watch(), world.watch("pools/p2"), world.watch(name="tom"), world.watch(ACCOUNT),
    )  # fmt: skip
    for one in (watch, gone, user, moved):
        await one.snapshot()
    world.hub.publish(events.UserRemoved(f"{ACCOUNT}/users/tom"))
    world.hub.publish(events.PoolRemoved("pools/p2"))
    for stream, error in ((user, TokenInvalid), (gone, NotFound)):
        with pytest.raises(Ended) as ended:
            await stream.read()
        assert isinstance(ended.value.error, error)
    world.sessions.abandon(ACCOUNT)
    await world.sessions.adopt(ACCOUNT)
    for stream in (watch, moved):
        with pytest.raises(Ended) as ended:
            await stream.read()
        assert isinstance(ended.value.error, ServerDraining)
    again = world.watch()
    await again.snapshot()
    world.watching.stop()
    for stream in (again, world.watch()):
        with pytest.raises(Ended) as ended:
            await stream.read()
        assert isinstance(ended.value.error, ServerDraining)


async def test_who_was_removed_is_told_nothing_more_however_slowly_it_reads(world: World) -> None:
    world.unread_limit = 3
    await world.restart()
    await world.add_pool(20)
    behind = world.watching.watch(caller("tom", Role.MEMBER), POOL)
    missing = world.watching.watch(caller("tom", Role.MEMBER), POOL)
    for watch in (behind, missing):
        await anext(watch)
    await take(world)
    await anext(behind)
    for _ in range(2):
        await take(world)
    world.hub.publish(events.UserRemoved(f"{ACCOUNT}/users/tom"))
    with pytest.raises(TokenInvalid):
        await anext(behind)
    for _ in range(5):
        await take(world)
    with pytest.raises(TokenInvalid):
        await anext(missing)


async def test_who_signs_out_watches_no_more(world: World) -> None:
    await world.add_pool(2)
    watch = world.watching.watch(caller("tom", Role.MEMBER), POOL)
    other = world.watching.watch(caller("boss", Role.ADMIN), POOL)
    for one in (watch, other):
        await anext(one)
    world.hub.publish(events.TokenRevoked(caller("tom", Role.MEMBER).token))
    await take(world)
    with pytest.raises(TokenInvalid):
        await anext(watch)
    assert isinstance(await anext(other), watching.Happened)
    await other.aclose()


async def test_a_user_opens_only_so_many_streams(world: World) -> None:
    await world.add_pool(1)
    streams = [world.watch() for _ in range(watching.OF_USER_LIMIT)]
    for stream in streams:
        await stream.snapshot()
    with pytest.raises(Ended) as ended:
        await world.watch().read()
    assert isinstance(ended.value.error, LimitExceeded)
    streams[0].call.cancel()
    await world.hears(lambda: len(world.watching._watchers[ACCOUNT]) < watching.OF_USER_LIMIT)
    await world.watch().snapshot()


async def test_the_past_is_read_by_time_kind_and_page(world: World) -> None:
    await world.add_pool(9)
    await world.add_pool(9, "p2")
    marks = []
    for _ in range(3):
        marks.append(world.clock.wall())
        await world.seats().ReleaseSeat(await take(world))
        await take(world, pool="pools/p2")
        await world.pass_time(10)
    everything = await past(world)
    assert [kind(one) for one in everything] == ["ACQUIRED", "RELEASED"] * 3
    assert {one.pool for one in everything} == {POOL}
    assert len(await past(world, parent=ACCOUNT)) == 9
    assert await past(world, page_size=1) == everything
    assert await past(world, kinds=[pb.POOL_EVENT_KIND_RELEASED]) == everything[1::2]
    assert await past(world, begin_time=marks[1]) == everything[2:]
    assert await past(world, begin_time=marks[1], end_time=marks[2]) == everything[2:4]
    assert await past(world, end_time=marks[0]) == []
    assert await past(world, begin_time=marks[2] + timedelta(days=1)) == []
    with pytest.raises(FieldInvalid):
        await past(world, page_token="MTp4")
    assert await past(world, kinds=[pb.POOL_EVENT_KIND_SERVED]) == []


async def test_a_lease_shows_when_its_holder_was_last_heard_of(world: World) -> None:
    await world.add_pool(2)
    held = await take(world)
    app = world.app("tom", "device-t")
    await app.open()
    await app.acquire(pool=POOL)

    async def seen() -> list[tuple[float | None, float]]:
        listed = await world.seats("boss").ListLeases(ListLeasesRequest(parent=POOL))
        now = world.clock.wall().timestamp()
        assert {one.location for one in listed.leases} == {f"{ACCOUNT}/locations/site"}
        return [
            (
                now - one.last_seen_time.ToNanoseconds() / 1e9
                if one.HasField("last_seen_time")
                else None,
                one.expire_time.ToNanoseconds() / 1e9 - now,
            )
            for one in listed.leases
        ]

    await world.pass_time(20)
    assert [round(one or 0) for one, _ in await seen()] == [20, 20]
    assert [round(ends) for _, ends in await seen()] == [42, 42]  # 60 s, 1 % and 1 s from then
    await world.seats().RenewSeat(
        RenewSeatRequest(name=held.name, fencing_number=held.fencing_number)
    )
    await app.renew()
    assert [round(one or 0) for one, _ in await seen()] == [0, 0]
    await world.restart()
    assert [one for one, _ in await seen()] == [None, None], "nobody was heard of since"
