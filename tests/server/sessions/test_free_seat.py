"""Seats that are freed, where the order of things can be chosen: renewals, repeats and the end of time."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from keypeg.errors import LeaseExpired, LeaseRecalled, PoolRule, RequestIdReused
from keypeg.v1 import seat_pb2, session_pb2
from keypeg.v1.seat_service_pb2 import AcquireSeatRequest, FreeSeatRequest, RenewSeatRequest
from tests.server.sessions.world import World

pytestmark = pytest.mark.behaviour("SEAT-12")


def ask() -> AcquireSeatRequest:
    return AcquireSeatRequest(
        request_id=str(uuid.uuid4()),
        pool="pools/p1",
        device=session_pb2.Device(id="device-a"),
        app=session_pb2.App(name="cad"),
    )


def free(lease: seat_pb2.Lease, hold_off: int = 0, reason: str = "Needed") -> FreeSeatRequest:
    request = FreeSeatRequest(name=lease.name, request_id=str(uuid.uuid4()), reason=reason)
    if hold_off:
        request.hold_off.FromTimedelta(timedelta(seconds=hold_off))
    return request


def renewal(lease: seat_pb2.Lease, ttl: int) -> RenewSeatRequest:
    request = RenewSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
    request.ttl.FromTimedelta(timedelta(seconds=ttl))
    return request


@pytest.mark.behaviour("SEAT-1")
async def test_no_renewal_that_is_under_way_outlives_what_the_server_waits(world: World) -> None:
    await world.add_pool(1)
    for turn in range(20):
        lease = (await world.seats("mia").AcquireSeat(ask())).lease
        mia, boss = world.seats("mia"), world.seats("boss")
        calls = [mia.RenewSeat(renewal(lease, 600)), boss.FreeSeat(free(lease))]
        renewed, freed = await asyncio.gather(*calls, return_exceptions=True)
        assert not isinstance(freed, BaseException), freed
        promised = 60.0
        if not isinstance(renewed, BaseException):
            promised = renewed.valid_for.ToTimedelta().total_seconds()
        else:
            assert isinstance(renewed, LeaseRecalled), renewed
        await world.pass_time(promised)
        assert world.pool_of("pools/p1").held == 1, f"given on too early, in turn {turn}"
        await world.pass_time(600)
        assert world.pool_of("pools/p1").held == 0


async def test_it_is_free_at_its_deadline_and_renewed_no_more(world: World) -> None:
    await world.add_pool(1)
    lease = (await world.seats("mia").AcquireSeat(ask())).lease
    await world.pass_time(30)
    await world.seats("boss").FreeSeat(free(lease, hold_off=3600))
    for _ in range(2):
        with pytest.raises(LeaseRecalled, match="Needed"):
            await world.seats("mia").RenewSeat(renewal(lease, 10))
        await world.restart()
    await world.pass_time(63)
    assert world.pool_of("pools/p1").held == 0
    with pytest.raises(LeaseExpired):
        await world.seats("mia").RenewSeat(renewal(lease, 10))
    with pytest.raises(PoolRule, match="Needed"):
        await world.seats("mia").AcquireSeat(ask())
    await world.seats("boss").AcquireSeat(ask())


async def test_the_same_request_gives_the_same_answer_and_another_body_none(world: World) -> None:
    await world.add_pool(1)
    lease = (await world.seats("mia").AcquireSeat(ask())).lease
    request = free(lease, hold_off=60)
    answer = await world.seats("boss").FreeSeat(request)
    await world.pass_time(5)
    assert await world.seats("boss").FreeSeat(request) == answer
    await world.restart()
    await world.pass_time(100)
    assert world.pool_of("pools/p1").held == 0
    assert await world.seats("boss").FreeSeat(request) == answer
    request.reason = "Another"
    with pytest.raises(RequestIdReused):
        await world.seats("boss").FreeSeat(request)


async def test_a_stream_hears_until_when_and_a_resumed_one_hears_it_again(world: World) -> None:
    await world.add_pool(1)
    app = world.app()
    await app.open()
    lease = await app.acquire()
    answer = await world.seats("boss").FreeSeat(free(lease, hold_off=60))
    told = await app.next("recalled")
    assert told.lease == lease.name
    assert told.hold_off_until_time == answer.hold_off_until_time
    app.drop()
    opened = await app.resume()
    assert list(opened.leases) == []
    again = await app.next("recalled")
    assert again == told
    await app.release(lease.name)
    assert world.pool_of("pools/p1").held == 0
