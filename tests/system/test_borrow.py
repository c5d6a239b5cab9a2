"""Borrowed seats through real programs: a server, the command line, and apps on computers without a connection."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keypeg.v1 import pool_rules_pb2, seat_service_pb2
from lab.processes import BIN, Lab, Program
from lab.world import SITE, Api, Computer, World
from tests.system.people import Customer

pytestmark = [pytest.mark.behaviour("SEAT-10"), pytest.mark.own_server]

Namer = Callable[[str], str]
STOPS = 15.0
"""Seconds in which an app stops whose borrow has ended: it looks every 2 s, on a busy machine."""


@pytest.fixture
def solver(world: World, customer: Customer, new_name: Namer) -> tuple[str, str]:
    """A product with three seats, two of which may be borrowed: its name and its pool."""
    product = world.product(new_name("solver"), locations=[SITE])
    pool = world.seats(customer.account, product, 3)
    set_rules(customer.admin, pool, borrowable())
    return product, pool


def borrowable(**more: Any) -> pool_rules_pb2.PoolRules:
    rules = pool_rules_pb2.PoolRules(**more)
    rules.borrowing.longest.FromTimedelta(timedelta(days=7))
    rules.borrowing.floor_units = 1
    return rules


def set_rules(api: Api, pool: str, rules: pool_rules_pb2.PoolRules) -> None:
    api.seats.UpdatePoolRules(seat_service_pb2.UpdatePoolRulesRequest(name=pool, rules=rules))


def command(world: World, computer: Computer, *arguments: str) -> tuple[int, str, str]:
    """A command of the command line: its exit code, its output, and what it said."""
    done = world.lab.run([str(BIN / "keypeg"), *arguments], env=computer.env, check=False)
    return done.returncode, done.stdout, done.stderr


def borrow(world: World, computer: Computer, pool: str, duration: str = "1h") -> dict[str, Any]:
    made: dict[str, Any] = world.keypeg(computer, "borrow", "take", pool, "--for", duration)[1]
    return made


def offline(computer: Computer) -> Computer:
    """The same computer where no network is."""
    return Computer(
        computer.name, computer.folder, {**computer.env, "KEYPEG_SERVER": "127.0.0.1:1"}
    )


def kept_in(computer: Computer) -> list[Path]:
    """Where a computer keeps its borrows, a folder each."""
    return [one for one in (computer.folder / "borrows").iterdir() if one.is_dir()]


def seat_app(world: World, computer: Computer, product: str, *more: str, **env: str) -> Program:
    return world.app(f"app-of-{computer.name}", computer, product, "--seat", *more, env=env)


def stopped(app: Program, timeout: float = 15) -> dict[str, Any]:
    found: dict[str, Any] = app.expect("stopped", timeout=timeout)
    return found


def test_an_app_works_without_a_server_by_a_seat_that_is_its_computers_own(
    world: World, customer: Customer, new_name: Namer, solver: tuple[str, str]
) -> None:
    product, pool = solver
    laptop = world.computer(new_name("laptop"), token=customer.member_token)
    made = borrow(world, laptop, pool)
    assert made["state"] == "BORROW_STATE_OUT"
    assert world.pool(customer.admin, pool).held_count == 1
    (listed,) = world.keypeg(laptop, "borrow", "list")[1]
    assert listed["expire_time"] == made["expire_time"]

    other = world.computer(new_name("other"), token=customer.member_token)
    borrow(world, other, pool)
    code, _, said = command(world, other, "borrow", "take", pool, "--for", "1h")
    assert code == 5, said  # one seat always stays
    assert "borrow" in said
    with_admin = world.computer(new_name("admin"), token=customer.admin_token)
    assert len(world.keypeg(with_admin, "borrow", "list")[1]) == 2

    assert world.server
    world.server.kill()
    try:
        app = seat_app(world, laptop, product)
        running = app.expect("running")
        until = datetime.fromisoformat(running["borrowed_until"])
        assert until == datetime.fromisoformat(made["expire_time"])
        assert app.expect("seat")["lease"] == made["lease"]
        second = seat_app(world, laptop, product)
        assert second.expect("denied")["reason"] == "POOL_EXHAUSTED"

        stolen = world.computer(new_name("stolen"))
        shutil.copytree(
            laptop.folder / "borrows",
            stolen.folder / "borrows",
            ignore=shutil.ignore_patterns(".*"),  # what the running app is about to put in place
        )
        refused = stopped(seat_app(world, stolen, product))
        assert refused["reason"] == "DOCUMENT_OTHER_DEVICE"

        world.kill_app(app)
        again = seat_app(world, laptop, product)
        again.expect("seat")
        assert again.stop() == 0
    finally:
        world.serve()


@pytest.mark.long
def test_it_ends_by_the_date_and_is_renewed_before_that(
    lab: Lab, world: World, customer: Customer, new_name: Namer, solver: tuple[str, str]
) -> None:
    product, pool = solver
    laptop = world.computer(new_name("laptop"), token=customer.member_token)
    step = lab.folder / new_name("step")
    step.write_text("0")
    stepped = {
        "PYTHONPATH": str(Path(__file__).parent / "clockstep"),
        "KEYPEG_TEST_CLOCK_STEP": str(step),
    }
    made = borrow(world, laptop, pool)
    away = offline(laptop)
    app = seat_app(world, away, product, **stepped)
    app.expect("seat")
    renewed = world.keypeg(laptop, "borrow", "renew", "--for", "3h")[1]
    assert (made["serial"], renewed["serial"]) == ("1", "2")
    step.write_text(str(2 * 3600))  # past the first end, and before the second
    app.stays_without("stopped", "seat_lost", seconds=5)
    step.write_text(str(4 * 3600))
    assert app.expect("seat_lost", timeout=STOPS)["reason"] == "DOCUMENT_EXPIRED"
    assert stopped(app)["reason"] == "DOCUMENT_EXPIRED"
    step.write_text(str(-72 * 3600))  # and a clock that is set back does not bring it back
    assert stopped(seat_app(world, away, product, **stepped))["reason"] == "DOCUMENT_EXPIRED"
    step.write_text("0")
    world.keypeg(laptop, "borrow", "renew", "--for", "4h")  # the server knows what time it is
    app = seat_app(world, away, product)
    app.expect("seat")
    assert app.stop() == 0
    assert world.pool(customer.admin, pool).held_count == 1


@pytest.mark.long
def test_it_is_returned_by_file_and_goes_to_who_waits(
    lab: Lab, world: World, customer: Customer, new_name: Namer, solver: tuple[str, str]
) -> None:
    product, pool = solver
    laptop = world.computer(new_name("laptop"), token=customer.member_token)
    made = borrow(world, laptop, pool)
    holders = []
    for _ in range(2):
        office = world.computer(new_name("office"), token=customer.admin_token)
        holders.append(seat_app(world, office, product))
        holders[-1].expect("seat")
    waiter = seat_app(
        world, world.computer(new_name("waiter"), token=customer.admin_token), product, "--wait"
    )
    waiter.expect("queued")
    (place,) = kept_in(laptop)
    copy = shutil.copytree(place, lab.folder / new_name("copy"))

    away = offline(laptop)
    app = seat_app(world, away, product)
    app.expect("seat")
    file = lab.folder / new_name("returned")
    code, _, said = command(world, away, "borrow", "return", "--to-file", str(file))
    assert code == 7, said
    assert "close it" in said
    assert app.stop() == 0
    code, _, said = command(world, away, "borrow", "return", "--to-file", str(file))
    assert code == 0, said
    refused = stopped(seat_app(world, away, product))
    assert refused["reason"] == "UNREACHABLE", "there is nothing left here to run by"
    shutil.rmtree(place)
    shutil.copytree(copy, place)  # key and documents, as they were before
    assert stopped(seat_app(world, away, product))["reason"] == "DOCUMENT_OTHER_DEVICE"
    assert "seat" not in waiter.said(), "the server has not heard of it yet"

    anybody = world.computer(new_name("anybody"), token=customer.admin_token)
    (back,) = world.keypeg(anybody, "borrow", "return", "--from-file", str(file))[1]
    assert (back["name"], back["state"]) == (made["name"], "BORROW_STATE_RETURNED")
    waiter.expect("seat", timeout=5)
    world.keypeg(anybody, "borrow", "return", "--from-file", str(file))  # again: nothing changes
    assert world.pool(customer.admin, pool).held_count == 3
    for program in (*holders, waiter):
        program.stop()


@pytest.mark.long
def test_it_is_written_off_with_the_exposure_that_is_stated(
    world: World, customer: Customer, new_name: Namer, solver: tuple[str, str]
) -> None:
    product, pool = solver
    lost = world.computer(new_name("lost"), token=customer.member_token)
    made = borrow(world, lost, pool)
    admin = world.computer(new_name("admin"), token=customer.admin_token)
    arguments = ("borrow", "write-off", made["name"], "--reason", "It fell into the sea.")
    code, _, said = command(world, admin, *arguments, "--yes")
    assert code == 5, said  # the publisher allows none
    set_rules(world.publisher, pool, borrowable(write_off_units=1))
    code, out, said = command(world, admin, "-o", "json", *arguments, "--dry-run")
    assert code == 0, said
    exposure = json.loads(out)["exposure"]
    assert (exposure["units"], exposure["exposed_count"], exposure["budget_count"]) == (1, 1, 1)
    assert exposure["expire_time"] == made["expire_time"]
    free = datetime.fromisoformat(exposure["free_time"])
    assert free > datetime.fromisoformat(made["expire_time"]) > datetime.now(UTC)
    assert world.pool(customer.admin, pool).held_count == 1
    code, _, said = command(
        world, world.computer(new_name("member"), token=customer.member_token), *arguments, "--yes"
    )
    assert code in (1, 5), said  # not a member's to give
    done = world.keypeg(admin, *arguments, "--yes")[1]
    assert done["borrow"]["state"] == "BORROW_STATE_WRITTEN_OFF"
    assert world.pool(customer.admin, pool).held_count == 0
    assert done["borrow"]["reason"] == "It fell into the sea."
    app = seat_app(world, offline(lost), product)  # what was stated: it still works there
    app.expect("seat")
    assert app.stop() == 0
    code, _, said = command(world, lost, "borrow", "renew", "--for", "2h")
    assert code == 8, said
    # It turns up after all, and its exposure ends.
    code, _, said = command(world, lost, "borrow", "return")
    assert code == 0, said
    assert borrow(world, lost, pool)["state"] == "BORROW_STATE_OUT"
