"""Rules of pools and running clients: what a change does to whom, through a real server and real apps."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from keypeg.errors import Reason
from keypeg.v1 import account_service_pb2, seat_service_pb2, session_pb2
from keypeg.v1 import pool_rules_pb2 as pb
from lab.processes import BIN, Program
from lab.world import SITE, Api, World, request_id
from tests.system.people import Customer, grants_of, refused

pytestmark = pytest.mark.own_server

Namer = Callable[[str], str]
GRANT = 6.0
"""Seconds that one answer lets an app use its seat, as SETTINGS says."""


@pytest.fixture
def solver(world: World, customer: Customer, new_name: Namer) -> tuple[str, str]:
    """A product with two seats at the site: its name and its pool."""
    product = world.product(new_name("solver"), locations=[SITE])
    return product, world.seats(customer.account, product, 2)


def set_rules(
    api: Api, pool: str, rules: pb.PoolRules, *, dry_run: bool = False
) -> seat_service_pb2.UpdatePoolRulesResponse:
    return api.seats.UpdatePoolRules(
        seat_service_pb2.UpdatePoolRulesRequest(name=pool, rules=rules, dry_run=dry_run)
    )


def user(name: str) -> pb.PoolSubject:
    return pb.PoolSubject(user=name)


def me(api: Api) -> str:
    return api.accounts.GetCaller(account_service_pb2.GetCallerRequest()).user.name


def acquire(
    api: Api, pool: str, *, host: str = "unary", process: int = 1
) -> seat_service_pb2.AcquireSeatResponse:
    return api.seats.AcquireSeat(
        seat_service_pb2.AcquireSeatRequest(
            request_id=request_id(),
            pool=pool,
            device=session_pb2.Device(id=f"device-{host}", host_name=host),
            app=session_pb2.App(name="unary", process_id=process),
        )
    )


def release(api: Api, got: seat_service_pb2.AcquireSeatResponse) -> None:
    lease = got.lease
    api.seats.ReleaseSeat(
        seat_service_pb2.ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
    )


def seat_app(world: World, token: str, product: str, computer: str, name: str = "") -> Program:
    made = world.computer(computer, token=token)
    return world.app(name or computer, made, product, "--seat", "--wait")


@pytest.mark.behaviour("SEAT-9")
def test_a_denial_lets_go_on_who_runs_and_one_that_cuts_recalls(
    world: World, customer: Customer, new_name: Namer, solver: tuple[str, str]
) -> None:
    product, pool = solver
    running = seat_app(world, customer.member_token, product, new_name("c"))
    running.expect("seat")
    rules = pb.PoolRules(denied=[pb.PoolDenial(subject=user(me(customer.member)))])
    (told,) = set_rules(customer.admin, pool, rules).effects
    assert told.consequence == seat_service_pb2.POOL_CONSEQUENCE_KEPT
    assert told.holder.user == me(customer.member)
    late = seat_app(world, customer.member_token, product, new_name("c"))
    assert late.expect("denied")["reason"] == "POOL_RULE"
    assert world.pool(customer.admin, pool).held_count == 1
    assert "seat_recalled" not in running.said()

    rules.denied[0].cut = True
    (told,) = set_rules(customer.admin, pool, rules, dry_run=True).effects
    assert told.consequence == seat_service_pb2.POOL_CONSEQUENCE_RECALLED
    assert "seat_recalled" not in running.said()
    set_rules(customer.admin, pool, rules)
    assert running.expect("seat_recalled")["reason"] == "LEASE_RECALLED"
    deadline = time.monotonic() + 3 * GRANT
    while world.pool(customer.admin, pool).held_count:
        assert time.monotonic() < deadline, "a recalled seat is never free"
        time.sleep(0.05)
    for app in (running, late):
        app.stop()


@pytest.mark.behaviour("SEAT-9")
@pytest.mark.behaviour("SEAT-1")
def test_a_recalled_seat_is_not_given_on_while_its_holder_can_not_have_heard(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    pool = world.seats(customer.account, product, 1)
    deaf = seat_app(world, customer.member_token, product, new_name("c"))
    deaf.expect("seat")
    deaf.signal(signal.SIGSTOP)  # it hears nothing, and may believe until its time is over
    before = time.monotonic()
    rules = pb.PoolRules(denied=[pb.PoolDenial(subject=user(me(customer.member)), cut=True)])
    set_rules(customer.admin, pool, rules)
    with refused(Reason.POOL_EXHAUSTED):
        acquire(customer.admin, pool)
    taker = seat_app(world, customer.admin_token, product, new_name("c"))
    taker.expect("seat", timeout=3 * GRANT)
    # It had answered a renewal at most a third of a grant before it was stopped.
    assert time.monotonic() - before > GRANT / 2
    deaf.signal(signal.SIGCONT)
    deaf.expect(lambda one: one["event"] in ("seat_recalled", "stopped"))
    deaf.stop()
    assert taker.stop() == 0


@pytest.mark.behaviour("SEAT-9")
def test_tighter_limits_and_reservations_hold_for_who_comes_later(
    world: World, customer: Customer, solver: tuple[str, str]
) -> None:
    _, pool = solver
    held = [acquire(customer.member, pool, host=host) for host in ("atlas", "helios")]
    member, admin = me(customer.member), me(customer.admin)
    set_rules(
        customer.admin,
        pool,
        pb.PoolRules(
            limits=[pb.PoolLimit(subject=user(member), units=1)],
            reservations=[pb.PoolReservation(subject=user(admin), units=1)],
        ),
    )
    for one in held:
        again = seat_service_pb2.RenewSeatRequest(
            name=one.lease.name, fencing_number=one.lease.fencing_number
        )
        customer.member.seats.RenewSeat(again)
    release(customer.member, held[0])
    with refused(Reason.POOL_RULE) as denial:
        acquire(customer.member, pool)
    assert denial[0].metadata["rule"] == "limit"
    assert acquire(customer.admin, pool)
    assert world.server
    world.server.kill()  # rules are on disk
    world.serve()
    with refused(Reason.POOL_RULE):
        acquire(customer.member, pool)


@pytest.mark.behaviour("SEAT-9")
def test_a_member_changes_no_rules_an_admin_no_overdraft_and_nobody_what_changed_meanwhile(
    world: World, customer: Customer, solver: tuple[str, str]
) -> None:
    _, pool = solver
    with refused(Reason.PERMISSION_DENIED):
        set_rules(customer.member, pool, pb.PoolRules())
    with refused(Reason.PERMISSION_DENIED):
        set_rules(customer.admin, pool, pb.PoolRules(overdraft_units=1))
    with refused(Reason.NOT_FOUND):
        set_rules(Customer(world).admin, pool, pb.PoolRules())
    with refused(Reason.FIELD_INVALID):
        set_rules(customer.admin, pool, pb.PoolRules(allowed=[pb.PoolSubject(group="none")]))
    read = customer.admin.seats.GetPoolRules(seat_service_pb2.GetPoolRulesRequest(name=pool)).rules
    set_rules(customer.admin, pool, pb.PoolRules(counting=pb.SEAT_COUNTING_USER, etag=read.etag))
    with refused(Reason.CHANGED_MEANWHILE):
        set_rules(customer.admin, pool, pb.PoolRules(etag=read.etag))


@pytest.mark.behaviour("SEAT-11")
def test_a_seat_lingers_for_its_user_after_a_clean_end_and_not_after_a_crash(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    pool = world.seats(customer.account, product, 1)
    rules = pb.PoolRules()
    rules.linger.FromSeconds(4)
    set_rules(customer.admin, pool, rules)
    app = seat_app(world, customer.member_token, product, new_name("c"))
    app.expect("seat")
    assert app.stop() == 0
    now = world.pool(customer.admin, pool)
    assert (now.held_count, now.lingering_count) == (1, 1)
    with refused(Reason.POOL_EXHAUSTED):
        acquire(customer.admin, pool)
    got = acquire(customer.member, pool)  # it is still theirs
    release(customer.member, got)
    ended = time.monotonic()
    waiter = seat_app(world, customer.admin_token, product, new_name("c"))
    waiter.expect("seat", timeout=15)
    assert time.monotonic() - ended > 3
    world.kill_app(waiter)
    deadline = time.monotonic() + 3 * GRANT
    while world.pool(customer.admin, pool).held_count:
        assert time.monotonic() < deadline
        assert world.pool(customer.admin, pool).lingering_count == 0, "a crash lingers"
        time.sleep(0.05)


@pytest.mark.behaviour("SEAT-11")
@pytest.mark.long
def test_an_overdraft_is_bounded_and_recorded_on_the_lease(
    world: World, customer: Customer, solver: tuple[str, str]
) -> None:
    _, pool = solver
    set_rules(world.publisher, pool, pb.PoolRules(overdraft_units=1))
    got = [acquire(customer.member, pool) for _ in range(3)]
    assert [one.lease.overdraft for one in got] == [False, False, True]
    assert world.pool(customer.admin, pool).overdraft_count == 1
    with refused(Reason.POOL_EXHAUSTED):
        acquire(customer.member, pool)
    assert world.server
    world.server.kill()
    world.serve()
    shown = [one.overdraft for one in world.leases(customer.admin, pool)]
    assert shown == [False, False, True]


@pytest.mark.behaviour("SEAT-13")
@pytest.mark.parametrize(
    ("counting", "seats"),
    [
        (pb.SEAT_COUNTING_LEASE, 5),
        (pb.SEAT_COUNTING_PROCESS, 4),
        (pb.SEAT_COUNTING_USER_AND_HOST, 3),
        (pb.SEAT_COUNTING_USER, 2),
    ],
)
def test_leases_share_seats_as_the_pool_counts(
    world: World,
    customer: Customer,
    new_name: Namer,
    counting: pb.SeatCounting.ValueType,
    seats: int,
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    pool = world.seats(customer.account, product, 5)
    set_rules(customer.admin, pool, pb.PoolRules(counting=counting))
    for api, host, process in (
        (customer.member, "atlas", 1),
        (customer.member, "atlas", 1),
        (customer.member, "atlas", 2),
        (customer.member, "helios", 1),
        (customer.admin, "helios", 1),
    ):
        acquire(api, pool, host=host, process=process)
    assert world.pool(customer.admin, pool).held_count == seats


@pytest.mark.behaviour("SEAT-13")
@pytest.mark.long
def test_sessions_of_one_user_share_a_seat_until_the_last_of_them_can_not_believe_in_it(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    pool = world.seats(customer.account, product, 1)
    set_rules(customer.admin, pool, pb.PoolRules(counting=pb.SEAT_COUNTING_USER))
    with grants_of(world, 10):
        apps = [seat_app(world, customer.member_token, product, new_name("c")) for _ in range(3)]
        for app in apps:
            app.expect("seat")
        assert world.pool(customer.admin, pool).held_count == 1
        other = seat_app(world, customer.admin_token, product, new_name("c"))
        other.expect("queued")
        assert apps[0].stop() == 0
        world.kill_app(apps[1])
        assert world.server
        world.server.kill()
        world.serve()
        apps[2].expect("reconnected")
        time.sleep(10 * 1.01 + 1 + 1)  # the killed one has run out by now, and the third goes on
        assert "seat" not in other.said()
        assert world.pool(customer.admin, pool).held_count == 1
        assert apps[2].stop() == 0
        other.expect("seat", timeout=10)
        other.stop()


@pytest.mark.behaviour("SEAT-9")
@pytest.mark.long
def test_rules_are_kept_in_a_file_and_tried_before_they_are_applied(
    world: World, customer: Customer, new_name: Namer, solver: tuple[str, str], tmp_path: Path
) -> None:
    _, pool = solver
    admin = world.computer(new_name("c"), token=customer.admin_token)
    member = world.computer(new_name("c"), token=customer.member_token)
    acquire(customer.member, pool)
    file = tmp_path / "solver.toml"
    file.write_text(
        f'counting = "user"\n[[deny]]\nwho = "user:{customer.member_login}"\n'
        '[[reserve]]\nfor = "group:cad"\nunits = 1\n'
        f'[groups]\ncad = ["user:{customer.admin_login}"]\n'
    )
    _, effects = world.keypeg(admin, "pool", "apply", pool, str(file), "--dry-run")
    assert [one["consequence"] for one in effects] == ["POOL_CONSEQUENCE_KEPT"]
    assert world.keypeg(admin, "pool", "show", pool)[1]["counting"] == "SEAT_COUNTING_LEASE"
    world.keypeg(admin, "pool", "apply", pool, str(file))
    code, why = world.keypeg(member, "seat", "why", pool)
    assert (code, why["would"]) == (0, "WOULD_DENIED")
    assert why["explanation"]["metadata"]["rule"] == "deny"
    assert world.keypeg(member, "pool", "show", pool, check=False)[0] == 5

    exported = world.lab.run([str(BIN / "keypeg"), "pool", "export", pool], env=admin.env).stdout
    assert f"user:{customer.member_login}" in exported
    file.write_text(exported)
    world.keypeg(admin, "pool", "apply", pool, str(file))  # the same again
    file.write_text(exported.replace('counting = "user"', 'counting = "session"'))
    world.keypeg(admin, "pool", "apply", pool, str(file))
    file.write_text(exported)
    assert world.keypeg(admin, "pool", "apply", pool, str(file), check=False)[0] == 1
