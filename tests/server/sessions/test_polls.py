"""Waiting without a stream: calls that stay open, places that are kept, seats that nobody comes for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from keypeg.errors import (
    LeaseExpired,
    LicenseExpired,
    NotFound,
    PoolExhausted,
    PoolRule,
    QueueFull,
    RequestIdReused,
    ServerDraining,
)
from keypeg.v1.seat_service_pb2 import (
    AcquireSeatRequest,
    AcquireSeatResponse,
    FreeSeatRequest,
    LeaveQueueRequest,
    ListLeasesRequest,
    ListQueuePlacesRequest,
    ReleaseSeatRequest,
    RenewSeatRequest,
)
from keypeg_server.domain import events
from keypeg_server.domain.lease import Holder, Lease, Place
from keypeg_server.service.polls import ATTENDED, Call, Polls
from tests.server.sessions.test_seat_service import ask, same
from tests.server.sessions.world import ACCOUNT, LICENSE, App, World

pytestmark = pytest.mark.behaviour("SEAT-3")

POOL = "pools/p1"


def patient(wait: float = 30, ttl: float | None = None, **fields) -> AcquireSeatRequest:
    request = ask(ttl=ttl, **fields)
    request.wait.FromTimedelta(timedelta(seconds=wait))
    return request


def once(request: AcquireSeatRequest) -> AcquireSeatRequest:
    """The same request, which does not wait."""
    copy = same(request)
    copy.ClearField("wait")
    return copy


@asynccontextmanager
async def call(
    world: World, request: AcquireSeatRequest, name: str = "tom"
) -> AsyncIterator[asyncio.Task[AcquireSeatResponse]]:
    """A call that is open, once its place is there; canceled at the end."""
    calls = open_calls(world)
    task = asyncio.create_task(world.seats(name).AcquireSeat(request))
    await world.hears(lambda: task.done() or open_calls(world) > calls)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await world.hears(lambda: open_calls(world) <= calls)


def open_calls(world: World) -> int:
    return sum(len(one.calls) for one in world.engine.aftermath.polls._waits.values())


async def taken(world: World, name: str = "mia") -> ReleaseSeatRequest:
    """The pool's one seat is held; what gives it back."""
    lease = (await world.seats(name).AcquireSeat(ask(ttl=3600))).lease
    return ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number)


async def test_what_comes_free_is_the_answer_of_the_open_call(world: World) -> None:
    await world.add_pool(1)
    held = await taken(world)
    async with call(world, patient(ttl=20)) as waiting:
        await world.pass_time(25)  # five seconds are left of the call
        assert not waiting.done()
        await world.seats("mia").ReleaseSeat(held)
        got = await waiting
    assert not got.HasField("place")
    # Its holder counts from when it sent the call: the time that was spent waiting comes on top.
    assert got.valid_for.ToTimedelta() == timedelta(seconds=25 + 20)
    assert got.expire_time.ToDatetime() - got.lease.acquire_time.ToDatetime() == timedelta(
        seconds=20
    )
    await world.pass_time(20.9)
    assert world.pool_of(POOL).held == 1, "a holder may believe in it for 20 seconds from now"
    await world.pass_time(1.0)
    assert world.pool_of(POOL).held == 0


async def test_when_the_time_is_over_first_the_answer_is_the_place(world: World) -> None:
    await world.add_pool(1)
    await taken(world)
    first, second = patient(30), patient(10, priority=-1)
    async with call(world, first), call(world, second, "eva") as waiting:
        await world.pass_time(9.9)
        assert not waiting.done()
        await world.pass_time(0.2)
        place = (await waiting).place
        assert (place.position, place.waiting_count, place.priority) == (2, 2, -1)
        assert (place.user, place.device, place.app) == (f"{ACCOUNT}/users/eva", "device-a", "cad")
        assert place.session == ""
        assert place.explanation.metadata["rule"] == "capacity"
        again = (await world.seats("eva").AcquireSeat(once(second))).place
    assert again.name == place.name


async def test_the_same_request_goes_on_in_its_place_however_its_calls_end(world: World) -> None:
    await world.add_pool(1)
    held = await taken(world)
    first, second = patient(), patient()
    async with call(world, first, "tom"):
        pass  # the client has gone
    async with call(world, second, "eva"):
        await world.pass_time(59)
    place = (await world.seats("tom").AcquireSeat(once(first))).place
    assert place.position == 1
    async with call(world, first, "tom") as waiting, call(world, first, "tom") as twin:
        assert world.pool_of(POOL).waiting == 2
        await world.seats("mia").ReleaseSeat(held)
        lease = (await waiting).lease
        assert (await twin).lease == lease, "the same request, and so the same seat"
    assert lease.name.rpartition("/")[2] == place.name.rpartition("/")[2]
    assert world.pool_of(POOL).waiting == 1
    with pytest.raises(RequestIdReused):
        await world.seats("tom").AcquireSeat(same(first, units=2))
    assert (await world.seats("tom").AcquireSeat(first)).lease == lease


@pytest.mark.behaviour("SEAT-6")
async def test_places_outlive_the_server_in_order_and_get_their_time_again(world: World) -> None:
    await world.add_pool(1)
    held = await taken(world)
    requests = {name: patient() for name in ("tom", "eva", "max")}
    requests["max"].priority = 5
    places = {}
    for name, request in requests.items():
        async with call(world, request, name):
            pass
        places[name] = (await world.seats(name).AcquireSeat(once(request))).place.name
    await world.pass_time(59)
    await world.restart()
    listed = await world.seats("boss").ListQueuePlaces(ListQueuePlacesRequest(parent=POOL))
    assert [one.name for one in listed.places] == [places[name] for name in ("max", "tom", "eva")]
    await world.pass_time(59)
    assert world.pool_of(POOL).waiting == 3, "nobody could ask while the server was away"
    async with call(world, requests["max"], "max") as waiting:
        await world.seats("mia").ReleaseSeat(held)
        assert (await waiting).lease.name.endswith(places["max"].rpartition("/")[2])
    await world.pass_time(2)
    assert world.pool_of(POOL).waiting == 0, "nobody asked for the others"


async def test_a_place_for_which_nobody_asks_is_given_up_a_minute_later(world: World) -> None:
    await world.add_pool(1)
    await taken(world)
    request = patient()
    async with call(world, request):
        await world.pass_time(29)
    await world.pass_time(59.9)
    assert world.pool_of(POOL).waiting == 1
    await world.pass_time(0.2)
    assert world.pool_of(POOL).waiting == 0
    with pytest.raises(LeaseExpired):
        await world.seats("tom").AcquireSeat(request)
    assert world.engine.aftermath.polls.known(f"{ACCOUNT}/users/tom", request.request_id) is None


async def test_who_asks_in_time_again_and_again_keeps_its_place(world: World) -> None:
    await world.add_pool(1)
    await taken(world)
    request = patient()
    for _ in range(4):
        async with call(world, request) as waiting:
            await world.pass_time(30)
            assert (await waiting).place.position == 1
        await world.pass_time(50)
    assert world.pool_of(POOL).waiting == 1


async def test_a_seat_that_nobody_comes_for_goes_on_to_the_next(world: World) -> None:
    await world.add_pool(1)
    held = await taken(world)
    async with call(world, patient(ttl=3600), "tom"):
        pass
    next_one = patient()
    async with call(world, next_one, "eva") as waiting:
        await world.seats("mia").ReleaseSeat(held)
        await world.pass_time(29)  # held for tom, who does not come
        assert not waiting.done()
    await world.pass_time(31)
    async with call(world, next_one, "eva") as waiting:
        await world.pass_time(2)
        assert (await waiting).HasField("lease")


async def test_who_comes_in_time_for_a_seat_that_was_kept_has_it_for_its_full_time(
    world: World,
) -> None:
    await world.add_pool(1)
    held = await taken(world)
    request = patient(ttl=30)
    async with call(world, request):
        pass
    await world.seats("mia").ReleaseSeat(held)
    listed = await world.seats("boss").ListLeases(ListLeasesRequest(parent=POOL))
    assert not listed.leases[0].HasField("last_seen_time")
    await world.pass_time(55)
    got = await world.seats("tom").AcquireSeat(request)
    assert got.valid_for.ToTimedelta() == timedelta(seconds=30)
    await world.pass_time(30.5)
    assert world.pool_of(POOL).held == 1
    await world.pass_time(1)
    assert world.pool_of(POOL).held == 0


async def test_a_seat_that_was_kept_is_free_when_the_time_of_who_came_for_it_is_over(
    world: World,
) -> None:
    await world.add_pool(1)
    held = await taken(world)
    request = patient(ttl=10)
    async with call(world, request):
        pass
    await world.seats("mia").ReleaseSeat(held)
    await world.pass_time(5)
    got = await world.seats("tom").AcquireSeat(request)
    assert got.valid_for.ToTimedelta() == timedelta(seconds=10)
    await world.pass_time(10.5)
    assert world.pool_of(POOL).held == 1, "its holder may believe in it"
    await world.pass_time(1)
    assert world.pool_of(POOL).held == 0, "and it is kept for nobody any more"


async def test_a_place_is_left_at_once(world: World) -> None:
    await world.add_pool(1)
    await taken(world)
    request, other = patient(), patient()
    async with call(world, request) as waiting, call(world, other, "eva"):
        place = (await world.seats("tom").AcquireSeat(once(request))).place
        leave = LeaveQueueRequest(name=place.name)
        for name in ("eva", "boss", "eve"):
            with pytest.raises(NotFound):
                await world.seats(name).LeaveQueue(leave)
        assert (await world.seats("tom").LeaveQueue(leave)).left
        with pytest.raises(LeaseExpired):
            await waiting
        assert not (await world.seats("tom").LeaveQueue(leave)).left
        listed = await world.seats("eva").ListQueuePlaces(ListQueuePlacesRequest(parent=POOL))
        assert [one.position for one in listed.places] == [1]


async def test_a_place_that_was_served_is_not_left_but_released(world: World) -> None:
    await world.add_pool(1)
    held = await taken(world)
    request = patient()
    async with call(world, request):
        place = (await world.seats("tom").AcquireSeat(once(request))).place
    await world.seats("mia").ReleaseSeat(held)
    assert not (await world.seats("tom").LeaveQueue(LeaveQueueRequest(name=place.name))).left
    lease = (await world.seats("tom").AcquireSeat(once(request))).lease
    release = ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
    assert (await world.seats("tom").ReleaseSeat(release)).released


async def test_the_place_of_a_session_is_not_left_by_a_call(world: World) -> None:
    await world.add_pool(1)
    await taken(world)
    app: App = world.app("tom")
    await app.open()
    queued = await app.wait(pool=POOL)
    with pytest.raises(PoolRule):
        await world.seats("tom").LeaveQueue(LeaveQueueRequest(name=queued.place.name))


async def test_of_very_many_calls_for_one_place_the_oldest_is_answered(world: World) -> None:
    await world.add_pool(1)
    await taken(world)
    request = patient()
    async with call(world, request) as oldest:
        await world.pass_time(1)
        others = [asyncio.create_task(world.seats("tom").AcquireSeat(request)) for _ in range(4)]
        assert (await oldest).place.position == 1
        assert not any(one.done() for one in others)
        for one in others:
            one.cancel()


async def test_who_does_not_wait_is_refused_and_has_no_place(world: World) -> None:
    await world.add_pool(1)
    await taken(world)
    with pytest.raises(PoolExhausted):
        await world.seats("tom").AcquireSeat(ask())
    with pytest.raises(PoolExhausted):
        await world.seats("tom").AcquireSeat(patient(0))
    assert world.pool_of(POOL).waiting == 0


async def test_a_full_queue_refuses(world: World) -> None:
    await world.add_pool(1)
    await taken(world)
    world.pool_of(POOL).queue_limit = 1
    async with call(world, patient()):
        with pytest.raises(QueueFull):
            await world.seats("eva").AcquireSeat(patient())


async def test_a_license_that_ends_ends_the_waiting_too(world: World) -> None:
    await world.add_pool(1)
    await taken(world)
    async with call(world, patient()) as waiting, call(world, patient(), "eva") as other:
        world.hub.publish(events.LicenseChanged(ACCOUNT, LICENSE, ()))  # nothing of it is wrong
        await world.settled()
        assert not waiting.done()
        world.licenses.refusal = LicenseExpired("It has ended.", license=LICENSE)
        world.hub.publish(events.LicenseChanged(ACCOUNT, LICENSE, ()))
        for task in (waiting, other):
            with pytest.raises(LicenseExpired):
                await task


@pytest.mark.parametrize("ended", ["told to look again", "canceled"])
async def test_a_seat_that_comes_when_no_call_hears_it_is_kept_for_a_minute_only(
    world: World, ended: str
) -> None:
    await world.add_pool(1)
    kept: list[timedelta] = []
    polls = Polls(world.clock, lambda *hold: kept.append(hold[2]), lambda *_: None)
    holder = Holder("", f"{ACCOUNT}/users/tom", "device-a", "a", "cad", 1)
    place = Place("l1", "p1", holder, 1, (), 0, 0, 1, 3_600_000_000, str(uuid.uuid4()), 0)
    waits = Call(world.clock.monotonic(), world.clock.monotonic() + 30, None)
    polls.open(world.pool_of(POOL), place, waits)
    assert waits.told is not None
    if ended == "canceled":
        waits.told.cancel()
    else:
        polls.look_again()  # whose license may have ended: it is not sure that it takes the seat
    polls.served(world.pool_of(POOL), Lease("l1", "p1", holder, 1, (), 1, 0, 3_600_000_000))
    assert kept == [ATTENDED]
    assert polls.known(holder.user, place.request_id) is not None
    polls.stop()


async def test_a_user_who_is_held_off_waits_no_more(world: World) -> None:
    await world.add_pool(1)
    held = await taken(world, "tom")
    async with call(world, patient()) as waiting:
        free = FreeSeatRequest(name=held.name, request_id=ask().request_id, reason="Needed.")
        free.hold_off.FromSeconds(60)
        await world.seats("boss").FreeSeat(free)
        with pytest.raises(PoolRule) as caught:
            await waiting
        assert caught.value.metadata["rule"] == "hold_off"


async def test_a_server_that_goes_away_says_so_and_keeps_the_place(world: World) -> None:
    await world.add_pool(1)
    held = await taken(world)
    request = patient()
    async with call(world, request) as waiting:
        await world.sessions.drain(timedelta(0))
        with pytest.raises(ServerDraining):
            await waiting
    await world.restart()
    async with call(world, request) as waiting:
        assert world.pool_of(POOL).waiting == 1
        await world.seats("mia").ReleaseSeat(held)
        assert (await waiting).HasField("lease")


async def test_a_server_in_doubt_promises_nothing_to_who_waits(world: World) -> None:
    await world.add_pool(1)
    held = await taken(world)
    request = patient()
    async with call(world, request) as waiting:
        world.sure = False
        await world.seats("mia").ReleaseSeat(held)
        with pytest.raises(ServerDraining):
            await waiting
    world.sure = True
    assert (await world.seats("tom").AcquireSeat(request)).HasField("lease")


async def test_a_request_that_waits_longer_than_answers_are_kept_has_one_place(
    world: World,
) -> None:
    await world.add_pool(1)
    held = await taken(world)
    request = patient()
    renew = RenewSeatRequest(name=held.name, fencing_number=held.fencing_number)
    async with call(world, request):
        pass
    await world.seats("mia").RenewSeat(renew)
    # As after 24 hours of calls.
    world.committer._recent.clear()
    await world.database.write(
        lambda session: session.connection().exec_driver_sql("DELETE FROM request")
    )
    async with call(world, request) as waiting:
        assert world.pool_of(POOL).waiting == 1
        await world.seats("mia").ReleaseSeat(held)
        assert (await waiting).HasField("lease")
