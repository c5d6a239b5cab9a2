"""Waiting without a stream, and watching, through real programs: also when the server is killed meanwhile."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from keypeg.errors import Reason
from keypeg.v1 import pool_event_pb2, seat_pb2, seat_service_pb2, session_pb2
from lab.processes import BIN, Program
from lab.world import SITE, Api, World, request_id
from tests.system.people import Customer, refused

pytestmark = pytest.mark.own_server

Namer = Callable[[str], str]


@pytest.fixture
def pool(world: World, customer: Customer, new_name: Namer) -> str:
    """One seat at the site."""
    return world.seats(customer.account, world.product(new_name("solver"), locations=[SITE]), 1)


def request(pool: str, wait: float = 0.0) -> seat_service_pb2.AcquireSeatRequest:
    asked = seat_service_pb2.AcquireSeatRequest(
        request_id=request_id(),
        pool=pool,
        device=session_pb2.Device(id="device-unary", host_name="unary"),
        app=session_pb2.App(name="unary", process_id=4711),
    )
    asked.wait.FromTimedelta(timedelta(seconds=wait))
    return asked


def release(api: Api, lease: seat_pb2.Lease) -> None:
    api.seats.ReleaseSeat(
        seat_service_pb2.ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
    )


def waiting(world: World, api: Api, pool: str, count: int) -> None:
    """Return when so many wait."""
    deadline = time.monotonic() + 10
    while world.pool(api, pool).waiting_count != count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def keypeg(world: World, name: str, token: str, *words: str) -> Program:
    """A command that goes on."""
    computer = world.computer(name, token=token)
    return world.lab.start(name, [str(BIN / "keypeg"), "-o", "jsonl", *words], env=computer.env)


def event(kind: str, **fields: Any) -> Callable[[dict[str, Any]], bool]:
    """Whether a line of `keypeg seat watch` tells of this."""

    def is_it(line: dict[str, Any]) -> bool:
        found = line.get("event") or {}
        return isinstance(found, dict) and all(
            found.get(field) == value
            for field, value in {"kind": f"POOL_EVENT_KIND_{kind}", **fields}.items()
        )

    return is_it


def is_snapshot(line: dict[str, Any]) -> bool:
    return bool(line.get("snapshot"))


@pytest.mark.behaviour("SEAT-3")
def test_places_without_a_stream_outlive_a_kill_of_the_server_in_order(
    world: World, customer: Customer, pool: str, new_name: Namer
) -> None:
    held = customer.member.seats.AcquireSeat(request(pool)).lease
    asked = [request(pool, wait=30), request(pool, wait=30)]
    calls = []  # a call that nobody refers to is canceled
    for number, one in enumerate(asked, 1):
        calls.append(customer.admin.seats.AcquireSeat.future(one))
        waiting(world, customer.admin, pool, number)
    acquire = ("seat", "acquire", pool, "--wait", "60s")
    last = keypeg(world, new_name("last"), customer.admin_token, *acquire)
    waiting(world, customer.admin, pool, 3)
    assert world.server
    world.server.kill()
    world.serve()
    # They come back in another order, and stand where they stood.
    second = customer.admin.seats.AcquireSeat.future(asked[1], wait_for_ready=True)
    first = customer.admin.seats.AcquireSeat.future(asked[0], wait_for_ready=True)
    at_once = request(pool)
    at_once.request_id = asked[1].request_id
    assert customer.admin.seats.AcquireSeat(at_once).place.position == 2
    before = time.monotonic()
    release(customer.member, held)
    served = first.result(timeout=5)
    assert time.monotonic() - before < 1
    assert served.lease.fencing_number > held.fencing_number
    assert not second.done()
    release(customer.admin, served.lease)
    release(customer.admin, second.result(timeout=5).lease)
    got = last.expect(lambda line: "lease" in line, timeout=15)
    assert last.wait(10) == 0
    assert [one.name for one in world.leases(customer.admin, pool)] == [got["lease"]["name"]]
    assert world.pool(customer.admin, pool).waiting_count == 0


@pytest.mark.behaviour("SEAT-3")
def test_who_stops_waiting_leaves_the_queue_at_once(
    world: World, customer: Customer, pool: str, new_name: Namer
) -> None:
    held = customer.member.seats.AcquireSeat(request(pool)).lease
    acquire = ("seat", "acquire", pool, "--wait", "60s")
    stopped = keypeg(world, new_name("stopped"), customer.admin_token, *acquire)
    waiting(world, customer.admin, pool, 1)
    stopped.signal(signal.SIGINT)
    assert stopped.wait(10) == 130
    assert world.pool(customer.admin, pool).waiting_count == 0
    release(customer.member, held)
    assert world.pool(customer.admin, pool).held_count == 0


@pytest.mark.behaviour("SEAT-14")
def test_what_happens_in_a_pool_is_told_at_once_and_kept_over_a_kill_of_the_server(
    world: World, customer: Customer, pool: str, new_name: Namer
) -> None:
    watch = keypeg(world, new_name("watcher"), customer.admin_token, "seat", "watch", pool)
    assert watch.expect(is_snapshot)["snapshot"]["last"]
    held = customer.member.seats.AcquireSeat(request(pool)).lease
    done = time.monotonic()
    told = watch.expect(event("ACQUIRED", resource=held.name), timeout=5)
    assert watch.arrival(told) - done < 1
    assert told["event"]["host_name"] == "unary"
    assert told["event"]["process_id"] == 4711
    with refused(Reason.POOL_EXHAUSTED):
        customer.admin.seats.AcquireSeat(request(pool))
    watch.expect(event("REFUSED", reason="POOL_EXHAUSTED"), timeout=5)
    assert world.server
    world.server.kill()
    world.serve()
    again = watch.expect(is_snapshot, timeout=15, after=watch.events.index(told))["snapshot"]
    assert [one["name"] for one in again["leases"]] == [held.name]
    assert again["leases"][0]["last_seen_time"] is None, "nobody was heard of since"
    release(customer.member, held)
    watch.expect(event("RELEASED", resource=held.name), timeout=5)
    watch.signal(signal.SIGINT)
    assert watch.wait(10) == 130

    computer = world.computer(new_name("reader"), token=customer.member_token)
    _, past = world.keypeg(computer, "seat", "history", pool, "--since", "1h")
    kinds = [one["kind"].removeprefix("POOL_EVENT_KIND_") for one in past]
    assert kinds == ["CREATED", "ACQUIRED", "REFUSED", "RELEASED"]
    assert [one["user"] != "" for one in past] == [False, True, False, True], "its own"
    listed = pool_event_pb2.PoolEventKind.keys()
    assert {one["kind"] for one in past} <= set(listed)


def test_another_account_neither_watches_nor_reads(world: World, pool: str) -> None:
    other = Customer(world).admin
    with refused(Reason.NOT_FOUND):
        next(iter(other.seats.WatchPool(seat_service_pb2.WatchPoolRequest(parent=pool))))
    with refused(Reason.NOT_FOUND):
        other.seats.ListPoolEvents(seat_service_pb2.ListPoolEventsRequest(parent=pool))
    too_long = request(pool, wait=61)
    with refused(Reason.FIELD_INVALID):
        other.seats.AcquireSeat(too_long)
