"""Seats that an administrator frees: what the holder hears, who gets the seat, and who has to stay away."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keypeg.errors import Reason
from keypeg.v1 import seat_pb2, seat_service_pb2, session_pb2
from lab.processes import Program
from lab.world import SITE, Api, World, request_id
from tests.system.people import Customer, grants_of, refused

pytestmark = [pytest.mark.behaviour("SEAT-12"), pytest.mark.own_server]

Namer = Callable[[str], str]
GRANT = 6.0
"""Seconds that one answer lets an app use its seat, as SETTINGS says."""
WHY = "The render farm needs it tonight."


@pytest.fixture
def solver(world: World, customer: Customer, new_name: Namer) -> tuple[str, str]:
    """A product with one seat at the site: its name and its pool."""
    product = world.product(new_name("solver"), locations=[SITE])
    return product, world.seats(customer.account, product, 1)


def seat_app(world: World, token: str, product: str, computer: str) -> Program:
    made = world.computer(computer, token=token)
    return world.app(computer, made, product, "--seat", "--wait")


def request(lease: str, hold_off: float = 0.0) -> seat_service_pb2.FreeSeatRequest:
    asked = seat_service_pb2.FreeSeatRequest(name=lease, request_id=request_id(), reason=WHY)
    if hold_off:
        asked.hold_off.FromTimedelta(timedelta(seconds=hold_off))
    return asked


def until_of(answer: seat_service_pb2.FreeSeatResponse) -> datetime:
    return answer.hold_off_until_time.ToDatetime(UTC)


def acquire(api: Api, pool: str, ttl: float = 60.0) -> seat_pb2.Lease:
    asked = seat_service_pb2.AcquireSeatRequest(
        request_id=request_id(),
        pool=pool,
        device=session_pb2.Device(id="device-unary", host_name="unary"),
        app=session_pb2.App(name="unary"),
    )
    asked.ttl.FromTimedelta(timedelta(seconds=ttl))
    return api.seats.AcquireSeat(asked).lease


def restart(world: World) -> None:
    assert world.server
    world.server.kill()
    world.serve()


@pytest.fixture
def long_grants(world: World) -> Iterator[None]:
    with grants_of(world, 60):
        yield


def test_the_holder_hears_why_at_once_and_the_seat_goes_to_who_waits(
    world: World, customer: Customer, new_name: Namer, solver: tuple[str, str]
) -> None:
    product, pool = solver
    holder = seat_app(world, customer.member_token, product, new_name("holder"))
    lease = holder.expect("seat")["lease"]
    waiter = seat_app(world, customer.admin_token, product, new_name("waiter"))
    waiter.expect("queued")
    before = time.monotonic()
    asked = request(lease, hold_off=60)
    answer = customer.admin.seats.FreeSeat(asked)
    heard = holder.expect("seat_recalled", timeout=5)
    assert heard["at"] - before < 1
    assert heard["reason"] == "LEASE_RECALLED"
    assert WHY in heard["sentence"]
    assert customer.admin_login in heard["sentence"]
    assert heard["metadata"]["freed_by"] == customer.admin_login
    given = waiter.expect("seat", timeout=5)
    assert given["at"] < before + 2, "who heard gives back; nobody waits for a grant"
    assert customer.admin.seats.FreeSeat(asked) == answer  # the same request again
    assert [one.name for one in world.leases(customer.admin, pool)] == [given["lease"]]
    assert timedelta(seconds=50) < until_of(answer) - datetime.now(UTC) <= timedelta(seconds=60)
    with refused(Reason.LEASE_EXPIRED):
        customer.admin.seats.FreeSeat(request(lease))
    for app in (holder, waiter):
        app.stop()


@pytest.mark.long
def test_its_user_stays_away_until_the_stated_time_also_after_a_crash_of_the_server(
    world: World, customer: Customer, new_name: Namer, solver: tuple[str, str]
) -> None:
    product, pool = solver
    lease = acquire(customer.member, pool)
    waiting = seat_app(world, customer.member_token, product, new_name("waiting"))
    waiting.expect("queued")
    answer = customer.admin.seats.FreeSeat(request(lease.name, hold_off=10))
    until = until_of(answer)
    assert waiting.expect("denied", timeout=5)["metadata"]["rule"] == "hold_off"
    renewal = seat_service_pb2.RenewSeatRequest(
        name=lease.name, fencing_number=lease.fencing_number
    )
    with refused(Reason.LEASE_RECALLED) as errors:
        customer.member.seats.RenewSeat(renewal)
    assert WHY in errors[0].sentence
    customer.member.seats.ReleaseSeat(
        seat_service_pb2.ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
    )
    for again in (False, True):
        if again:
            restart(world)
        with refused(Reason.POOL_RULE) as errors:
            acquire(customer.member, pool)
        explanation: Any = errors[0].explanation
        assert explanation.metadata["rule"] == "hold_off"
        assert explanation.metadata["reason"] == WHY
        assert explanation.earliest_time.ToDatetime(UTC) == until
        assert [one.action for one in explanation.remedies] == ["try_later"]
        late = seat_app(world, customer.member_token, product, new_name("late"))
        assert late.expect("denied")["metadata"]["rule"] == "hold_off"
        late.stop()
    other = acquire(customer.admin, pool)  # others are not held off
    customer.admin.seats.ReleaseSeat(
        seat_service_pb2.ReleaseSeatRequest(name=other.name, fencing_number=other.fencing_number)
    )
    time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()))
    assert acquire(customer.member, pool).name
    waiting.stop()


@pytest.mark.usefixtures("long_grants")
@pytest.mark.behaviour("SEAT-1")
@pytest.mark.long
def test_a_freed_seat_waits_for_a_holder_that_can_not_have_heard_also_over_a_crash(
    world: World, customer: Customer, new_name: Namer, solver: tuple[str, str]
) -> None:
    product, pool = solver
    deaf = seat_app(world, customer.member_token, product, new_name("deaf"))
    lease = deaf.expect("seat")["lease"]
    deaf.signal(signal.SIGSTOP)
    customer.admin.seats.FreeSeat(request(lease, hold_off=60))
    restart(world)
    with refused(Reason.POOL_EXHAUSTED):
        acquire(customer.admin, pool)
    deaf.signal(signal.SIGCONT)  # it comes back to the new server, and hears there
    assert WHY in deaf.expect("seat_recalled", timeout=3 * GRANT)["sentence"]
    deadline = time.monotonic() + GRANT
    while world.pool(customer.admin, pool).held_count:
        assert time.monotonic() < deadline, "it was given back"
        time.sleep(0.05)
    deaf.stop()


def test_without_a_hold_off_it_may_be_taken_again_at_once(
    customer: Customer, solver: tuple[str, str]
) -> None:
    _, pool = solver
    lease = acquire(customer.member, pool, ttl=10)
    answer = customer.admin.seats.FreeSeat(request(lease.name))
    assert not answer.HasField("hold_off_until_time")
    with refused(Reason.POOL_EXHAUSTED):  # it may be in use: nobody has heard of it yet
        acquire(customer.member, pool)
    deadline = time.monotonic() + 10 * 1.01 + 1 + 3
    while time.monotonic() < deadline:
        time.sleep(0.2)
        if not customer.admin.seats.GetPool(
            seat_service_pb2.GetPoolRequest(name=pool)
        ).pool.held_count:
            break
    acquire(customer.member, pool)


def test_a_member_frees_nothing_and_another_account_sees_nothing(
    world: World, customer: Customer, solver: tuple[str, str]
) -> None:
    _, pool = solver
    lease = acquire(customer.member, pool)
    with refused(Reason.PERMISSION_DENIED):
        customer.member.seats.FreeSeat(request(lease.name))
    with refused(Reason.NOT_FOUND):
        Customer(world).admin.seats.FreeSeat(request(lease.name))
    with refused(Reason.FIELD_INVALID):
        bad = request(lease.name)
        bad.reason = ""
        customer.admin.seats.FreeSeat(bad)
    assert [one.name for one in world.leases(customer.admin, pool)] == [lease.name]
    world.publisher.seats.FreeSeat(request(lease.name))
