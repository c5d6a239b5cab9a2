"""Licenses that leave keys, old contents that come back, and lost keys: server, bridges, emulated keys, command line and app."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keypeg.errors import Reason
from keypeg.v1 import activation_service_pb2
from keypeg_bridge.emulator import control
from lab.keys import KeyLab
from lab.processes import Lab
from lab.world import KEY, World
from tests.system.people import Customer, recorded, refused

Namer = Callable[[str], str]
Keys = Callable[[], KeyLab]
KEYPEG = os.fspath(Path(sys.executable).parent / "keypeg")


@pytest.fixture
def new_keys(lab: Lab, new_name: Namer) -> Iterator[Keys]:
    """Labs with a key and a bridge each."""
    made: list[KeyLab] = []

    def start() -> KeyLab:
        one = KeyLab(lab, new_name("lost"))
        made.append(one)
        one.start_key()
        one.start_bridge(drivers="piv")
        return one

    yield start
    for one in made:
        one.end()


class Desk:
    """A computer with a bridge and an enrolled key."""

    def __init__(self, world: World, customer: Customer, keys: KeyLab, name: str) -> None:
        self.world = world
        self.keys = keys
        self.computer = world.computer(name, token=customer.admin_token, bridge=keys.target)
        self.alone = world.computer(f"{name}-alone", bridge=keys.target)
        self.alone.env.update(KEYPEG_SERVER="127.0.0.1:9", KEYPEG_TOKEN="")
        self.name = str(keys.wait_for_key(self.listed)[0]["name"])
        self.location = str(self.run("key", "enroll", "--name", name)["name"])

    def run(self, *words: str) -> Any:
        return self.world.keypeg(self.computer, *words)[1]

    def failing(self, *words: str) -> str:
        """What a command says that is refused."""
        done = self.world.lab.run([KEYPEG, *words], env=self.computer.env, check=False)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def listed(self) -> list[dict[str, Any]]:
        return list(self.world.keypeg(self.computer, "key", "list")[1])

    def activate(self, license_name: str) -> str:
        made = self.run("activation", "create", license_name, "--key", self.name)
        return str(made["name"])

    def app(self, name: str, product: str) -> Any:
        """An app without account and server: only the key."""
        return self.world.app(name, self.alone, product)

    def carrying(self, count: int) -> dict[str, Any]:
        """The key, as soon as the bridge has read so many licenses on it."""

        def found() -> list[dict[str, Any]]:
            return [one for one in self.listed() if len(one.get("licenses", [])) == count]

        return self.keys.wait_for_key(found)[0]

    def fault(self, kind: str, **values: Any) -> None:
        """Something that happens to the key."""
        control.call(self.keys.control, "fault", fault=kind, **values)
        self.keys.wait_for_key(self.listed)


@pytest.mark.behaviour("KEY-6")
def test_a_license_leaves_its_key_with_a_receipt_and_only_then_is_it_free(
    world: World, customer: Customer, new_keys: Keys, new_name: Namer
) -> None:
    product = world.product(new_name("synth"), locations=[KEY])
    owned = world.license(customer.account, product)
    desk = Desk(world, customer, new_keys(), new_name("desk"))
    activation = desk.activate(owned.name)
    app = desk.app(new_name("app"), product)
    app.expect("running")
    app.stop()

    delete = activation_service_pb2.DeleteActivationRequest(
        name=activation, request_id="6f1c2b1e-9a51-4f3e-8d51-0a4d5b0c7e01"
    )
    with refused(Reason.RECEIPT_REQUIRED) as caught:
        customer.admin.activations.DeleteActivation(delete)
    assert caught[0].metadata["location"] == desk.location
    desk.keys.unplug()
    said = desk.failing("activation", "delete", activation)
    assert desk.location in said
    assert "report-lost" in said
    desk.keys.plug()
    desk.keys.wait_for_key(desk.listed)

    desk.run("activation", "delete", activation)
    (key,) = desk.listed()
    assert key.get("licenses", []) == []
    assert desk.run("activation", "list") == []
    (said_of,) = recorded(customer, "key_returned")
    assert said_of["activation"] == activation
    desk.app(new_name("app"), product).expect("stopped")
    assert desk.activate(owned.name) != activation


@pytest.mark.behaviour("KEY-7")
@pytest.mark.long
def test_old_contents_that_were_put_back_are_refused_and_reported(
    world: World, customer: Customer, new_keys: Keys, new_name: Namer
) -> None:
    product = world.product(new_name("synth"), locations=[KEY])
    owned = world.license(customer.account, product)
    desk = Desk(world, customer, new_keys(), new_name("desk"))
    activation = desk.activate(owned.name)
    desk.fault("snapshot", name="before")
    desk.run("activation", "delete", activation)
    desk.fault("rollback", to="before")

    key = desk.carrying(1)
    assert len(key["licenses"]) == 1, "it is there again"
    assert "old contents" in key["suspicions"][0]
    app = desk.app(new_name("app"), product)
    assert app.expect("stopped")["reason"] == "KEY_ROLLED_BACK"
    assert desk.run("key", "check")["standing"] == "KEY_STANDING_ROLLED_BACK"
    (said,) = recorded(customer, "key_rolled_back")
    assert said["location"] == desk.location
    assert said["version"] < said["seen"]

    desk.run("key", "refresh")
    (key,) = desk.listed()
    assert key.get("licenses", []) == key.get("suspicions", []) == []
    assert desk.run("key", "check")["standing"] == "KEY_STANDING_CURRENT"


@pytest.mark.behaviour("KEY-8")
def test_a_lost_key_s_licenses_go_to_its_replacement_and_it_is_fenced_where_it_turns_up(
    world: World, customer: Customer, new_keys: Keys, new_name: Namer
) -> None:
    product = world.product(new_name("synth"), locations=[KEY])
    owned = world.license(customer.account, product)
    lost = Desk(world, customer, new_keys(), new_name("lost"))
    new = Desk(world, customer, new_keys(), new_name("new"))
    activation = lost.activate(owned.name)
    (move,) = new.run("key", "report-lost", lost.location, "--reason", "in a train", "--yes")
    assert move["activation"] == activation
    (moved,) = new.run("key", "replace", lost.location, new.location)
    assert moved["activation"] == activation
    assert moved.get("refusal", "") == ""
    on_new = new.app(new_name("app"), product)
    assert on_new.expect("running")["location"] == new.location
    on_new.stop()

    # Where the lost key turns up without a connection it still works: nobody told its bridge.
    still = lost.app(new_name("app"), product)
    still.expect("running")
    # Somebody signed in looks at it: its bridge knows from then on, and the app that runs hears.
    assert lost.run("key", "check")["standing"] == "KEY_STANDING_LOST"
    assert still.expect("renewal_refused", timeout=20)["reason"] == "KEY_LOST"
    still.stop()
    assert lost.app(new_name("app"), product).expect("stopped")["reason"] == "KEY_LOST"
    assert len(recorded(customer, "lost_key_seen")) == 1
    assert "reported lost" in lost.failing("activation", "create", owned.name, "--key", lost.name)


@pytest.mark.long
@pytest.mark.behaviour("KEY-8")
def test_a_bridge_with_a_server_finds_out_by_itself_that_a_key_was_lost(
    world: World, customer: Customer, new_keys: Keys, new_name: Namer, tmp_path: Path
) -> None:
    product = world.product(new_name("synth"), locations=[KEY])
    owned = world.license(customer.account, product)
    desk = Desk(world, customer, new_keys(), new_name("desk"))
    desk.activate(owned.name)
    token = tmp_path / "token"
    token.write_text(customer.member_token)
    assert desk.keys.bridge
    desk.keys.bridge.stop()
    desk.keys.start_bridge(
        drivers="piv",
        settings={
            "server.address": world.address,
            "server.ca_file": str(world.ca_file),
            "server.token_file": str(token),
            "server.interval": "1s",
        },
    )
    app = desk.app(new_name("app"), product)
    app.expect("running")
    desk.run("key", "report-lost", desk.location, "--reason", "stolen", "--yes")
    assert app.expect("renewal_refused", timeout=20)["reason"] == "KEY_LOST"
    app.stop()
    # It goes on without the server, and over a restart.
    desk.keys.bridge.stop()
    desk.keys.start_bridge(drivers="piv")
    desk.keys.wait_for_key(desk.listed)
    assert desk.app(new_name("app"), product).expect("stopped")["reason"] == "KEY_LOST"
    assert customer.member_token not in desk.keys.bridge.tail()


@pytest.mark.long
@pytest.mark.behaviour("KEY-7")
def test_the_same_contents_on_a_key_with_another_private_key_open_nothing_and_are_reported(
    world: World, customer: Customer, new_keys: Keys, new_name: Namer
) -> None:
    product = world.product(new_name("synth"), locations=[KEY])
    owned = world.license(customer.account, product)
    desk = Desk(world, customer, new_keys(), new_name("desk"))
    desk.activate(owned.name)
    (before,) = desk.listed()
    control.call(desk.keys.control, "fault", fault="clone", mode="forged", swap=True)

    def copied() -> list[dict[str, Any]]:
        return [one for one in desk.listed() if one["public_key"] != before["public_key"]]

    (copy,) = desk.keys.wait_for_key(copied)
    assert copy["card_id"] == before["card_id"]
    assert copy["licenses"] == before["licenses"]
    desk.app(new_name("app"), product).expect("stopped")
    assert "another private key" in desk.failing("key", "check")
    (said,) = recorded(customer, "key_copied")
    assert said["location"] == desk.location
