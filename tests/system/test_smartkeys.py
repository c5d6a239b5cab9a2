"""Smartkeys as places for licenses: server, bridge, emulated key, command line and app, all real; and one that is put back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from keypeg.v1 import document_pb2
from keypeg_bridge.emulator import control
from lab.keys import KeyLab
from lab.processes import Lab
from lab.world import KEY, World
from tests.system.people import Customer

Namer = Callable[[str], str]


@pytest.fixture
def keys(lab: Lab, new_name: Namer) -> Iterator[KeyLab]:
    made = KeyLab(lab, new_name("smartkey"))
    made.start_key()
    made.start_bridge(drivers="smartkey")
    yield made
    made.end()


@pytest.mark.behaviour("KEY-4", "KEY-7")
@pytest.mark.long
def test_an_app_runs_by_a_smartkey_and_not_by_one_that_was_put_back(
    world: World, customer: Customer, keys: KeyLab, new_name: Namer
) -> None:
    product = world.product(new_name("synth"), locations=[KEY], unplug_grace=30)
    owned = world.license(customer.account, product)
    computer = world.computer(new_name("lab"), token=customer.admin_token, bridge=keys.target)
    (blank,) = keys.wait_for_key(lambda: world.keypeg(computer, "key", "list")[1])
    assert blank["driver"] == "smartkey"
    assert blank.get("enrolled", False) is False

    world.keypeg(computer, "key", "enroll", "--name", "a smartkey")
    (key,) = world.keypeg(computer, "key", "list")[1]
    assert key["public_key"]["algorithm"] == document_pb2.KeyAlgorithm.Name(
        document_pb2.KEY_ALGORITHM_SMARTKEY_P256
    )
    able = key["capabilities"]
    assert (able["silent_proof"], able["counter"]) == (True, True)
    world.keypeg(computer, "activation", "create", owned.name, "--key", key["name"])

    # With no account, no server and no connection: only the key, and this computer's bridge.
    alone = world.computer(new_name("alone"), bridge=keys.target)
    alone.env.update(KEYPEG_SERVER="127.0.0.1:9", KEYPEG_TOKEN="")
    control.call(keys.control, "fault", fault="snapshot", name="before")
    app = world.app(new_name("app"), alone, product)
    assert "/locations/" in app.expect("running")["location"]
    pulled = time.monotonic()
    keys.unplug()
    assert app.expect("key_missing", timeout=5)["at"] - pulled < 1
    keys.plug()
    app.expect("key_returned", timeout=10)
    heard = len(app.events)

    # The same key with the contents of a while ago: its counter has fallen.
    rolled = control.call(keys.control, "fault", fault="rollback", to="before")
    refused = app.expect("renewal_refused", timeout=10, after=heard)
    assert refused["reason"] == "KEY_ROLLED_BACK"
    late = world.app(new_name("app"), alone, product)
    assert late.expect("stopped")["reason"] == "KEY_ROLLED_BACK"
    (seen,) = world.keypeg(computer, "key", "list")[1]
    assert "its counter told" in seen["fault"]
    assert keys.bridge
    assert "clone suspected" in keys.bridge.tail(200)
    checked = world.keypeg(computer, "key", "check")[1]
    assert checked["location"]["suspect_time"], "the server was told"

    # The right one goes on, and what was seen is not forgotten.
    control.call(keys.control, "clear", number=rolled["fault"]["number"])
    again = world.app(new_name("app"), alone, product)
    again.expect("running")
    (seen,) = world.keypeg(computer, "key", "list")[1]
    assert "its counter told" in seen["fault"]
    for one in (app, again):
        assert one.stop() == 0
