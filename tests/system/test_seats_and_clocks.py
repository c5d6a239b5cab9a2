"""Seats, a killed server, and stepped clocks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lab.processes import Lab
from lab.world import SITE, World, request_id
from tests.system.people import SETTINGS, Customer, grants_of
from tests.system.seats import GRANT, Namer, acquire, seat_app, solver

__all__ = ["solver"]  # a fixture


@pytest.mark.behaviour("SEAT-6")
def test_a_killed_server_loses_no_seat_frees_none_early_and_keeps_none_for_ever(
    world: World, customer: Customer, new_name: Namer, solver: tuple[str, str]
) -> None:
    product, pool = solver
    with grants_of(world, 10):
        holders = [seat_app(world, customer, product, new_name("holder")) for _ in range(3)]
        for app in holders:
            app.expect("seat")
        waiter = seat_app(world, customer, product, new_name("waiter"), "--wait")
        waiter.expect("queued")
        before = {lease.name: lease.fencing_number for lease in world.leases(customer.admin, pool)}

        assert world.server
        world.server.kill()
        holders[0].kill()
        world.serve()
        back = time.monotonic()
        for app in (*holders[1:], waiter):
            app.expect("reconnected")
        held = {lease.name: lease.fencing_number for lease in world.leases(customer.admin, pool)}
        assert held == before, "also the dead one's: nobody knows yet that it is dead"

        freed = waiter.arrival(waiter.expect("seat", timeout=60)) - back
        assert freed > 10 * 0.6
        after = world.leases(customer.admin, pool)
        assert len(after) == 3
        assert max(lease.fencing_number for lease in after) > max(before.values())
        for app in holders[1:]:
            assert app.running
            assert not {"stopped", "seat_lost"} & app.said()
        for app in (*holders[1:], waiter):
            app.stop()


def steppable(folder: Path) -> tuple[Path, dict[str, str]]:
    """A file of seconds, and what lets a program's wall clock be ahead by those."""
    step = folder / "step"
    step.write_text("0")
    return step, {
        "PYTHONPATH": str(Path(__file__).parent / "clockstep"),
        "KEYPEG_TEST_CLOCK_STEP": str(step),
    }


@pytest.mark.behaviour("SEAT-7")
def test_stepping_a_wall_clock_by_hours_changes_nothing(
    tmp_path: Path, made_data: Path, new_name: Namer
) -> None:
    """A world of its own: its server, and one of its apps, read a clock that is stepped."""
    step, stepped = steppable(tmp_path)
    app_step = tmp_path / "app-step"
    app_step.write_text("0")
    folder = tmp_path / "lab"
    folder.mkdir()
    with Lab(folder) as lab:
        world = World(lab, settings=SETTINGS, server_env=stepped, like=made_data)
        customer = Customer(world)
        product = world.product(new_name("solver"), locations=[SITE])
        pool = world.seats(customer.account, product, 2)
        apps = []
        for name in ("steady", "stepped"):
            computer = world.computer(name, token=customer.member_token)
            env = {**stepped, "KEYPEG_TEST_CLOCK_STEP": str(app_step)} if name == "stepped" else {}
            apps.append(world.app(name, computer, product, "--seat", env=env))
            apps[-1].expect("seat")
        computer = world.computer("waiter", token=customer.member_token)
        waiter = world.app("waiter", computer, product, "--seat", "--wait")
        waiter.expect("queued")
        before = {lease.name for lease in world.leases(customer.admin, pool)}
        for hours in (26, -5):
            step.write_text(str(hours * 3600))
            app_step.write_text(str(-hours * 3600))
            waiter.stays_without("seat", "stopped", seconds=GRANT * 1.5)
            assert {lease.name for lease in world.leases(customer.admin, pool)} == before
        for app in apps:
            assert not {"stopped", "seat_lost", "connection_lost"} & {
                e["event"] for e in app.events
            }
        assert "seat" not in {event["event"] for event in waiter.events}
        assert apps[0].stop() == 0
        waiter.expect("seat", timeout=5)


@pytest.mark.behaviour("SEAT-7")
def test_a_wall_clock_that_is_days_ahead_after_a_restart_forgets_no_request(
    tmp_path: Path, made_data: Path, new_name: Namer
) -> None:
    step, stepped = steppable(tmp_path)
    folder = tmp_path / "lab"
    folder.mkdir()
    with Lab(folder) as lab:
        world = World(lab, settings=SETTINGS, server_env=stepped, like=made_data)
        customer = Customer(world)
        product = world.product(new_name("solver"), locations=[SITE])
        pool = world.seats(customer.account, product, 2)
        identifier = request_id()
        given = acquire(customer.member, pool, identifier=identifier).lease
        assert world.server is not None
        world.server.kill()
        step.write_text(str(3 * 86_400))
        world.serve()
        member, admin = (
            world.sign_in(login) for login in (customer.member_login, customer.admin_login)
        )  # tokens do not outlive three days
        assert acquire(member, pool, identifier=identifier).lease.name == given.name
        assert [lease.name for lease in world.leases(admin, pool)] == [given.name]
