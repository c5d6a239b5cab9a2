"""Concurrent seats: a real server, real apps, real kills, real restarts, stepped clocks."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from keypeg.calls import translate
from keypeg.errors import Reason
from keypeg.v1 import seat_service_pb2
from lab.processes import Program
from lab.world import SITE, World, request_id
from tests.system.people import Customer, grants_of, refused
from tests.system.seats import GRANT, Namer, acquire, release, seat_app, solver

pytestmark = pytest.mark.own_server

__all__ = ["solver"]  # a fixture


@pytest.mark.behaviour("SEAT-1")
@pytest.mark.long
def test_never_more_than_three_believe_in_a_seat_whatever_is_killed(
    world: World, customer: Customer, new_name: Namer, solver: tuple[str, str]
) -> None:
    """Each app journals when it believes; the intervals of all of them are laid over each other."""
    product, pool = solver
    apps = [seat_app(world, customer, product, new_name("c"), "--wait") for _ in range(7)]
    for app in apps[:3]:
        app.expect("started")
    holders: list[Program] = []
    killed: dict[str, float] = {}
    for turn in range(6):
        waiting = [app for app in apps if app not in holders and app.name not in killed]
        deadline = time.monotonic() + 3 * GRANT
        while len(holders) < 3 and waiting and time.monotonic() < deadline:
            for app in list(waiting):
                if "seat" in app.said():
                    holders.append(app)
                    waiting.remove(app)
            time.sleep(0.02)
        victim = holders.pop(0)
        if turn % 3 == 0:
            killed[victim.name] = time.monotonic()
            victim.kill()
        elif turn % 3 == 1:
            # A server that starts slowly may have outlasted its grant: then it has ended by itself.
            assert victim.stop() == 0 or "stopped" in victim.said()
        else:
            assert world.server
            world.server.kill()
            world.serve()
            killed[victim.name] = time.monotonic()
            victim.kill()
        killed.setdefault(victim.name, time.monotonic())
        assert world.pool(customer.admin, pool).held_count <= 3
        if len(killed) == 5:
            break
    edges: list[tuple[float, int]] = []
    for app in apps:
        begin = [e["at"] for e in app.events if e["event"] == "seat"]
        end = [e["at"] for e in app.events if e["event"] in ("releasing", "seat_lost", "stopped")]
        for moment in begin:
            after = [late for late in end if late >= moment]
            over = min([*after, killed.get(app.name, time.monotonic())])
            edges += [(moment, 1), (over, -1)]
    held = most = 0
    for _, change in sorted(edges):
        held += change
        most = max(most, held)
    assert most == 3, edges
    for app in apps:
        app.stop()


@pytest.mark.behaviour("SEAT-1")
def test_a_crowd_of_unary_callers_never_gets_more_than_there_is(
    customer: Customer, world: World, solver: tuple[str, str]
) -> None:
    _, pool = solver

    def try_once(_: int) -> str:
        try:
            return acquire(customer.member, pool).lease.name
        except grpc.RpcError as error:
            return "" if translate(error).reason is Reason.POOL_EXHAUSTED else f"bad: {error}"

    with ThreadPoolExecutor(16) as crowd:
        got = [name for name in crowd.map(try_once, range(64)) if name]
    assert len(got) == len(set(got)) == 3
    numbers = [lease.fencing_number for lease in world.leases(customer.admin, pool)]
    assert len(set(numbers)) == 3


@pytest.mark.behaviour("SEAT-2")
def test_a_retry_gives_the_same_lease_also_at_once_and_after_the_server_was_killed(
    world: World, customer: Customer, solver: tuple[str, str]
) -> None:
    _, pool = solver
    identifier = request_id()
    with ThreadPoolExecutor(8) as crowd:
        answers = list(
            crowd.map(lambda _: acquire(customer.member, pool, identifier=identifier), range(8))
        )
    assert len({answer.lease.name for answer in answers}) == 1
    assert world.pool(customer.admin, pool).held_count == 1

    assert world.server
    world.server.kill()
    world.serve()
    again = acquire(customer.member, pool, identifier=identifier)
    assert again.lease.name == answers[0].lease.name
    assert world.pool(customer.admin, pool).held_count == 1

    assert release(customer.member, again.lease)
    with refused(Reason.LEASE_EXPIRED):  # a late duplicate must not take a second seat
        acquire(customer.member, pool, identifier=identifier)
    assert world.pool(customer.admin, pool).held_count == 0
    with refused(Reason.REQUEST_ID_REUSED):
        acquire(customer.member, pool, identifier=identifier, units=2)


@pytest.mark.behaviour("SEAT-3")
@pytest.mark.long
def test_who_waits_is_told_the_place_and_is_given_the_seat_in_order_also_over_a_killed_server(
    world: World, customer: Customer, new_name: Namer, solver: tuple[str, str]
) -> None:
    product, _ = solver
    with grants_of(world, 60):
        holders = [seat_app(world, customer, product, new_name("holder")) for _ in range(3)]
        for app in holders:
            app.expect("seat")
        refusal = seat_app(world, customer, product, new_name("hurried"))
        assert refusal.expect("denied")["reason"] == "POOL_EXHAUSTED"

        waiters: list[Program] = []
        for position in (1, 2, 3):
            waiter = seat_app(world, customer, product, new_name("waiter"), "--wait")
            assert waiter.expect("queued")["position"] == position
            waiters.append(waiter)

        assert world.server
        world.server.kill()
        world.serve()
        for app in (*holders, *waiters):
            app.expect("reconnected")
        for holder, waiter in zip(holders, waiters, strict=True):
            others = [w for w in waiters if w is not waiter]
            had = ["seat" in other.said() for other in others]
            assert holder.stop() == 0
            waiter.expect("seat", timeout=10)
            assert ["seat" in other.said() for other in others] == had, "somebody overtook"
        for app in waiters:
            assert app.stop() == 0


@pytest.mark.behaviour("SEAT-5")
def test_a_clean_exit_frees_the_seat_at_once(
    world: World, customer: Customer, new_name: Namer, solver: tuple[str, str]
) -> None:
    product, _ = solver
    holders = [seat_app(world, customer, product, new_name("holder")) for _ in range(3)]
    for app in holders:
        app.expect("seat")
    waiter = seat_app(world, customer, product, new_name("waiter"), "--wait")
    waiter.expect("queued")
    begun = time.monotonic()
    holders[0].signal(signal.SIGTERM)
    assert waiter.arrival(waiter.expect("seat", timeout=5)) - begun < 1
    for app in (*holders, waiter):
        app.stop()


@pytest.mark.behaviour("SEAT-5")
def test_a_killed_app_that_is_watched_frees_its_seat_in_under_two_seconds(
    world: World, customer: Customer, new_name: Namer, solver: tuple[str, str]
) -> None:
    product, _ = solver
    holders = [seat_app(world, customer, product, new_name("holder"), run=True) for _ in range(3)]
    for app in holders:
        app.expect("seat")
    for holder in holders:
        waiter = seat_app(world, customer, product, new_name("waiter"), "--wait")
        waiter.expect("queued")
        begun = time.monotonic()
        world.kill_app(holder)
        assert waiter.arrival(waiter.expect("seat", timeout=5)) - begun < 2
        assert holder.wait(15) == 128 + signal.SIGKILL


@pytest.mark.behaviour("SEAT-5")
def test_a_killed_app_that_nobody_watches_keeps_its_seat_until_its_last_grant_has_run_out(
    world: World, customer: Customer, new_name: Namer, solver: tuple[str, str]
) -> None:
    product, _ = solver
    holders = [seat_app(world, customer, product, new_name("holder")) for _ in range(3)]
    for app in holders:
        app.expect("seat")
    waiter = seat_app(world, customer, product, new_name("waiter"), "--wait")
    waiter.expect("queued")
    killed = time.monotonic()
    holders[0].kill()
    lasted = waiter.arrival(waiter.expect("seat", timeout=3 * GRANT)) - killed
    # The last renewal was at most a third of the grant before the kill, and the holder may believe in it.
    assert GRANT * 0.6 < lasted < GRANT * 1.01 + 1 + 1.5, lasted
    for app in (*holders, waiter):
        app.stop()


@pytest.mark.behaviour("SEAT-8")
def test_several_features_and_units_are_taken_together_or_not_at_all(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("cad"), locations=[SITE], features=["mesh", "render"])
    pool = world.seats(customer.account, product, 4, features={"mesh": 2, "render": 1})
    first = acquire(customer.member, pool, units=2, features={"mesh": 1, "render": 1}).lease
    for wanted in ({"mesh": 1, "render": 1}, {"render": 1}):
        with refused(Reason.POOL_EXHAUSTED):
            acquire(customer.member, pool, units=1, features=wanted)
    with refused(Reason.POOL_EXHAUSTED):
        acquire(customer.member, pool, units=3)
    with refused(Reason.POOL_TOO_SMALL):
        acquire(customer.member, pool, units=5)
    with refused(Reason.FEATURE_UNKNOWN):
        acquire(customer.member, pool, features={"paint": 1})
    now = world.pool(customer.admin, pool)
    assert now.held_count == 2, "what was refused took nothing"
    assert {f.feature: f.held_count for f in now.features} == {"mesh": 1, "render": 1}
    assert release(customer.member, first)
    acquire(customer.member, pool, units=4, features={"mesh": 2, "render": 1})


@pytest.mark.long
def test_an_older_holder_is_refused_by_its_fencing_number(
    customer: Customer, solver: tuple[str, str]
) -> None:
    _, pool = solver
    lease = acquire(customer.member, pool).lease
    with refused(Reason.FENCING_STALE):
        customer.member.seats.RenewSeat(
            seat_service_pb2.RenewSeatRequest(
                name=lease.name, fencing_number=lease.fencing_number - 1
            )
        )
    customer.member.seats.RenewSeat(
        seat_service_pb2.RenewSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
    )
    assert release(customer.member, lease)
    assert not release(customer.member, lease), "giving back twice changes nothing"
    with refused(Reason.LEASE_EXPIRED):
        customer.member.seats.RenewSeat(
            seat_service_pb2.RenewSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
        )
