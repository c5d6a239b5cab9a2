"""Cloud sessions on several servers of one PostgreSQL: changes reach everyone at any of them, and outlive one that is killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from keypeg.v1 import cloud_session_pb2, cloud_session_service_pb2
from lab.processes import BIN, Lab
from lab.world import CLOUD, Api
from tests.system import group_story, test_cloud_moves
from tests.system.fleet import Fleet, fleet, postgres
from tests.system.people import Customer

Namer = Callable[[str], str]

__all__ = ["fleet", "postgres"]  # fixtures


@pytest.fixture
def customer(fleet: Fleet) -> Customer:
    """Whose admin works at one server, and whose member at the other."""
    made = Customer(fleet.world)
    made.admin = fleet.api(0, made.admin_token)
    made.member = fleet.api(1, made.member_token)
    return made


@pytest.mark.system
@pytest.mark.long
@pytest.mark.alone
@pytest.mark.behaviour("CLOUD-2")
@pytest.mark.behaviour("CLOUD-3")
def test_it_is_moved_at_any_server_by_all_at_once(
    fleet: Fleet, customer: Customer, new_name: Namer
) -> None:
    test_cloud_moves.check(fleet.world, customer, new_name, 400)


@pytest.mark.system
@pytest.mark.long
@pytest.mark.alone
@pytest.mark.behaviour("CLOUD-3")
def test_a_change_at_one_server_reaches_apps_and_watchers_at_the_other_at_once(
    fleet: Fleet, lab: Lab, customer: Customer, new_name: Namer
) -> None:
    world = fleet.world
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    home = fleet.home_of(customer.account)
    a = fleet.computer(new_name("a"), customer.member_token, [1 - home])
    b = fleet.computer(new_name("b"), customer.member_token, [home])
    argv = [str(BIN / "keypeg"), "-o", "jsonl", "session", "watch"]
    watching = {
        number: lab.start(
            new_name("watch"),
            argv,
            env=fleet.computer(new_name("w"), customer.member_token, [number]).env,
        )
        for number in (0, 1)
    }
    for one in watching.values():
        one.expect(lambda line: "cloud_session" in line)
    took: list[float] = []
    for turn in range(4):
        computer, other = (a, b) if turn % 2 == 0 else (b, a)
        app = world.app(new_name("app"), computer, product, "--cloud", "move")
        app.expect("running")
        begun = time.monotonic()
        world.open_cloud(customer.admin if turn < 2 else customer.member, customer.account, other)
        stopped = app.expect("stopped", timeout=5)
        assert stopped["reason"] == "CLOUD_SESSION_MOVED"
        took.append(app.arrival(stopped) - begun)
        generation = shown(customer).generation
        for one in watching.values():
            line = one.expect(is_of(generation))
            took.append(one.arrival(line) - begun)
    print("told within " + ", ".join(f"{one * 1e3:.0f}" for one in sorted(took)) + " ms")
    assert max(took) < 1
    for one in watching.values():
        one.stop()


@pytest.mark.system
@pytest.mark.long
@pytest.mark.alone
@pytest.mark.behaviour("CLOUD-4")
def test_the_cloud_session_and_who_watches_it_outlive_a_killed_server(
    fleet: Fleet, lab: Lab, customer: Customer, new_name: Namer
) -> None:
    world = fleet.world
    product = world.product(new_name("daw"), locations=[CLOUD], offline_grace=60)
    world.license(customer.account, product)
    home = fleet.home_of(customer.account)
    other = fleet.api(1 - home, customer.member_token)
    pc = fleet.computer(new_name("pc"), customer.member_token, [home, 1 - home])
    app = world.app(new_name("app"), pc, product, "--cloud", "open")
    app.expect("running")
    argv = [str(BIN / "keypeg"), "-o", "jsonl", "session", "watch"]
    watching = lab.start(new_name("watch"), argv, env=pc.env)
    watching.expect(lambda line: "cloud_session" in line)
    before = shown(customer)

    fleet.kill(home)
    app.expect("reconnected", timeout=30)
    after = other.cloud.GetCloudSession(
        cloud_session_service_pb2.GetCloudSessionRequest(name=before.name)
    ).cloud_session
    assert after == before
    known = len(watching.events)
    laptop = world.computer(new_name("laptop"))
    moved = world.open_cloud(other, customer.account, laptop)
    assert moved.moved_from_host_name == before.host_name
    assert app.expect("stopped", timeout=5)["reason"] == "CLOUD_SESSION_MOVED"
    watching.expect(is_of(moved.cloud_session.generation), after=known - 1, timeout=30)
    watching.stop()
    fleet.again(home)


@pytest.mark.system
@pytest.mark.long
@pytest.mark.alone
@pytest.mark.behaviour("CLOUD-19")
def test_members_of_a_group_at_both_servers_move_at_once_and_a_removed_one_is_cut_off(
    fleet: Fleet,
) -> None:
    world = fleet.world

    def sign(number: int, login: str) -> Api:
        return fleet.api(number % 2, world.token(login))

    made = group_story.group(world, 8, sign, lambda login: sign(1, login))
    took = group_story.play(world, made, 4)
    print(f"cut off after {took * 1e3:.0f} ms")
    assert took < 1


def shown(customer: Customer) -> cloud_session_pb2.CloudSession:
    name = f"{customer.account}/cloudSession"
    request = cloud_session_service_pb2.GetCloudSessionRequest(name=name)
    return customer.admin.cloud.GetCloudSession(request).cloud_session


def is_of(generation: int) -> Callable[[dict[str, Any]], bool]:
    """Whether a line of `keypeg session watch` is of this generation."""
    return lambda line: (line.get("cloud_session") or {}).get("generation") == str(generation)
