"""Seats by unary calls, and who may see what."""

from __future__ import annotations

import uuid
from datetime import UTC, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from keypeg.errors import (
    FencingStale,
    KeypegError,
    LeaseExpired,
    LicenseMissing,
    NotFound,
    PoolExhausted,
    PoolRule,
    RequestIdReused,
)
from keypeg.v1 import explanation_pb2, session_pb2
from keypeg.v1.seat_service_pb2 import (
    WOULD_DENIED,
    WOULD_GRANTED,
    WOULD_QUEUED,
    AcquireSeatRequest,
    ExplainRequest,
    GetPoolRequest,
    ListLeasesRequest,
    ListPoolsRequest,
    ListQueuePlacesRequest,
    ReleaseSeatRequest,
    RenewSeatRequest,
)
from keypeg_server.domain import events
from tests.server.sessions.world import ACCOUNT, LICENSE, World


def first_holder(error: KeypegError) -> explanation_pb2.Holder:
    """Whom a refusal names first."""
    assert error.explanation is not None, "the refusal explains nothing"
    return error.explanation.holders[0]


def ask(pool: str = "pools/p1", ttl: float | None = None, **fields) -> AcquireSeatRequest:
    request = AcquireSeatRequest(
        **{
            "request_id": str(uuid.uuid4()),
            "pool": pool,
            "device": session_pb2.Device(id="device-a"),
            "app": session_pb2.App(name="cad"),
            **fields,
        }
    )
    if ttl is not None:
        request.ttl.FromTimedelta(timedelta(seconds=ttl))
    return request


def same(request: AcquireSeatRequest, **changes) -> AcquireSeatRequest:
    copy = AcquireSeatRequest()
    copy.CopyFrom(request)
    for name, value in changes.items():
        setattr(copy, name, value)
    return copy


async def test_a_seat_is_taken_renewed_and_given_back(world: World):
    await world.add_pool(1)
    seats = world.seats()
    got = await seats.AcquireSeat(ask())
    assert got.valid_for.ToTimedelta() == timedelta(seconds=60)
    lease = got.lease
    renewed = await seats.RenewSeat(
        RenewSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
    )
    assert renewed.valid_for == got.valid_for
    release = ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
    assert (await seats.ReleaseSeat(release)).released
    assert not (await seats.ReleaseSeat(release)).released


async def test_none_free_is_refused_with_who_holds(world: World):
    await world.add_pool(1)
    await world.seats("mia").AcquireSeat(ask())
    with pytest.raises(PoolExhausted) as caught:
        await world.seats("boss").AcquireSeat(ask())
    assert first_holder(caught.value).user == f"{ACCOUNT}/users/mia"
    with pytest.raises(PoolExhausted) as caught:
        await world.seats("tom").AcquireSeat(ask())
    assert first_holder(caught.value).user == ""


@pytest.mark.behaviour("SEAT-2")
async def test_the_same_request_gets_the_same_lease_also_after_a_restart(world: World):
    await world.add_pool(3)
    request = ask()
    first = (await world.seats().AcquireSeat(request)).lease
    assert (await world.seats().AcquireSeat(request)).lease == first
    await world.restart()
    assert (await world.seats().AcquireSeat(request)).lease == first
    with pytest.raises(RequestIdReused):
        await world.seats().AcquireSeat(same(request, units=2))
    assert world.pool_of("pools/p1").held == 1


async def test_a_lease_without_a_stream_ends_at_its_deadline_not_before(world: World):
    await world.add_pool(1)
    request = ask(ttl=20)
    lease = (await world.seats().AcquireSeat(request)).lease
    await world.pass_time(21.1)
    assert world.pool_of("pools/p1").held == 1
    world.clock.seconds += 0.2  # past 20 * 1.01 + 1, and no timer has fired
    renew = RenewSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
    with pytest.raises(LeaseExpired):
        await world.seats().RenewSeat(renew)
    with pytest.raises(LeaseExpired):
        await world.seats().AcquireSeat(request)
    await world.pass_time(0)
    assert world.pool_of("pools/p1").held == 0


@pytest.mark.behaviour("SEAT-6")
async def test_a_restart_gives_a_longer_renewal_its_full_time(world: World):
    await world.add_pool(1)
    lease = (await world.seats().AcquireSeat(ask(ttl=10))).lease
    await world.seats().RenewSeat(
        RenewSeatRequest(
            name=lease.name, fencing_number=lease.fencing_number, ttl=Duration(seconds=100)
        )
    )
    await world.restart()
    await world.pass_time(101)
    assert world.pool_of("pools/p1").held == 1
    await world.pass_time(2)
    assert world.pool_of("pools/p1").held == 0


async def test_an_older_fencing_number_is_refused(world: World):
    await world.add_pool(2)
    lease = (await world.seats().AcquireSeat(ask())).lease
    for call, request in (
        ("RenewSeat", RenewSeatRequest(name=lease.name, fencing_number=0)),
        ("ReleaseSeat", ReleaseSeatRequest(name=lease.name, fencing_number=0)),
    ):
        with pytest.raises(FencingStale):
            await getattr(world.seats(), call)(request)


async def test_the_lease_of_another_or_of_a_session_is_left_alone(world: World):
    await world.add_pool(2)
    lease = (await world.seats("mia").AcquireSeat(ask())).lease
    release = ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
    with pytest.raises(NotFound):
        await world.seats("tom").ReleaseSeat(release)
    app = world.app("mia")
    await app.open()
    held = await app.acquire()
    with pytest.raises(PoolRule):
        await world.seats("mia").ReleaseSeat(
            ReleaseSeatRequest(name=held.name, fencing_number=held.fencing_number)
        )
    assert world.pool_of("pools/p1").held == 2


async def test_another_account_finds_nothing(world: World):
    await world.add_pool(2)
    lease = (await world.seats("mia").AcquireSeat(ask())).lease
    eve = world.seats("eve")
    calls = [
        eve.AcquireSeat(ask()),
        eve.RenewSeat(RenewSeatRequest(name=lease.name, fencing_number=lease.fencing_number)),
        eve.ReleaseSeat(ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number)),
        eve.GetPool(GetPoolRequest(name="pools/p1")),
        eve.GetPool(GetPoolRequest(name="pools/nowhere")),
        eve.ListLeases(ListLeasesRequest(parent="pools/p1")),
        eve.ListQueuePlaces(ListQueuePlacesRequest(parent="pools/p1")),
        eve.ListPools(ListPoolsRequest(parent=ACCOUNT)),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            await call


async def test_a_license_is_needed_and_looked_at_again_when_licenses_change(world: World):
    await world.add_pool(5)
    seats = world.seats()
    await seats.AcquireSeat(ask())
    world.licenses.refusal = LicenseMissing("Gone.")
    world.hub.publish(events.LicenseRemoved(ACCOUNT, LICENSE, ()))
    with pytest.raises(LicenseMissing):
        await seats.AcquireSeat(ask())


async def test_an_administrator_sees_who_holds_and_waits_a_member_only_the_own(world: World):
    await world.add_pool(2, mesh=1)
    mia, tom, ann = (world.app(name) for name in ("mia", "tom", "ann"))
    for app in (mia, tom, ann):
        await app.open()
    await mia.acquire(features=[{"feature": "mesh", "units": 1}])
    await tom.acquire()
    await ann.wait()
    pool = (await world.seats("tom").GetPool(GetPoolRequest(name="pools/p1"))).pool
    assert (pool.seat_count, pool.held_count, pool.waiting_count) == (2, 2, 1)
    assert [(one.feature, one.held_count) for one in pool.features] == [("mesh", 1)]
    listing = ListLeasesRequest(parent="pools/p1")
    seen = (await world.seats("boss").ListLeases(listing)).leases
    assert [one.user.rpartition("/")[2] for one in seen] == ["mia", "tom"]
    seen = (await world.seats("tom").ListLeases(listing)).leases
    assert [one.user.rpartition("/")[2] for one in seen] == ["", "tom"]
    assert [bool(one.session) for one in seen] == [False, True]
    waits = ListQueuePlacesRequest(parent="pools/p1")
    places = (await world.seats("boss").ListQueuePlaces(waits)).places
    assert [(one.position, bool(one.session)) for one in places] == [(1, True)]


async def test_lists_come_in_pages(world: World):
    for id in ("p1", "p2", "p3"):
        await world.add_pool(5, id)
    for _ in range(3):
        await world.seats().AcquireSeat(ask())
    names, token = [], ""
    while True:
        page = await world.seats().ListPools(
            ListPoolsRequest(parent=ACCOUNT, page_size=2, page_token=token)
        )
        names += [pool.name for pool in page.pools]
        token = page.next_page_token
        if not token:
            break
    assert names == ["pools/p1", "pools/p2", "pools/p3"]
    first = await world.seats().ListLeases(ListLeasesRequest(parent="pools/p1", page_size=2))
    rest = await world.seats().ListLeases(
        ListLeasesRequest(parent="pools/p1", page_size=2, page_token=first.next_page_token)
    )
    numbers = [one.fencing_number for one in (*first.leases, *rest.leases)]
    assert numbers == [1, 2, 3]


async def test_a_pool_in_use_is_not_retired_and_one_that_is_free_is(world: World):
    await world.add_pool(1)
    app = world.app()
    await app.open()
    lease = await app.acquire()
    with pytest.raises(PoolRule) as caught:
        await world.engine.retire(["pools/p1"])
    assert first_holder(caught.value).lease == lease.name
    await app.release(lease.name)
    await world.engine.retire(["pools/p1"])
    await app.ask()
    assert (await app.next("denied")).explanation.metadata["resource"] == "pools/p1"
    world.engine.restore(["pools/p1"])
    await app.acquire()


@pytest.mark.behaviour("SEAT-4")
async def test_a_dry_run_says_what_an_acquire_would_get_and_takes_nothing(world: World):
    await world.add_pool(1)
    seats = world.seats()
    question = ExplainRequest(
        pool="pools/p1",
        device=session_pb2.Device(id="device-a"),
        app=session_pb2.App(name="cad"),
    )
    assert (await seats.Explain(question)).would == WOULD_GRANTED
    got = await seats.AcquireSeat(ask(ttl=60))
    refusal = await seats.Explain(question)
    with pytest.raises(PoolExhausted) as caught:
        await seats.AcquireSeat(ask())
    assert refusal.would == WOULD_DENIED
    assert refusal.explanation == caught.value.explanation
    assert refusal.explanation.metadata["rule"] == "capacity"
    # Its holder's time: 60 s, and the margin that the server adds.
    earliest = refusal.explanation.earliest_time.ToDatetime(UTC)
    assert earliest - world.clock.wall() == timedelta(seconds=61.6)
    question.wait = True
    waiting = await seats.Explain(question)
    assert (waiting.would, waiting.position) == (WOULD_QUEUED, 1)
    assert not waiting.HasField("estimated_wait")  # nothing is known of how long seats are held
    pool = (await seats.GetPool(GetPoolRequest(name="pools/p1"))).pool
    assert (pool.held_count, pool.waiting_count) == (1, 0)
    assert pool.fencing_number == got.lease.fencing_number


@pytest.mark.behaviour("SEAT-4")
async def test_a_wait_is_estimated_by_the_holds_that_are_over(world: World):
    await world.add_pool(1)
    seats = world.seats()
    for _ in range(5):
        got = await seats.AcquireSeat(ask(ttl=600))
        world.clock.seconds += 120
        await seats.ReleaseSeat(
            ReleaseSeatRequest(name=got.lease.name, fencing_number=got.lease.fencing_number)
        )
    await seats.AcquireSeat(ask())
    answer = await seats.Explain(
        ExplainRequest(
            pool="pools/p1",
            wait=True,
            device=session_pb2.Device(id="device-a"),
            app=session_pb2.App(name="cad"),
        )
    )
    assert answer.estimated_wait.ToTimedelta() == timedelta(seconds=120)
