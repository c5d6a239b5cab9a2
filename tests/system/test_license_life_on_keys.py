"""The life of licenses that live on keys: a real server, a bridge, an emulated key, apps and the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from keypeg.errors import Reason
from lab.keys import KeyLab
from lab.processes import Lab
from lab.world import CLOUD, KEY, World
from tests.system.people import Customer, refused
from tests.system.test_license_life import Namer, move, resume, shown, suspend
from tests.system.test_lost_keys import Desk


@pytest.fixture
def keys(lab: Lab, new_name: Namer) -> Iterator[KeyLab]:
    """A key, and a bridge."""
    one = KeyLab(lab, new_name("life"))
    one.start_key()
    one.start_bridge(drivers="piv")
    yield one
    one.end()


@pytest.mark.long
@pytest.mark.behaviour("LIC-9")
@pytest.mark.behaviour("LIC-8")
@pytest.mark.behaviour("LIC-12")
def test_a_license_on_a_key_is_activated_there_and_moves_when_the_key_is_reached(
    world: World, customer: Customer, keys: KeyLab, new_name: Namer
) -> None:
    product = world.product(new_name("synth"), locations=[KEY, CLOUD])
    owned = world.license(customer.account, product)
    desk = Desk(world, customer, keys, new_name("desk"))
    with refused(Reason.ACTIVATE_THERE) as caught:  # by whoever has not the key at hand
        world.activate(world.publisher, owned.name, desk.location)
    assert caught[0].metadata["location"] == desk.location
    activation = desk.activate(owned.name)
    app = desk.app(new_name("app"), product)
    app.expect("running")

    # Suspended: the bridge hears of it when somebody looks, and the app stops.
    suspend(world.publisher, owned.name)
    desk.run("key", "check")
    refusal = app.expect("renewal_refused", timeout=20)
    assert refusal["reason"] == "DOCUMENT_SUPERSEDED"
    assert desk.app(new_name("app"), product).expect("stopped")["reason"] == "DOCUMENT_SUPERSEDED"
    app.stop()
    desk.run("key", "refresh")
    desk.carrying(0)
    resume(world.publisher, owned.name)
    desk.run("key", "refresh")
    desk.carrying(1)
    app = desk.app(new_name("app"), product)
    app.expect("running")

    # The publisher moves it, without the key: nothing else is done before.
    cloud = f"{customer.account}/locations/cloud"
    waiting = move(world.publisher, activation, cloud)
    assert waiting.change.waits_for == desk.location
    assert shown(customer, owned.name).waits_for == desk.location
    for call in (
        lambda: suspend(world.publisher, owned.name),
        lambda: world.activate(customer.admin, owned.name, cloud),
        lambda: move(customer.admin, activation),
    ):
        with refused(Reason.PENDING_CHANGE) as caught:
            call()
        assert caught[0].metadata["change"] == waiting.change.name
    desk.run("key", "refresh")
    desk.carrying(0)
    app.expect("stopped")
    now = shown(customer, owned.name)
    assert (now.waits_for, now.activations_used_count) == ("", 1)
    _, found = world.keypeg(desk.computer, "activation", "list", owned.name)
    assert [one["location"] for one in found] == [cloud]
