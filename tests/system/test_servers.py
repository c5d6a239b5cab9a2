"""Several servers on one PostgreSQL: real ones, killed, stopped and ended while apps hold and wait for seats."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from keypeg.calls import translate
from keypeg.errors import Reason
from keypeg.v1 import (
    account_service_pb2,
    cloud_session_service_pb2,
    pool_event_pb2,
    seat_pb2,
    seat_service_pb2,
    session_pb2,
)
from lab.postgres import Postgres
from lab.processes import BIN, Lab, Program
from lab.world import CLOUD, SITE, Api, request_id
from tests.system.fleet import GRANT, Fleet, acquire, fleet, postgres
from tests.system.people import Customer, refused

Namer = Callable[[str], str]
TAKEOVER = 5.0
"""Seconds from the death of a server to the next grant by another."""

__all__ = ["fleet", "postgres"]  # fixtures


class Site(Customer):
    """A customer with a product of which it has three seats."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet.world)
        name = f"of-{self.account.rpartition('/')[2]}"
        self.product = fleet.world.product(name, locations=[SITE])
        self.pool = fleet.world.seats(self.account, self.product, 3)


@pytest.fixture
def customer(fleet: Fleet) -> Site:
    for number, program in enumerate(fleet.programs):
        if not program.running:
            fleet.again(number)
    return Site(fleet)


def an_app(
    fleet: Fleet, customer: Site, name: str, *args: str, servers: tuple[int, ...] = (0, 1)
) -> Program:
    computer = fleet.computer(name, customer.member_token, servers)
    return fleet.world.app(name, computer, customer.product, "--seat", *args)


def leases(api: Api, pool: str) -> list[seat_pb2.Lease]:
    return list(
        api.seats.ListLeases(
            seat_service_pb2.ListLeasesRequest(parent=pool, page_size=100), timeout=20
        ).leases
    )


def release(api: Api, lease: seat_pb2.Lease) -> bool:
    return api.seats.ReleaseSeat(
        seat_service_pb2.ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number),
        timeout=20,
    ).released


def never_lost(*apps: Program) -> None:
    for app in apps:
        assert app.running, app.tail()
        assert not {"stopped", "seat_lost", "recalled"} & app.said(), app.tail()


@pytest.mark.system
@pytest.mark.behaviour("SEAT-15")
def test_seats_are_shared_through_both_servers_and_outlive_the_one_that_gave_them(
    fleet: Fleet, customer: Site, new_name: Namer
) -> None:
    pool = customer.pool
    holders = [
        an_app(fleet, customer, new_name("holder"), servers=servers) for servers in ((0, 1), (1, 0))
    ]
    for app in holders:
        app.expect("seat")
    apis = [fleet.api(number, customer.member_token) for number in (0, 1)]
    same = request_id()
    third = acquire(apis[1], pool, same).lease
    assert acquire(apis[0], pool, same).lease.name == third.name
    with refused(Reason.POOL_EXHAUSTED):
        acquire(apis[1], pool)
    waiters = []
    for servers in ((1, 0), (0, 1)):
        waiters.append(an_app(fleet, customer, new_name("waiter"), "--wait", servers=servers))
        waiters[-1].expect("queued")
    before = {lease.name: lease.fencing_number for lease in leases(apis[0], pool)}
    assert len(before) == 3

    home = fleet.home_of(customer.account)
    left = apis[1 - home]
    fleet.kill(home)
    killed = time.monotonic()
    again = acquire(left, pool, same)
    answered = time.monotonic() - killed
    assert again.lease.name == third.name
    assert {lease.name: lease.fencing_number for lease in leases(left, pool)} == before
    assert release(left, again.lease)
    granted = waiters[0].arrival(waiters[0].expect("seat", timeout=15)) - killed
    print(f"takeover: {answered:.2f} s to the first answer, {granted:.2f} s to the next grant")
    assert answered < TAKEOVER
    assert granted < TAKEOVER + 1  # the waiting app comes back by itself, and may have just tried
    for app in (*holders, waiters[1]):
        app.expect("reconnected")
    assert "seat" not in waiters[1].said(), "the second in the queue is still the second"
    now = {lease.name: lease.fencing_number for lease in leases(left, pool)}
    assert len(now) == 3
    assert now.items() > {(name, n) for name, n in before.items() if name != third.name}
    assert max(now.values()) > max(before.values())

    assert holders[0].stop() == 0
    waiters[1].expect("seat", timeout=GRANT)
    never_lost(holders[1], *waiters)
    for app in (holders[1], *waiters):
        assert app.stop() == 0
    assert leases(left, pool) == []


@pytest.mark.system
@pytest.mark.behaviour("SEAT-15")
def test_a_server_that_is_ended_hands_over_at_once(
    fleet: Fleet, customer: Site, new_name: Namer
) -> None:
    pool = customer.pool
    acquire(fleet.api(0, customer.member_token), pool)
    apps = [
        an_app(fleet, customer, new_name("holder"), servers=servers) for servers in ((0, 1), (1, 0))
    ]
    for app in apps:
        app.expect("seat")
    home = fleet.home_of(customer.account)
    left = fleet.api(1 - home, customer.member_token)
    held = {lease.name for lease in leases(left, pool)}
    begun = time.monotonic()
    assert fleet.programs[home].stop() == 0
    ended = time.monotonic() - begun
    assert {lease.name for lease in leases(left, pool)} == held
    for app in apps:
        app.expect("reconnected")
    back = max(app.arrival(app.expect("reconnected")) for app in apps) - begun
    print(f"hand-over: ended in {ended:.2f} s, all apps back in {back:.2f} s")
    assert ended < 3
    assert back < TAKEOVER
    never_lost(*apps)
    for app in apps:
        assert app.stop() == 0


@pytest.mark.system
@pytest.mark.long
def test_an_app_that_can_not_follow_is_carried_and_goes_on_when_its_carrier_becomes_the_home(
    fleet: Fleet, customer: Site, new_name: Namer
) -> None:
    acquire(fleet.api(0, customer.member_token), customer.pool)
    home = fleet.home_of(customer.account)
    name = new_name("plain")
    computer = fleet.computer(name, customer.member_token, (1 - home,))
    plain = {"PYTHONPATH": str(Path(__file__).parent / "unfollowing")}
    app = fleet.world.app(name, computer, customer.product, "--seat", env=plain)
    app.expect("seat")
    left = fleet.api(1 - home, customer.member_token)
    held = {lease.name for lease in leases(left, customer.pool)}
    assert len(held) == 2
    app.stays_without("connection_lost", "stopped", seconds=GRANT * 1.2)  # it renews
    fleet.kill(home)
    app.expect("connection_lost")
    app.expect("reconnected", timeout=GRANT)
    assert {lease.name for lease in leases(left, customer.pool)} == held
    never_lost(app)
    assert app.stop() == 0


@pytest.mark.system
@pytest.mark.long
def test_an_app_that_dies_is_reported_through_any_server(
    fleet: Fleet, customer: Site, new_name: Namer
) -> None:
    acquire(fleet.api(0, customer.member_token), customer.pool)
    home = fleet.home_of(customer.account)
    name = new_name("watched")
    computer = fleet.computer(name, customer.member_token, (1 - home,))
    run = [str(BIN / "keypeg"), "run", "--"]
    app = fleet.world.app(name, computer, customer.product, "--seat", under=run)
    app.expect("seat")
    other = fleet.api(1 - home, customer.member_token)
    assert len(leases(other, customer.pool)) == 2
    fleet.world.kill_app(app)
    killed = time.monotonic()
    while len(leases(other, customer.pool)) == 2:
        assert time.monotonic() - killed < 5
        time.sleep(0.02)
    print(f"a dead app's seat is free after {time.monotonic() - killed:.2f} s")
    assert time.monotonic() - killed < 2


@pytest.mark.system
@pytest.mark.long
def test_what_is_done_through_one_server_is_known_on_the_other_within_a_second(
    fleet: Fleet, customer: Site, new_name: Namer
) -> None:
    world = fleet.world
    apis = [fleet.api(number, customer.member_token) for number in (0, 1)]
    # A cloud session that is moved through the other server ends the app on the first.
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    first = fleet.computer(new_name("pc"), customer.member_token, (0,))
    second = fleet.computer(new_name("pc"), customer.member_token, (1,))
    world.open_cloud(apis[0], customer.account, first)
    app = world.app(new_name("app"), first, product, "--cloud", "never")
    app.expect("running")
    begun = time.monotonic()
    world.open_cloud(apis[1], customer.account, second)
    stopped = app.expect("stopped", timeout=5)
    assert stopped["reason"] == "CLOUD_SESSION_MOVED"
    assert app.arrival(stopped) - begun < 1
    seen = (
        apis[0]
        .cloud.GetCloudSession(
            cloud_session_service_pb2.GetCloudSessionRequest(
                name=f"{customer.account}/cloudSession"
            )
        )
        .cloud_session
    )
    assert seen.device == second.device.id

    # A user that is removed through one server is out on the other.
    users = apis[0].accounts.GetCaller(account_service_pb2.GetCallerRequest())
    for api in apis:
        api.accounts.GetCaller(account_service_pb2.GetCallerRequest())
    fleet.api(0, customer.admin_token).accounts.DeleteUser(
        account_service_pb2.DeleteUserRequest(name=users.user.name, request_id=request_id())
    )
    begun = time.monotonic()
    while (reason := _who_am_i(apis[1])) is None:
        assert time.monotonic() - begun < 1
        time.sleep(0.01)
    assert reason is Reason.TOKEN_INVALID
    out = time.monotonic() - begun
    assert out < 1
    print(f"a removed user is out everywhere after {out:.2f} s")


@pytest.mark.system
@pytest.mark.long
def test_a_server_that_does_not_belong_says_so_and_the_others_are_listed(
    fleet: Fleet, customer: Site, lab: Lab, tmp_path: Path
) -> None:
    data = fleet.world.data
    keypegd = str(BIN / "keypegd")
    done = lab.run([keypegd, "servers", "--data", str(data), "-o", "json"])
    listed = {one["address"]: one for one in json.loads(done.stdout)["servers"]}
    assert set(fleet.addresses) <= set(listed)
    assert all(listed[address]["beats"] for address in fleet.addresses)
    assert sum(one["homes"] for one in listed.values()) >= 2
    assert fleet.addresses[0] in lab.run([keypegd, "servers", "--data", str(data)]).stdout

    other = tmp_path / "other"
    shutil.copytree(data, other)
    serve = [keypegd, "serve", "--data", str(other), "--listen"]
    done = lab.run([*serve, "0.0.0.0:0"], check=False)
    assert done.returncode == 1
    assert "--advertise" in done.stderr
    (other / "secrets" / "release.key").write_text("ab" * 32)
    done = lab.run([*serve, "127.0.0.1:0"], check=False)
    assert done.returncode == 1
    assert "other secrets" in done.stderr
    assert fleet.postgres.password not in done.stderr


def _who_am_i(api: Api) -> Reason | None:
    try:
        api.accounts.GetCaller(account_service_pb2.GetCallerRequest())
    except grpc.RpcError as error:
        return translate(error).reason
    return None


@pytest.mark.system
@pytest.mark.long
@pytest.mark.behaviour("SEAT-15")
def test_a_server_that_was_stopped_for_a_while_does_not_act_for_what_it_lost(
    fleet: Fleet, customer: Site, new_name: Namer
) -> None:
    pool = customer.pool
    app = an_app(fleet, customer, new_name("holder"))
    app.expect("seat")
    apis = [fleet.api(number, customer.member_token) for number in (0, 1)]
    acquire(apis[0], pool)
    home = fleet.home_of(customer.account)
    left = apis[1 - home]
    fleet.pause(home)
    paused = time.monotonic()
    assert acquire(left, pool).lease.name
    print(f"a stopped server's account goes on after {time.monotonic() - paused:.2f} s")
    assert time.monotonic() - paused < TAKEOVER
    with refused(Reason.POOL_EXHAUSTED):
        acquire(left, pool)
    app.expect("reconnected", timeout=GRANT)
    time.sleep(max(0.0, 6 - (time.monotonic() - paused)))
    held = {lease.name: lease.fencing_number for lease in leases(left, pool)}
    fleet.resume(home)
    # From its first answer on it knows nothing of its own: it sends what it is asked to the new home.
    with ThreadPoolExecutor(8) as crowd:
        attempts = list(crowd.map(lambda _: _outcome(apis[home], pool), range(16)))
    assert set(attempts) == {Reason.POOL_EXHAUSTED}
    assert fleet.home_of(customer.account) == 1 - home
    for api in apis:
        assert {lease.name: lease.fencing_number for lease in leases(api, pool)} == held
    never_lost(app)
    assert app.stop() == 0


def _outcome(api: Api, pool: str) -> Reason | None:
    for _ in range(50):
        try:
            acquire(api, pool)
        except grpc.RpcError as error:
            reason = translate(error).reason
            if reason in (Reason.SERVER_DRAINING, Reason.UNREACHABLE):
                time.sleep(0.1)
                continue
            return reason
        return None
    return Reason.UNREACHABLE


@pytest.mark.system
@pytest.mark.long
@pytest.mark.behaviour("SEAT-15")
def test_when_the_database_is_killed_and_comes_back_all_go_on(
    fleet: Fleet, customer: Site, postgres: Postgres, new_name: Namer
) -> None:
    pool = customer.pool
    apps = [an_app(fleet, customer, new_name("holder")) for _ in range(2)]
    for app in apps:
        app.expect("seat")
    home = fleet.home_of(customer.account)
    apis = [fleet.api(number, customer.member_token) for number in (0, 1)]
    held = {lease.name for lease in leases(apis[0], pool)}
    postgres.kill()
    killed = time.monotonic()
    time.sleep(4)  # longer than a server acts without its database
    for number in (0, 1):
        assert _health(fleet, number) == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as caught:
            acquire(apis[number], pool)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    postgres.restart()
    back = time.monotonic()
    while any(
        _health(fleet, number) != health_pb2.HealthCheckResponse.SERVING for number in (0, 1)
    ):
        assert time.monotonic() - back < 15
        time.sleep(0.05)
    print(f"away for {back - killed:.1f} s; both serve {time.monotonic() - back:.2f} s later")
    assert fleet.home_of(customer.account) == home, "nobody died, so nothing has moved"
    assert {lease.name for lease in leases(apis[1], pool)} == held
    assert acquire(apis[1], pool).lease.name not in held
    for app in apps:
        app.expect("reconnected", timeout=GRANT)
    never_lost(*apps)
    for app in apps:
        assert app.stop() == 0


def _health(fleet: Fleet, number: int) -> int:
    credentials = grpc.ssl_channel_credentials(fleet.world.ca_file.read_bytes())
    with grpc.secure_channel(fleet.addresses[number], credentials) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status)


def _leases_in_time(api: Api, pool: str) -> list[seat_pb2.Lease]:
    """A call waits out a takeover, but not two."""
    for _ in range(3):
        try:
            return leases(api, pool)
        except grpc.RpcError as error:
            last = translate(error)
    raise last


@pytest.mark.system
@pytest.mark.long
@pytest.mark.behaviour("SEAT-15")
def test_of_three_servers_any_two_can_be_killed_one_after_the_other(
    fleet: Fleet, customer: Site, new_name: Namer
) -> None:
    """Apps journal when they believe in a seat; laid over each other, that is never more than there are."""
    pool = customer.pool
    third = fleet.add()
    everyone = (0, 1, third)
    apps = [
        an_app(
            fleet, customer, new_name("app"), "--wait", servers=everyone[turn:] + everyone[:turn]
        )
        for turn in (0, 1, 2, 0, 1)
    ]
    for app in apps:
        app.expect(lambda event: event.get("event") in ("seat", "queued"))
    for _ in range(2):
        fleet.kill(fleet.home_of(customer.account))
        killed = time.monotonic()
        alive = next(n for n in everyone if fleet.programs[n].running)
        api = fleet.api(alive, customer.member_token)
        number = [n for n in everyone if fleet.programs[n].running]
        now = _leases_in_time(api, pool)
        print(f"{len(number)} left: {time.monotonic() - killed:.2f} s to the first answer")
        assert len(now) == 3
        holder = next(app for app in apps if "seat" in app.said() and app.running)
        for app in apps:
            if app.running:
                app.expect(
                    lambda event: event.get("event") == "reconnected",
                    after=0,
                    timeout=2 * GRANT,
                )
        assert holder.stop() == 0
        waiting = [app for app in apps if app.running]
        deadline = time.monotonic() + 2 * GRANT
        while sum("seat" in app.said() for app in waiting) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    edges: list[tuple[float, int]] = []
    for app in apps:
        for event in app.events:
            if event["event"] == "seat":
                after = [
                    e["at"]
                    for e in app.events
                    if e["at"] > event["at"] and e["event"] in ("releasing", "seat_lost", "stopped")
                ]
                edges += [(event["at"], 1), (min([*after, time.monotonic()]), -1)]
    held = most = 0
    for _, change in sorted(edges):
        held += change
        most = max(most, held)
    assert most == 3, edges
    never_lost(*(app for app in apps if app.running))
    for app in apps:
        app.stop()


def watching_again(
    api: Api, request: seat_service_pb2.WatchPoolRequest
) -> tuple[Iterator[seat_service_pb2.WatchPoolResponse], pool_event_pb2.PoolSnapshot]:
    """A new stream, as soon as there is one."""
    deadline = time.monotonic() + TAKEOVER
    while True:
        stream = api.seats.WatchPool(request)
        try:
            return stream, next(stream).snapshot
        except grpc.RpcError as error:
            if translate(error).retry_after is None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.mark.system
@pytest.mark.long
@pytest.mark.behaviour("SEAT-15")
def test_who_waits_and_who_watches_by_calls_go_on_at_the_other_server(
    fleet: Fleet, customer: Site
) -> None:
    pool = customer.pool
    home = fleet.home_of(customer.account)
    other = fleet.api(1 - home, customer.admin_token)
    held = [acquire(other, pool).lease for _ in range(3)]
    asked = seat_service_pb2.AcquireSeatRequest(
        request_id=request_id(),
        pool=pool,
        device=session_pb2.Device(id="device-patient", host_name="patient"),
        app=session_pb2.App(name="patient"),
    )
    asked.wait.FromSeconds(30)
    watch = seat_service_pb2.WatchPoolRequest(parent=customer.account)
    watched = other.seats.WatchPool(watch)  # carried to the home, as the call is
    assert len(next(watched).snapshot.leases) == 3
    call = other.seats.AcquireSeat.future(asked)
    queued = next(watched).event
    assert queued.kind == pool_event_pb2.POOL_EVENT_KIND_QUEUED

    assert fleet.programs[home].stop() == 0
    with refused(Reason.SERVER_DRAINING):
        next(watched)
    again, snapshot = watching_again(other, watch)
    (place,) = snapshot.places
    assert place.name == queued.resource
    if call.done():  # the client's library may have asked again by itself
        call = other.seats.AcquireSeat.future(asked)
    assert release(other, held[0])
    lease = call.result(timeout=15).lease
    assert lease.name.rpartition("/")[2] == place.name.rpartition("/")[2]
    kinds = [next(again).event.kind for _ in range(2)]
    assert kinds == [
        pool_event_pb2.POOL_EVENT_KIND_RELEASED,
        pool_event_pb2.POOL_EVENT_KIND_SERVED,
    ]
