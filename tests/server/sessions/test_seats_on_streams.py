"""Sessions and seats as apps see them, over real streams."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from keypeg.errors import (
    CloudSessionMoved,
    LicenseMissing,
    SessionClosed,
    SessionExpired,
    SessionSuperseded,
)
from keypeg.v1 import error_pb2, location_pb2, session_pb2
from keypeg.v1.session_service_pb2 import CloseSessionRequest
from keypeg.v1.session_service_pb2_grpc import SessionServiceStub
from keypeg_server.domain import events
from tests.server.sessions.world import ACCOUNT, LICENSE, PRODUCT, Calls, Denied, Ended, World


async def test_an_app_opens_and_its_proof_holds_against_the_root(world: World):
    await world.add_pool(3)
    opened = await world.app().open()
    assert opened.pools == ["pools/p1"]
    assert opened.seat_required
    assert opened.valid_for.ToTimedelta() == timedelta(seconds=60)
    assert opened.renew_interval.ToTimedelta() == timedelta(seconds=20)
    assert not opened.resumed


async def test_a_cloud_session_is_proved_by_the_delegated_key(world: World):
    world.licenses.kind = location_pb2.LOCATION_KIND_CLOUD
    world.licenses.valid_for = timedelta(days=3)
    opened = await world.app().open()
    assert opened.proof.WhichOneof("kind") == "cloud"
    assert opened.renew_interval.ToTimedelta() == timedelta(seconds=30)
    assert not opened.pools


async def test_a_license_that_is_missing_ends_the_stream_with_its_reason(world: World):
    app = world.app()
    with pytest.raises(Ended) as caught:
        await app.open(product="publishers/acme/products/other")
    assert isinstance(caught.value.error, LicenseMissing)
    assert len(world.sessions.presence) == 0


async def test_renewals_carry_codes_and_a_grant_when_asked_for(world: World):
    await world.add_pool(1)
    app = world.app()
    await app.open()
    assert not (await app.renew()).HasField("proof")
    lease = await app.acquire()
    verified = app.verified((await app.renew(signed=True)).proof)
    assert [one.lease for one in verified.leases] == [lease.name]
    assert verified.seat_required


@pytest.mark.behaviour("SEAT-3")
async def test_a_seat_goes_to_the_first_who_waits_and_is_pushed(world: World):
    await world.add_pool(1)
    first, second, third = world.app("a"), world.app("b"), world.app("c")
    for app in (first, second, third):
        await app.open()
    lease = await first.acquire()
    assert (await second.wait()).place.position == 1
    queued = await third.wait()
    assert (queued.place.position, queued.place.waiting_count) == (2, 2)
    assert queued.place.explanation.reason == error_pb2.REASON_POOL_EXHAUSTED
    assert (await first.release(lease.name)).name == lease.name
    acquired = await second.next("acquired")
    assert acquired.lease.fencing_number > lease.fencing_number
    assert acquired.mac == second.codes.acquired(
        acquired.sequence, acquired.request_id, acquired.lease
    )
    assert (await third.next("queued")).place.position == 1


async def test_who_does_not_wait_is_denied_with_an_explanation(world: World):
    await world.add_pool(1)
    holder, other = world.app("a"), world.app("b")
    await holder.open()
    await other.open()
    await holder.acquire()
    with pytest.raises(Denied) as caught:
        await other.acquire()
    explanation = caught.value.explanation
    assert explanation.reason == error_pb2.REASON_POOL_EXHAUSTED
    assert explanation.holders[0].app == "cad"
    assert explanation.holders[0].user == ""  # a member does not learn who


@pytest.mark.behaviour("SEAT-2")
async def test_a_request_that_comes_again_gets_the_same_lease(world: World):
    await world.add_pool(5)
    app = world.app()
    await app.open()
    request_id = str(uuid.uuid4())
    lease = await app.acquire(request_id=request_id)
    assert await app.acquire(request_id=request_id) == lease
    with pytest.raises(Denied) as caught:
        await app.acquire(request_id=request_id, units=2)
    assert caught.value.explanation.reason == error_pb2.REASON_REQUEST_ID_REUSED
    await app.release(lease.name)
    with pytest.raises(Denied) as caught:
        await app.acquire(request_id=request_id)
    assert caught.value.explanation.reason == error_pb2.REASON_LEASE_EXPIRED
    assert world.pool_of("pools/p1").held == 0


@pytest.mark.behaviour("SEAT-2")
@pytest.mark.behaviour("SEAT-6")
async def test_a_request_is_the_same_over_a_restart(world: World):
    await world.add_pool(5)
    app = world.app()
    await app.open()
    asked = await app.ask()
    lease = (await app.next("acquired")).lease
    await world.restart()
    app.channel = world.connect()
    opened = await app.resume()
    assert opened.resumed
    assert list(opened.leases) == [lease]
    again = session_pb2.Acquire()
    again.CopyFrom(asked)
    again.sequence = next(app.numbers)
    await app.send(acquire=again)
    assert (await app.next("acquired")).lease == lease
    assert world.pool_of("pools/p1").held == 1


@pytest.mark.behaviour("SEAT-8")
async def test_units_and_features_come_together_or_not_at_all(world: World):
    pool = await world.add_pool(5, mesh=2)
    app = world.app()
    await app.open()
    lease = await app.acquire(units=2, features=[{"feature": "mesh", "units": 2}])
    assert [one.units for one in lease.features] == [2]
    with pytest.raises(Denied) as caught:
        await app.acquire(units=1, features=[{"feature": "mesh", "units": 1}])
    assert caught.value.explanation.metadata["feature"] == "mesh"
    assert world.pool_of(pool).held == 2


@pytest.mark.behaviour("SEAT-5")
async def test_a_killed_app_keeps_its_seat_until_it_can_not_believe_in_it(world: World):
    await world.add_pool(1)
    dead, alive = world.app("a"), world.app("b")
    await dead.open()
    await alive.open()
    await dead.acquire()
    await alive.wait()
    dead.drop()
    await world.pass_time(31)
    await alive.renew()
    await world.pass_time(30.5)  # 61.5 s: the app's 60 s are over, the margin is not
    assert world.pool_of("pools/p1").waiting == 1
    await alive.renew()
    await world.pass_time(0.2)
    assert (await alive.next("acquired")).lease.fencing_number == 2


async def test_a_renewal_after_the_deadline_is_refused_though_no_timer_fired(world: World):
    await world.add_pool(1)
    app = world.app()
    await app.open()
    await app.acquire()
    world.clock.seconds += 61.7
    await app.send(renew=app.renew_frame())
    assert isinstance(await app.ends(), SessionExpired)
    await world.settled()
    assert world.pool_of("pools/p1").held == 0


@pytest.mark.behaviour("SEAT-5")
async def test_a_clean_end_frees_the_seat_at_once(world: World):
    await world.add_pool(1)
    first, second = world.app("a"), world.app("b")
    await first.open()
    await second.open()
    await first.acquire()
    await second.wait()
    await first.close()
    assert (await second.next("acquired")).lease.units == 1
    assert len(world.sessions.presence) == 1


async def test_a_watcher_ends_a_session_by_its_release_token(world: World):
    await world.add_pool(1)
    dead, alive = world.app("a"), world.app("b")
    opened = await dead.open()
    await alive.open()
    await dead.acquire()
    await alive.wait()
    calls = Calls(SessionServiceStub(world.channel), "watcher")
    request = CloseSessionRequest(session=opened.session, release_token=opened.release_token)
    assert (await calls.CloseSession(request)).closed
    assert (await alive.next("acquired")).lease.units == 1
    assert isinstance(await dead.ends(), SessionClosed)
    assert not (await calls.CloseSession(request)).closed


@pytest.mark.behaviour("SEAT-6")
async def test_a_restart_keeps_seats_and_queue_in_order(world: World):
    await world.add_pool(1)
    apps = [world.app(name) for name in "abc"]
    for app in apps:
        await app.open()
    lease = await apps[0].acquire()
    await apps[1].wait()
    await apps[2].wait()
    await world.restart()
    for app in apps:
        app.channel = world.connect()
    back = await apps[0].resume()
    assert [one.name for one in back.leases] == [lease.name]
    waiting = await apps[2].resume()
    assert [place.position for place in waiting.places] == [2]
    await apps[1].resume()
    await apps[0].release(lease.name)
    acquired = await apps[1].next("acquired")
    assert acquired.lease.fencing_number > lease.fencing_number
    assert acquired.sequence == 0


@pytest.mark.behaviour("SEAT-6")
async def test_after_a_restart_nobody_keeps_a_seat_for_ever_or_loses_it_early(world: World):
    await world.add_pool(1)
    app = world.app()
    await app.open()
    await app.acquire()
    world.clock.seconds += 50
    await world.restart()
    await world.pass_time(61.5)  # a full grant from the restart on
    assert world.pool_of("pools/p1").held == 1
    await world.pass_time(0.2)
    assert world.pool_of("pools/p1").held == 0
    assert len(world.sessions.presence) == 0


@pytest.mark.behaviour("SEAT-7")
async def test_steps_of_the_wall_clock_change_no_lease(world: World):
    await world.add_pool(1)
    app = world.app()
    await app.open()
    await app.acquire()
    real = world.clock.wall
    for step in (timedelta(hours=8), timedelta(hours=-8)):
        world.clock.wall = lambda step=step: real() + step
        await world.pass_time(1)
        await app.renew()
        assert world.pool_of("pools/p1").held == 1


async def test_a_waiter_is_served_while_its_stream_is_away(world: World):
    await world.add_pool(1)
    first, second = world.app("a"), world.app("b")
    await first.open()
    await second.open()
    lease = await first.acquire()
    await second.wait()
    second.drop()
    await first.release(lease.name)
    opened = await second.resume()
    assert [one.fencing_number for one in opened.leases] == [2]
    assert not opened.places


async def test_a_second_stream_takes_the_session_over(world: World):
    await world.add_pool(1)
    app = world.app()
    await app.open()
    old = app.call
    lease = await app.acquire()
    opened = await app.resume()
    assert [one.name for one in opened.leases] == [lease.name]
    new, app.call = app.call, old
    assert isinstance(await app.ends(), SessionSuperseded)
    app.call = new
    await app.renew()


async def test_leaving_the_queue_lets_others_move_up(world: World):
    await world.add_pool(1)
    apps = [world.app(name) for name in "abc"]
    for app in apps:
        await app.open()
    await apps[0].acquire()
    place = (await apps[1].wait()).place
    await apps[2].wait()
    assert (await apps[1].release(place.name)).name == place.name
    assert (await apps[2].next("queued")).place.position == 1


async def test_nobody_releases_the_seat_of_another(world: World):
    await world.add_pool(2)
    mia, tom = world.app("mia"), world.app("tom")
    await mia.open()
    await tom.open()
    lease = await mia.acquire()
    await tom.send(release=session_pb2.Release(sequence=next(tom.numbers), name=lease.name))
    denied = await tom.next("denied")
    assert denied.explanation.reason == error_pb2.REASON_NOT_FOUND
    assert world.pool_of("pools/p1").held == 1


@pytest.mark.behaviour("CLOUD-3")
async def test_moving_the_cloud_session_ends_sessions_elsewhere(world: World):
    world.licenses.kind = location_pb2.LOCATION_KIND_CLOUD
    here, there = world.app(device="device-a"), world.app(device="device-b")
    await here.open()
    await there.open()
    world.hub.publish(events.CloudSessionMoved(ACCOUNT, "device-a", "device-b", "studio"))
    error = await here.ends()
    assert isinstance(error, CloudSessionMoved)
    assert error.metadata["device"] == "device-b"
    await there.renew()
    with pytest.raises(Ended) as caught:
        await here.resume()
    assert isinstance(caught.value.error, CloudSessionMoved)


async def test_a_move_during_an_admission_is_not_missed(world: World):
    world.licenses.kind = location_pb2.LOCATION_KIND_CLOUD
    world.licenses.gate = asyncio.Event()
    app = world.app(device="device-a")
    opening = asyncio.ensure_future(app.open())
    await world.licenses.asked.wait()
    world.hub.publish(events.CloudSessionMoved(ACCOUNT, "device-a", "device-b", "studio"))
    world.licenses.refusal = CloudSessionMoved("It moved.", device="device-b")
    world.licenses.gate.set()
    with pytest.raises(Ended) as caught:
        await opening
    assert isinstance(caught.value.error, CloudSessionMoved)


async def test_a_license_that_is_removed_ends_its_sessions_but_frees_nothing_early(world: World):
    await world.add_pool(1)
    app = world.app()
    await app.open()
    await app.acquire()
    world.licenses.refusal = LicenseMissing("Gone.")
    world.hub.publish(events.LicenseRemoved(ACCOUNT, LICENSE, (PRODUCT,)))
    changed = await app.next("changed")
    assert changed.change == session_pb2.CHANGE_LICENSE_REMOVED
    assert isinstance(await app.ends(), LicenseMissing)
    assert world.pool_of("pools/p1").held == 1
    await world.pass_time(61.7)
    assert world.pool_of("pools/p1").held == 0


async def test_a_draining_server_says_so_and_then_ends_streams(world: World):
    app = world.app()
    await app.open()
    draining = asyncio.ensure_future(world.sessions.drain(timedelta(milliseconds=50)))
    assert (await app.next("draining")).closes_in.ToTimedelta() == timedelta(milliseconds=50)
    error = await app.ends()
    assert error is not None
    assert error.reason.name == "SERVER_DRAINING"
    await draining
    with pytest.raises(Ended):
        await world.app().open()
