"""More of a license for a time: it appears and disappears by itself, through the real programs."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from keypeg.errors import Reason
from keypeg.v1 import license_service_pb2
from lab.keys import KeyLab
from lab.processes import Program
from lab.world import CLOUD, KEY, SITE, World, request_id
from tests.system.people import Customer, grants_of, refused
from tests.system.seats import acquire, seat_app
from tests.system.test_license_terms import enrolled

pytestmark = pytest.mark.own_server

Namer = Callable[[str], str]


def add(world: World, customer: Customer, license: str, name: str, *args: str) -> Any:
    """Plan temporary capacity, as the publisher does."""
    staff = world.computer(name, token=world.publisher.token)
    words = ("license", "capacity", "add", license, "--account", customer.account, *args)
    return world.keypeg(staff, *words)[1]


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.mark.behaviour("LIC-10")
def test_who_waits_gets_a_temporary_seat_at_its_start_and_gives_it_back_at_its_end(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    owned = world.license(customer.account, product, seats=1)
    made = world.activate(customer.admin, owned.name, f"{customer.account}/locations/site")
    (pool,) = made.activation.pools
    own = acquire(customer.admin, pool).lease
    app = seat_app(world, customer, product, new_name("desk"), "--wait")
    app.expect("queued")
    start = datetime.now(UTC) + timedelta(seconds=0.5)
    plan = license_service_pb2.AddLicenseCapacityRequest(
        parent=owned.name, request_id=request_id(), seat_count=1, duration=Duration(seconds=1)
    )
    plan.start_time.FromDatetime(start)
    world.publisher.licenses.AddLicenseCapacity(plan)
    app.expect("seat", timeout=5)
    assert datetime.now(UTC) >= start
    recalled = app.expect("seat_recalled", timeout=5)
    assert datetime.now(UTC) >= start + timedelta(seconds=1)
    why = (recalled["reason"], recalled["metadata"]["rule"])
    assert why == ("LEASE_RECALLED", "temporary_capacity")
    assert app.wait(5) == 1
    assert world.pool(customer.admin, pool).seat_count == 1
    assert [one.name for one in world.leases(customer.admin, pool)] == [own.name]


@pytest.mark.behaviour("LIC-10")
@pytest.mark.long
def test_temporary_seats_appear_and_disappear_by_themselves_over_a_restart(
    world: World, customer: Customer, new_name: Namer
) -> None:
    with grants_of(world, 40):  # so that nobody's seat ends while the server starts again
        _seats_come_and_go(world, customer, new_name)


def _seats_come_and_go(world: World, customer: Customer, new_name: Namer) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    owned = world.license(customer.account, product, seats=1)
    made = world.activate(customer.admin, owned.name, f"{customer.account}/locations/site")
    (pool,) = made.activation.pools

    def app(number: int) -> Program:
        computer = world.computer(new_name(f"desk{number}"), token=customer.member_token)
        return world.app(new_name("app"), computer, product, "--seat", "--wait")

    first = app(1)
    first.expect("seat")
    others = [app(2), app(3)]
    for one in others:
        one.expect("queued")
    planned = add(
        world,
        customer,
        owned.name,
        new_name("staff"),
        "--seats",
        "2",
        "--from",
        soon(4),
        "--for",
        "25s",
    )
    assert planned["state"] == "CAPACITY_STATE_PLANNED"
    for one in others:
        one.expect("seat", timeout=15)  # nobody asked again
    start = datetime.fromisoformat(planned["start_time"])
    assert datetime.now(UTC) >= start
    assert world.pool(customer.admin, pool).seat_count == 3
    own = world.computer(new_name("own"), token=customer.member_token)
    assert world.keypeg(own, "license", "show", owned.name)[1]["temporary_seat_count"] == 2

    assert world.server is not None
    world.server.kill()
    world.serve()
    assert world.pool(customer.admin, pool).seat_count == 3
    assert len(world.leases(customer.admin, pool)) == 3

    recalled = [one.expect("seat_recalled", timeout=40) for one in others]
    end = datetime.fromisoformat(planned["end_time"])
    assert timedelta(0) <= datetime.now(UTC) - end < timedelta(seconds=12)
    assert {one["reason"] for one in recalled} == {"LEASE_RECALLED"}
    assert {one["metadata"]["rule"] for one in recalled} == {"temporary_capacity"}
    assert world.pool(customer.admin, pool).seat_count == 1
    deadline = time.monotonic() + 15
    while len(left := world.leases(customer.admin, pool)) > 1:
        assert time.monotonic() < deadline, left
    assert [one["event"] for one in first.events if one["event"] == "seat_recalled"] == []
    (shown,) = world.keypeg(own, "license", "capacity", "list", owned.name)[1]
    assert shown["state"] == "CAPACITY_STATE_ENDED"
    for one in (first, *others):
        one.stop()


@pytest.mark.behaviour("LIC-10")
@pytest.mark.long
def test_temporary_activations_are_placed_and_taken_back_by_themselves(
    world: World, customer: Customer, keys: KeyLab, new_name: Namer
) -> None:
    product = world.product(new_name("synth"), locations=[CLOUD, KEY])
    owned = world.license(customer.account, product)
    computer = world.computer(new_name("desk"), token=customer.admin_token, bridge=keys.target)
    key = enrolled(world, computer, keys)
    world.keypeg(computer, "activation", "create", owned.name, "--key", key)
    world.open_cloud(customer.admin, customer.account, computer)
    on_key = world.app(new_name("app"), computer, product, "--location", "key")
    on_key.expect("running")

    def cloud_app() -> Program:
        return world.app(new_name("app"), computer, product, "--location", "cloud")

    assert cloud_app().expect("stopped")["reason"] == "LICENSE_MISSING"
    made = add(world, customer, owned.name, new_name("staff"), "--activations", "1", "--for", "12s")
    assert made["state"] == "CAPACITY_STATE_ACTIVE"
    in_cloud = cloud_app()
    in_cloud.expect("running")  # automatic mode has placed it
    shown = world.keypeg(computer, "license", "show", owned.name)[1]
    assert (shown["activation_count"], shown["temporary_activation_count"]) == (1, 1)
    assert shown["activations_used_count"] == 2
    placed = world.keypeg(computer, "activation", "list")[1]
    assert sorted(one["capacity"] for one in placed) == ["", made["name"]]

    stopped = in_cloud.expect("stopped", timeout=30)
    end = datetime.fromisoformat(made["end_time"])
    assert abs(datetime.now(UTC) - end) < timedelta(seconds=3)
    assert stopped["reason"] in ("LICENSE_MISSING", "LICENSE_EXPIRED")
    (left,) = world.keypeg(computer, "activation", "list")[1]
    assert left["location"].endswith(key) or left["location_kind"] == "LOCATION_KIND_KEY"
    assert cloud_app().expect("stopped")["reason"] == "LICENSE_MISSING"
    assert [one["event"] for one in on_key.events] == ["started", "running"]
    on_key.stop()


def test_temporary_capacity_is_removed_before_it_begins_and_fits_its_license(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    pool = world.seats(customer.account, product, 1)
    (owned,) = customer.admin.licenses.ListLicenses(
        license_service_pb2.ListLicensesRequest(parent=customer.account)
    ).licenses
    staff = new_name("staff")
    made = add(world, customer, owned.name, staff, "--seats", "4", "--for", "30d", "--note", "fair")
    deadline = time.monotonic() + 10
    while world.pool(customer.admin, pool).seat_count != 5:
        assert time.monotonic() < deadline
    computer = world.computer(staff, token=world.publisher.token)
    words = ("license", "capacity", "remove", owned.name, made["name"])
    world.keypeg(computer, *words, "--account", customer.account)
    while world.pool(customer.admin, pool).seat_count != 1:
        assert time.monotonic() < deadline
    member = world.computer(new_name("own"), token=customer.member_token)
    assert world.keypeg(member, "license", "capacity", "list", owned.name)[1] == []
    plan = ("license", "capacity", "add", owned.name, "--seats", "1", "--for", "1d")
    assert world.keypeg(member, *plan, check=False)[0] == 5  # members may not
    with refused(Reason.LICENSE_UNSUITABLE) as caught:
        world.publisher.licenses.AddLicenseCapacity(
            license_service_pb2.AddLicenseCapacityRequest(
                parent=owned.name,
                request_id=request_id(),
                activation_count=1,
                duration=Duration(seconds=60),
            )
        )
    assert caught[0].metadata["rule"] == "capacity_needs_activations"
