"""Seats, a killed server, and stepped clocks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.processes import Lab
from lab.world import SITE, World, request_id
from tests.system.people import SETTINGS, Customer, grants_of
from tests.system.seats import GRANT, Namer, acquire, seat_app, solver

pytestmark = pytest.mark.own_server

__all__ = ["solver"]  # a fixture


@pytest.mark.behaviour("SEAT-6")
@pytest.mark.long
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


class Stepped:
    """A world of its own, whose server reads a clock that is stepped; two seats for a customer."""

    def __init__(self, lab: Lab, folder: Path, made_data: Path, new_name: Namer) -> None:
        self._step = folder / "step"
        self._folder = folder
        self.world = World(
            lab, settings=SETTINGS, server_env=self.reading(self._step), like=made_data
        )
        self.customer = Customer(self.world)
        self.product = self.world.product(new_name("solver"), locations=[SITE])
        self.pool = self.world.seats(self.customer.account, self.product, 2)

    def step(self, seconds: int) -> None:
        """Let the server's wall clock be ahead by so much."""
        self._step.write_text(str(seconds))

    @staticmethod
    def reading(step: Path) -> dict[str, str]:
        """What lets a program's wall clock be ahead by the seconds in a file."""
        step.write_text("0")
        return {
            "PYTHONPATH": str(Path(__file__).parent / "clockstep"),
            "KEYPEG_TEST_CLOCK_STEP": str(step),
        }


@pytest.fixture
def stepped(tmp_path: Path, made_data: Path, new_name: Namer) -> Iterator[Stepped]:
    folder = tmp_path / "lab"
    folder.mkdir()
    with Lab(folder) as lab:
        yield Stepped(lab, tmp_path, made_data, new_name)


@pytest.mark.behaviour("SEAT-7")
@pytest.mark.long
def test_stepping_a_wall_clock_by_hours_changes_nothing(stepped: Stepped, tmp_path: Path) -> None:
    """That of the server, and that of one of its apps."""
    world, customer = stepped.world, stepped.customer
    app_step = tmp_path / "app-step"
    apps = []
    for name in ("steady", "stepped"):
        computer = world.computer(name, token=customer.member_token)
        env = stepped.reading(app_step) if name == "stepped" else {}
        apps.append(world.app(name, computer, stepped.product, "--seat", env=env))
        apps[-1].expect("seat")
    computer = world.computer("waiter", token=customer.member_token)
    waiter = world.app("waiter", computer, stepped.product, "--seat", "--wait")
    waiter.expect("queued")
    before = {lease.name for lease in world.leases(customer.admin, stepped.pool)}
    for hours in (26, -5):
        stepped.step(hours * 3600)
        app_step.write_text(str(-hours * 3600))
        waiter.stays_without("seat", "stopped", seconds=GRANT * 1.5)
        assert {lease.name for lease in world.leases(customer.admin, stepped.pool)} == before
    for app in apps:
        assert not {"stopped", "seat_lost", "connection_lost"} & {e["event"] for e in app.events}
    assert "seat" not in {event["event"] for event in waiter.events}
    assert apps[0].stop() == 0
    waiter.expect("seat", timeout=5)


@pytest.mark.behaviour("SEAT-7")
def test_a_wall_clock_that_is_days_ahead_after_a_restart_forgets_no_request(
    stepped: Stepped,
) -> None:
    world, customer, pool = stepped.world, stepped.customer, stepped.pool
    identifier = request_id()
    given = acquire(customer.member, pool, identifier=identifier).lease
    assert world.server is not None
    world.server.kill()
    stepped.step(3 * 86_400)
    world.serve()
    member, admin = (
        world.sign_in(login) for login in (customer.member_login, customer.admin_login)
    )  # tokens do not outlive three days
    assert acquire(member, pool, identifier=identifier).lease.name == given.name
    assert [lease.name for lease in world.leases(admin, pool)] == [given.name]
