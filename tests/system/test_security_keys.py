"""FIDO2 security keys as places for licenses: server, bridge, emulated key, command line and app, all real."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from keypeg.v1 import document_pb2
from lab.keys import KeyLab
from lab.processes import Lab
from lab.world import KEY, World
from tests.system.people import Customer

Namer = Callable[[str], str]


@pytest.fixture
def keys(lab: Lab, new_name: Namer) -> Iterator[KeyLab]:
    made = KeyLab(lab, new_name("fido"))
    made.start_key()
    made.start_bridge(drivers="fido2")
    yield made
    made.end()


@pytest.mark.behaviour("KEY-2", "KEY-4", "KEY-9")
@pytest.mark.long
def test_an_app_runs_by_a_license_that_a_security_key_proves(
    world: World, customer: Customer, keys: KeyLab, new_name: Namer
) -> None:
    product = world.product(new_name("synth"), locations=[KEY], unplug_grace=30)
    owned = world.license(customer.account, product)
    computer = world.computer(new_name("lab"), token=customer.admin_token, bridge=keys.target)
    (blank,) = keys.wait_for_key(lambda: world.keypeg(computer, "key", "list")[1])
    assert blank["driver"] == "fido2"
    assert blank.get("enrolled", False) is False

    world.keypeg(computer, "key", "enroll", "--name", "a security key")
    (key,) = world.keypeg(computer, "key", "list")[1]
    assert key["public_key"]["algorithm"] == document_pb2.KeyAlgorithm.Name(
        document_pb2.KEY_ALGORITHM_FIDO2_P256
    )
    able = key["capabilities"]
    assert (able["silent_proof"], able["counter"]) == (True, True)
    assert "attested" in able["features"]
    world.keypeg(computer, "activation", "create", owned.name, "--key", key["name"])

    # With no account, no server and no connection: only the key, and this computer's bridge.
    alone = world.computer(new_name("alone"), bridge=keys.target)
    alone.env.update(KEYPEG_SERVER="127.0.0.1:9", KEYPEG_TOKEN="")
    app = world.app(new_name("app"), alone, product)
    assert "/locations/" in app.expect("running")["location"]
    pulled = time.monotonic()
    keys.unplug()
    assert app.expect("key_missing", timeout=5)["at"] - pulled < 1
    keys.plug()
    app.expect("key_returned", timeout=10)
    assert app.stop() == 0

    # The bridge finds the credential, the license and the key's name again.
    assert keys.bridge
    keys.bridge.stop()
    keys.start_bridge(drivers="fido2")
    (again,) = keys.wait_for_key(lambda: world.keypeg(computer, "key", "list")[1])
    assert again["name"] == key["name"]
    assert len(again["licenses"]) == 1
    later = world.app(new_name("app"), alone, product)
    later.expect("running")
    assert later.stop() == 0
