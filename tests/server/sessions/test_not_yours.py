"""What nobody may get, keep or take from others, in whatever order things happen."""

from __future__ import annotations

import asyncio
import threading
import uuid
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from keypeg.errors import (
    CloudSessionMoved,
    LicenseExpired,
    NotFound,
    SessionExpired,
    StorageUnavailable,
)
from keypeg.v1 import location_pb2, session_pb2
from keypeg.v1.seat_service_pb2 import (
    AcquireSeatRequest,
    ListQueuePlacesRequest,
    ReleaseSeatRequest,
    RenewSeatRequest,
)
from keypeg_server.domain import events
from keypeg_server.domain.lease import Holder
from keypeg_server.service import frames
from keypeg_server.service.commits import RequestKey
from tests.server.sessions.world import ACCOUNT, LICENSE, SECONDS, Ended, World, caller


@pytest.mark.behaviour("SEAT-3")
async def test_nobody_releases_the_place_of_another_by_calling_it_a_lease(world: World) -> None:
    await world.add_pool(1)
    holder, waiter = world.app(), world.app("bob", device="device-b")
    await holder.open()
    await holder.acquire()
    await waiter.open()
    await waiter.wait()
    listed = await world.seats("carol").ListQueuePlaces(ListQueuePlacesRequest(parent="pools/p1"))
    name = listed.places[0].name.replace("/places/", "/leases/")
    assert "/leases/" in name
    with pytest.raises(NotFound):
        await world.seats("carol").ReleaseSeat(ReleaseSeatRequest(name=name, fencing_number=1))
    assert world.pool_of("pools/p1").waiting == 1


@pytest.mark.behaviour("SEAT-1")
async def test_nobody_runs_by_one_license_on_the_seats_of_another(world: World) -> None:
    """Else the many seats of a license that has ended would run by another one that has few."""
    await world.add_pool(3)
    apps = [world.app(device=f"device-{letter}") for letter in "abc"]
    for app in apps:
        await app.open()
        await app.acquire()
    world.licenses.pools = ()
    await world.add_pool(1, "p2")  # all that serves now
    world.hub.publish(events.LicenseChanged(ACCOUNT, LICENSE, ()))
    for app in apps:
        assert isinstance(await app.ends(), SessionExpired)
        with pytest.raises(Ended) as refused:
            await app.resume()
        assert isinstance(refused.value.error, SessionExpired)
    assert world.pool_of("pools/p1").held == 3
    await world.pass_time(61.7)
    assert world.pool_of("pools/p1").held == 0


@pytest.mark.behaviour("SEAT-1")
async def test_seats_of_another_license_are_not_resumed_after_a_restart(world: World) -> None:
    await world.add_pool(1)
    app = world.app()
    await app.open()
    await app.acquire()
    world.licenses.pools = ()
    await world.add_pool(1, "p2")
    await world.restart()
    app.channel = world.channel
    with pytest.raises(Ended) as refused:
        await app.resume()
    assert isinstance(refused.value.error, SessionExpired)
    await world.pass_time(61.7)
    assert world.pool_of("pools/p1").held == 0


@pytest.mark.behaviour("SEAT-2")
async def test_a_repeated_request_hears_of_a_seat_only_when_that_is_on_disk(world: World) -> None:
    """The seat came to the place after the repeat was taken, and the disk refused that."""
    await world.add_pool(1)
    holder, waiter = world.app(), world.app("bob", device="device-b")
    await holder.open()
    lease = await holder.acquire()
    await waiter.open()
    queued = await waiter.wait()
    pool = world.pool_of("pools/p1")
    place = pool.queue()[0]
    told: list[object] = []

    def ask(request: RequestKey, told: list[object]) -> None:
        world.engine.acquire(
            pool,
            place.holder,
            caller("bob"),
            1,
            (),
            wait=True,
            priority=0,
            valid_for_us=60_000_000,
            request=request,
            done=told.append,
        )

    def break_the_disk(connection: Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE lease RENAME TO away")

    gate = threading.Event()
    world.database.submit(lambda _: gate.wait(SECONDS))
    body = frames.digest("p1", 1, (), True, 0)
    ask(RequestKey("another", "1", b"d"), [])  # something for the disk, in the same batch
    ask(RequestKey(queued.place.session, queued.request_id, body), told)
    await asyncio.sleep(0)  # both are with the writer
    world.engine.release(pool, lease.name.rpartition("/")[2], lambda _: None)
    world.database.submit(break_the_disk)
    gate.set()
    await world.hears(lambda: bool(told))
    assert pool.place(place.id) is not None, "the disk refused the release"
    assert [type(one) for one in told] == [StorageUnavailable]


@pytest.mark.behaviour("CLOUD-3")
async def test_a_move_during_a_resume_is_not_missed(world: World) -> None:
    """After a restart the session is not in memory: nobody would end it later."""
    world.licenses.kind = location_pb2.LOCATION_KIND_CLOUD
    app = world.app(device="device-a")
    await app.open()
    await world.restart()
    app.channel = world.channel
    await world.add_pool(1)
    gate = threading.Event()
    world.database.submit(lambda _: gate.wait(SECONDS))
    world.engine.acquire(
        world.pool_of("pools/p1"),
        Holder("", "accounts/acme/users/bob", "device-c", "", "cad", 1),
        caller("bob"),
        1,
        (),
        wait=False,
        priority=0,
        valid_for_us=60_000_000,
        request=None,
        done=lambda _: None,
    )
    world.licenses.asked.clear()
    resuming = asyncio.ensure_future(app.resume())
    await world.licenses.asked.wait()
    await asyncio.sleep(0.05)  # admitted by now; what it holds is behind the gate
    world.hub.publish(events.CloudSessionMoved(ACCOUNT, "device-a", "device-b", "studio"))
    world.licenses.refusal = CloudSessionMoved("It moved.", device="device-b")
    gate.set()
    with pytest.raises(Ended) as ended:
        await resuming
    assert isinstance(ended.value.error, CloudSessionMoved)


@pytest.mark.behaviour("SEAT-1")
async def test_a_longer_grant_is_kept_for_as_long_by_the_server(world: World) -> None:
    """The license was looked at again, and gives more, between a renewal and its signed answer."""
    await world.add_pool(1)
    app = world.app()
    await app.open()
    await app.acquire()
    gate = threading.Event()
    world.database.submit(lambda _: gate.wait(SECONDS))
    other = world.app("bob", device="device-b")
    await other.open()
    await other.ask(wait=True)  # for the disk
    await asyncio.sleep(0.05)
    await app.send(renew=app.renew_frame(signed=True))
    await asyncio.sleep(0.05)
    world.licenses.valid_for = timedelta(seconds=600)
    world.hub.publish(events.LicenseChanged(ACCOUNT, LICENSE, ()))
    await asyncio.sleep(0.05)
    gate.set()
    renewed = await app.next("renewed")
    granted = app.verified(renewed.proof).valid_for.total_seconds()
    await world.pass_time(granted - 1)
    assert world.pool_of("pools/p1").held == 1


@pytest.mark.behaviour("SEAT-6")
async def test_nobody_believes_longer_than_a_restart_waits(world: World) -> None:
    """Seats taken while grants were short, grants made long, and then made short again."""
    await world.add_pool(1)
    app = world.app()
    await app.open()
    await app.acquire()
    await world.restart()
    world.licenses.valid_for = timedelta(seconds=600)
    app.channel = world.channel
    opened = await app.resume()
    granted = opened.valid_for.ToTimedelta().total_seconds()
    await world.restart()
    await world.pass_time(granted - 1)
    assert world.pool_of("pools/p1").held == 1


async def test_a_seat_without_a_stream_does_not_outlive_its_license_by_being_renewed(
    world: World,
) -> None:
    await world.add_pool(1)
    seats = world.seats()
    lease = (
        await seats.AcquireSeat(
            AcquireSeatRequest(
                request_id=str(uuid.uuid4()),
                pool="pools/p1",
                device=session_pb2.Device(id="device-a"),
                app=session_pb2.App(name="cad", version="1.0"),
            )
        )
    ).lease
    again = RenewSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
    await seats.RenewSeat(again)
    world.licenses.refusal = LicenseExpired("It has ended.")
    await world.pass_time(59)
    await seats.RenewSeat(again)  # looked at less than a minute ago
    await world.pass_time(59)
    with pytest.raises(LicenseExpired):
        await seats.RenewSeat(again)
    assert world.pool_of("pools/p1").held == 1
    await world.pass_time(60)
    assert world.pool_of("pools/p1").held == 0


async def test_no_renewal_outlives_the_license(world: World) -> None:
    """Not even one between two looks at the license."""
    world.licenses.kind = location_pb2.LOCATION_KIND_CLOUD
    world.licenses.ends_at = world.clock.wall() + timedelta(seconds=100)
    app = world.app()
    assert (await app.open()).valid_for.ToTimedelta() == timedelta(seconds=60)
    await world.pass_time(50)
    assert (await app.renew()).valid_for.ToTimedelta() == timedelta(seconds=50)
    assert (await app.renew(signed=True)).valid_for.ToTimedelta() == timedelta(seconds=50)
    await world.pass_time(50)
    world.licenses.refusal = LicenseExpired("It has ended.")
    await app.send(renew=app.renew_frame())
    assert (await app.next("denied")).explanation.reason == LicenseExpired.reason.value
    assert isinstance(await app.ends(), LicenseExpired)


async def test_no_seat_without_a_stream_outlives_the_license(world: World) -> None:
    await world.add_pool(1)
    world.licenses.ends_at = world.clock.wall() + timedelta(seconds=100)
    seats = world.seats()
    request = AcquireSeatRequest(
        request_id=str(uuid.uuid4()), pool="pools/p1", device=session_pb2.Device(id="device-a")
    )
    request.ttl.FromTimedelta(timedelta(seconds=3_600))
    given = await seats.AcquireSeat(request)
    assert given.valid_for.ToTimedelta() == timedelta(seconds=100)
    await world.pass_time(50)
    again = RenewSeatRequest(
        name=given.lease.name, fencing_number=given.lease.fencing_number, ttl=request.ttl
    )
    assert (await seats.RenewSeat(again)).valid_for.ToTimedelta() == timedelta(seconds=50)
    assert (await seats.AcquireSeat(request)).valid_for.ToTimedelta() == timedelta(seconds=50)
