"""Changes of licenses that come first: what is planned, and what waits for a key, through the real programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from keypeg.calls import translate
from keypeg.errors import Reason
from keypeg.v1 import license_service_pb2 as pb
from lab.keys import KeyLab
from lab.world import CLOUD, KEY, World, request_id
from tests.system.people import Customer, recorded, refused
from tests.system.test_license_life import Namer, move, suspend
from tests.system.test_lost_keys import Desk


@pytest.mark.behaviour("LIC-9")
def test_a_planned_change_is_applied_by_itself_at_its_moment(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    owned = world.license(customer.account, product)
    computer = world.computer(new_name("pc"), token=customer.member_token)
    world.open_cloud(customer.member, customer.account, computer)
    app = world.app(new_name("app"), computer, product, "--cloud", "never")
    app.expect("running")
    publisher = world.computer(new_name("office"), token=world.publisher.token)
    at = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    license = owned.name
    world.keypeg(publisher, "license", "suspend", license, "--at", at, "--reason", "The end")
    _, planned = world.keypeg(computer, "license", "changes")
    assert [one["kind"] for one in planned] == ["LICENSE_CHANGE_KIND_SUSPEND"]
    assert app.expect("stopped")["reason"] == "LICENSE_SUSPENDED"
    _, planned = world.keypeg(computer, "license", "changes")
    assert planned == []
    (said,) = recorded(customer, "license_suspended")
    assert (said["reason"], said["planned_by"]) == ("The end", recorded_by(customer))


@pytest.mark.behaviour("LIC-9")
def test_what_is_done_after_a_planned_moment_finds_the_change_applied(
    world: World, customer: Customer, new_name: Namer
) -> None:
    """The server looks by itself once a second, and before all that is done with the license."""
    owned = world.license(customer.account, world.product(new_name("eq"), locations=[CLOUD]))
    cloud = f"{customer.account}/locations/cloud"
    world.activate(customer.member, owned.name, cloud)

    def why_not_again() -> Reason:
        """What it is refused for where it is activated already."""
        with pytest.raises(grpc.RpcError) as caught:
            world.activate(customer.member, owned.name, cloud)
        return translate(caught.value).reason

    api = world.publisher.licenses
    active, suspended = Reason.ACTIVATIONS_EXHAUSTED, Reason.LICENSE_SUSPENDED
    changes: list[tuple[Any, Any, Reason, Reason]] = [
        (api.SuspendLicense, pb.SuspendLicenseRequest(), active, suspended),
        (api.ResumeLicense, pb.ResumeLicenseRequest(), suspended, active),
    ]
    for plan, request, before, after in changes:
        at = datetime.now(UTC) + timedelta(seconds=1)
        request.name, request.request_id, request.reason = owned.name, request_id(), "The plan"
        request.apply_time.FromDatetime(at)
        plan(request)
        tries: list[tuple[datetime, Reason]] = []
        while not tries or tries[-1][0] < at:
            tries.append((datetime.now(UTC), why_not_again()))
        assert tries[0][1] is before
        assert tries[-1][1] is after, "the first that began after the moment"


def recorded_by(customer: Customer) -> str:
    (said,) = recorded(customer, "license_change_recorded")
    return str(said["by"])


@pytest.mark.behaviour("LIC-9")
def test_nothing_is_done_with_a_license_before_a_change_that_waits_for_its_key(
    world: World, customer: Customer, keys: KeyLab, new_name: Namer
) -> None:
    owned = world.license(customer.account, world.product(new_name("eq"), locations=[KEY, CLOUD]))
    desk = Desk(world, customer, keys, new_name("desk"))
    activation = desk.activate(owned.name)
    cloud = f"{customer.account}/locations/cloud"
    waiting = move(world.publisher, activation, cloud).change
    for call in (
        lambda: suspend(world.publisher, owned.name),
        lambda: world.activate(customer.admin, owned.name, cloud),
    ):
        with refused(Reason.PENDING_CHANGE) as caught:
            call()
        assert caught[0].metadata["change"] == waiting.name
    said = desk.failing("activation", "create", owned.name, "--location", "cloud")
    assert f"waits for the key {desk.location}" in said
    assert "keypeg key refresh" in said
    desk.run("key", "refresh")
    _, found = world.keypeg(desk.computer, "activation", "list", owned.name)
    assert [one["location"] for one in found] == [cloud]
    suspend(world.publisher, owned.name)
