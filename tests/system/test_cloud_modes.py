"""Cloud sessions in automatic and managed mode: a real server, real apps and the real command line."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

import keypeg
from keypeg.errors import Reason
from keypeg.log import records
from keypeg.possession import enrollment_challenge
from keypeg.v1 import (
    activation_service_pb2,
    cloud_session_pb2,
    cloud_session_service_pb2,
    document_pb2,
    license_pb2,
    license_service_pb2,
    location_service_pb2,
    location_service_pb2_grpc,
)
from lab.processes import BIN, Lab
from lab.world import CLOUD, KEY, Computer, World, request_id
from tests.system.people import Customer, refused

Namer = Callable[[str], str]
CLOSED, OPEN = (
    cloud_session_pb2.CLOUD_SESSION_STATE_CLOSED,
    cloud_session_pb2.CLOUD_SESSION_STATE_OPEN,
)
AUTOMATIC, MANAGED = cloud_session_pb2.CLOUD_MODE_AUTOMATIC, cloud_session_pb2.CLOUD_MODE_MANAGED


def shown(customer: Customer) -> cloud_session_pb2.CloudSession:
    return customer.admin.cloud.GetCloudSession(
        cloud_session_service_pb2.GetCloudSessionRequest(name=f"{customer.account}/cloudSession")
    ).cloud_session


def licenses(customer: Customer) -> dict[str, license_pb2.License]:
    request = license_service_pb2.ListLicensesRequest(parent=customer.account, page_size=1_000)
    return {one.name: one for one in customer.admin.licenses.ListLicenses(request).licenses}


def in_cloud(session: cloud_session_pb2.CloudSession) -> set[str]:
    """The licenses (names) of the activations in the cloud."""
    return {one.rsplit("/activations/", 1)[0] for one in session.activations}


def choose(
    customer: Customer, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()
) -> cloud_session_service_pb2.ChooseCloudLicensesResponse:
    return customer.member.cloud.ChooseCloudLicenses(
        cloud_session_service_pb2.ChooseCloudLicensesRequest(
            name=f"{customer.account}/cloudSession",
            request_id=request_id(),
            add_licenses=add,
            remove_licenses=remove,
        )
    )


def set_mode(
    customer: Customer, mode: cloud_session_pb2.CloudMode.ValueType
) -> cloud_session_pb2.CloudSession:
    return customer.member.cloud.SetCloudSessionMode(
        cloud_session_service_pb2.SetCloudSessionModeRequest(
            name=f"{customer.account}/cloudSession", request_id=request_id(), mode=mode
        )
    ).cloud_session


def close(
    customer: Customer, computer: Computer
) -> cloud_session_service_pb2.CloseCloudSessionResponse:
    return customer.member.cloud.CloseCloudSession(
        cloud_session_service_pb2.CloseCloudSessionRequest(
            name=f"{customer.account}/cloudSession",
            request_id=request_id(),
            device=computer.device,
        )
    )


def at_hand(customer: Customer, card_id: str) -> location_service_pb2.AuthorizeKeyWriteResponse:
    """The card is plugged in, and asks to be written."""
    return location_service_pb2_grpc.LocationServiceStub(customer.admin.channel).AuthorizeKeyWrite(
        location_service_pb2.AuthorizeKeyWriteRequest(
            parent=customer.account,
            card_id=card_id,
            management_algorithm="aes192",
            challenge=bytes(16),
            factory_key=True,
            emulated=True,
        )
    )


def key_of(customer: Customer, card_id: str) -> str:
    """A location of the account that is a smart key; the test is its card."""
    service = location_service_pb2_grpc.LocationServiceStub(customer.admin.channel)
    authorized = at_hand(customer, card_id)
    private = ec.generate_private_key(ec.SECP256R1())
    challenge = enrollment_challenge(card_id, customer.account, authorized.enrollment_nonce)
    made = service.CreateKeyLocation(
        location_service_pb2.CreateKeyLocationRequest(
            parent=customer.account,
            request_id=request_id(),
            card_id=card_id,
            public_key=document_pb2.PublicKey(
                algorithm=document_pb2.KEY_ALGORITHM_ECDSA_P256,
                key=private.public_key().public_bytes(
                    serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
                ),
            ),
            enrollment_nonce=authorized.enrollment_nonce,
            signature=private.sign(challenge, ec.ECDSA(utils.Prehashed(hashes.SHA256()))),
            emulated=True,
        )
    )
    return made.location.name


def recorded(world: World, customer: Customer, *wanted: str) -> list[dict[str, Any]]:
    """The account's records of these events, the oldest first."""
    admin = world.computer(customer.account.rpartition("/")[2], token=customer.admin_token)
    export = admin.folder / "export.log"
    world.keypeg(admin, "audit", "export", str(export))
    with export.open("rb") as lines:
        found = [json.loads(one.body) for one in records(lines)]
    return [one for one in found if one["event"] in wanted]


def app_says(
    world: World, name: str, computer: Computer, product: str, *args: str
) -> tuple[str, str]:
    """What an app hears first: `running` and where, or `stopped` and why."""
    app = world.app(name, computer, product, "--cloud", "never", *args)
    found = app.expect(lambda event: event.get("event") in ("running", "stopped"))
    app.stop()
    return found["event"], found.get("reason") or found["location"]


@pytest.mark.behaviour("CLOUD-8")
@pytest.mark.behaviour("LIC-3")
def test_no_license_is_free_beside_an_open_automatic_cloud_whoever_does_what_at_once(
    world: World, customer: Customer, new_name: Namer
) -> None:
    """Deposits, openings, closings and moves by eight at a time; copies are used once."""
    products = [world.product(new_name("plugin"), locations=[CLOUD, KEY]) for _ in range(4)]
    computers = [world.computer(new_name("pc")) for _ in range(3)]
    site = f"{customer.account}/locations/site"
    start = threading.Barrier(8)

    def deposit(index: int) -> None:
        start.wait(10)
        for product in products:
            world.license(customer.account, product, activations=1 + index % 2)

    def move(index: int) -> None:
        start.wait(10)
        for turn in range(6):
            computer = computers[(index + turn) % len(computers)]
            if turn == 3:
                close(customer, computer)
            else:
                world.open_cloud(customer.member, customer.account, computer)

    with ThreadPoolExecutor(8) as pool:
        work = [pool.submit(deposit if index < 4 else move, index) for index in range(8)]
        for done in work:
            done.result(60)
    after = shown(customer)
    assert (after.state, after.mode) == (OPEN, AUTOMATIC)
    owned = licenses(customer)
    assert len(owned) == 16
    there = in_cloud(after)
    used = [owned[name].product for name in there]
    assert sorted(used) == sorted(products), "of the copies of a license, exactly one"
    for name, one in owned.items():
        assert one.activations_used_count == (1 if name in there else 0)
    with refused(Reason.LICENSE_UNSUITABLE):  # a copy that is not needed there
        spare = next(name for name in owned if name not in there)
        choose(customer, add=(spare,))
    with refused(Reason.LOCATION_NOT_ALLOWED):
        world.activate(customer.admin, spare, site)
    assert not close(customer, computers[0]).cloud_session.activations
    assert all(one.activations_used_count == 0 for one in licenses(customer).values())


@pytest.mark.behaviour("CLOUD-9")
@pytest.mark.behaviour("CLOUD-11")
def test_in_managed_mode_only_what_was_chosen_is_there_reserved_and_back_after_reopening(
    world: World, customer: Customer, new_name: Namer
) -> None:
    daw, eq, fx = (
        world.product(new_name(name), locations=[CLOUD, KEY]) for name in ("daw", "eq", "fx")
    )
    own_daw, own_eq = (world.license(customer.account, product).name for product in (daw, eq))
    a, b = (world.computer(new_name(name), token=customer.member_token) for name in "ab")
    assert set_mode(customer, MANAGED).mode_letter == "M"
    world.open_cloud(customer.member, customer.account, a)
    assert not shown(customer).activations
    assert in_cloud(choose(customer, add=(own_daw,)).cloud_session) == {own_daw}

    late = world.license(customer.account, fx).name  # deposited later, and not chosen
    assert app_says(world, new_name("app"), a, daw)[0] == "running"
    assert app_says(world, new_name("app"), a, eq) == ("stopped", "LICENSE_MISSING")
    before = shown(customer)
    assert in_cloud(before) == {own_daw}

    closed = close(customer, a).cloud_session
    assert (closed.state, in_cloud(closed)) == (CLOSED, {own_daw})
    assert "reserved" in closed.implies
    assert app_says(world, new_name("app"), a, daw) == ("stopped", "CLOUD_SESSION_CLOSED")
    card = "00112233445566778899aabbccddee09"
    key = key_of(customer, card)
    at_hand(customer, card)
    with refused(Reason.ACTIVATIONS_EXHAUSTED) as caught:  # reserved: no other place gets it
        world.activate(customer.admin, own_daw, key)
    explanation = caught[0].explanation
    assert explanation is not None
    assert [one.action for one in explanation.remedies] == ["take_out_of_cloud", "free_cloud"]
    world.activate(customer.admin, own_eq, key)  # what was not chosen is free

    again = world.open_cloud(customer.member, customer.account, b).cloud_session
    assert list(again.activations) == list(before.activations)
    assert app_says(world, new_name("app"), b, daw)[0] == "running"
    assert licenses(customer)[late].activations_used_count == 0

    close(customer, b)
    choose(customer, remove=(own_daw,))  # removed while it is closed: free
    world.activate(customer.admin, own_daw, key)


@pytest.mark.behaviour("CLOUD-10")
def test_taking_a_license_out_of_the_cloud_makes_the_account_managed_until_it_is_set_back(
    world: World, lab: Lab, customer: Customer, new_name: Namer
) -> None:
    daw, eq = (world.product(new_name(name), locations=[CLOUD, KEY]) for name in ("daw", "eq"))
    own = [world.license(customer.account, product).name for product in (daw, eq)]
    computer = world.computer(new_name("pc"), token=customer.admin_token)
    app = world.app(new_name("app"), computer, daw, "--cloud", "open")
    app.expect("running")
    eq_app = world.app(new_name("app"), computer, eq, "--cloud", "never")
    eq_app.expect("running")

    _, opened = world.keypeg(computer, "session", "show")
    assert (opened["mode_letter"], len(opened["activations"])) == ("A", 2)
    assert opened["implies"].startswith("automatic")
    begun = time.monotonic()
    _, taken = world.keypeg(computer, "session", "remove", own[1])
    assert (taken["mode_letter"], len(taken["activations"])) == ("M", 1)
    changed = app.expect(lambda event: event.get("change") == "CLOUD_MODE")
    stopped = eq_app.expect("stopped", timeout=5)  # its license is not there any more
    assert app.arrival(changed) - begun < 5, "with a start of the command line"
    assert stopped["reason"] == "LICENSE_MISSING"
    table = lab.run([str(BIN / "keypeg"), "status"], env=computer.env).stdout
    assert "M, managed: " in table

    # By the other door, and with the SDK: an activation that is taken back.
    set_back = world.keypeg(computer, "session", "mode", "automatic")[1]
    assert (set_back["mode_letter"], len(set_back["activations"])) == ("A", 2)
    one = next(name for name in set_back["activations"] if name.startswith(own[1]))
    deleted = customer.admin.activations.DeleteActivation(
        activation_service_pb2.DeleteActivationRequest(name=one, request_id=request_id())
    )
    assert deleted.switched_to_managed
    with keypeg.CloudSession(
        server=world.address, ca_file=str(world.ca_file), token=customer.member_token
    ) as cloud:
        state = cloud.show()
        assert (state.mode, state.letter) == ("managed", "M")
        assert state.implies.startswith("managed")
        assert cloud.set_mode("automatic").letter == "A"
        assert len(cloud.show().activations) == 2
    modes = recorded(world, customer, "cloud_mode")
    assert [(one["mode"], one["why"]) for one in modes] == [
        ("managed", "taken_out"),
        ("automatic", "asked"),
    ] * 2
    assert app.running
    app.stop()


@pytest.mark.behaviour("CLOUD-12")
@pytest.mark.parametrize("mode", [AUTOMATIC, MANAGED], ids=["automatic", "managed"])
def test_closing_from_another_computer_moves_it_there_and_closes_both(
    world: World,
    customer: Customer,
    new_name: Namer,
    mode: cloud_session_pb2.CloudMode.ValueType,
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    a, b = (world.computer(new_name(name), token=customer.member_token) for name in "ab")
    app = world.app(new_name("app"), a, product, "--cloud", "open")
    app.expect("running")
    set_mode(customer, mode)
    before = shown(customer)

    begun = time.monotonic()
    answer = close(customer, b)
    stopped = app.expect("stopped", timeout=5)
    assert app.arrival(stopped) - begun < 1
    assert stopped["reason"] == "CLOUD_SESSION_CLOSED"
    assert b.name in stopped["sentence"], "who closed it"
    assert answer.moved_from_host_name == before.host_name != ""
    assert (answer.cloud_session.state, answer.cloud_session.device) == (CLOSED, "")
    assert answer.cloud_session.generation == before.generation + 2, "moved, and closed"
    assert len(answer.cloud_session.activations) == (0 if mode == AUTOMATIC else 1)
    moved, closed = recorded(world, customer, "cloud_moved", "cloud_closed")
    assert (moved["event"], moved["device"], moved["from_device"]) == (
        "cloud_moved",
        b.device.id,
        a.device.id,
    )
    assert (closed["event"], closed["device"]) == ("cloud_closed", b.device.id)

    again = close(customer, b)  # what is closed stays as it is
    assert again.moved_from_host_name == ""
    assert again.cloud_session == answer.cloud_session
    assert len(recorded(world, customer, "cloud_moved", "cloud_closed")) == 2


@pytest.mark.behaviour("CLOUD-13")
@pytest.mark.parametrize("held", ["reserved", "elsewhere"])
def test_open_automatic_close_frees_everything(
    world: World, customer: Customer, new_name: Namer, held: str
) -> None:
    products = [world.product(new_name("plugin"), locations=[CLOUD]) for _ in range(3)]
    own = [world.license(customer.account, product).name for product in products]
    a, b = (world.computer(new_name(name), token=customer.member_token) for name in "ab")
    world.open_cloud(customer.member, customer.account, a)
    choose(customer, remove=(own[0],))
    if held == "reserved":
        close(customer, a)
    assert [licenses(customer)[name].activations_used_count for name in own] == [0, 1, 1]

    for command in (["open"], ["mode", "automatic"], ["close"]):
        code, _ = world.keypeg(b, "session", *command)
        assert code == 0
    after = shown(customer)
    assert (after.state, after.mode_letter, list(after.activations)) == (CLOSED, "A", [])
    assert [licenses(customer)[name].activations_used_count for name in own] == [0, 0, 0]


@pytest.mark.behaviour("CLOUD-3")
def test_whoever_watches_sees_each_change_at_once(
    world: World, lab: Lab, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    a, b = (world.computer(new_name(name), token=customer.member_token) for name in "ab")
    argv = [str(BIN / "keypeg"), "-o", "jsonl", "session", "watch"]
    watching = lab.start(new_name("watch"), argv, env=a.env)
    watching.expect(lambda line: "cloud_session" in line)

    def seen(kind: str, since: float) -> dict[str, Any]:
        line = watching.expect(
            lambda line: any(
                one["kind"] == f"CLOUD_CHANGE_KIND_{kind}" for one in line.get("changes", ())
            )
        )
        assert watching.arrival(line) - since < 1
        return line

    sdk = keypeg.CloudSession(
        server=world.address,
        ca_file=str(world.ca_file),
        token=customer.member_token,
        device=b.device.id,
    )
    told = sdk.watch()
    assert not next(told).is_open

    steps: list[tuple[str, Callable[[], Any]]] = [
        ("OPENED", lambda: world.open_cloud(customer.member, customer.account, a)),
        ("ACTIVATED", lambda: world.license(customer.account, product)),
        ("MOVED", sdk.open),
        ("MODE", lambda: set_mode(customer, MANAGED)),
        ("FREED", lambda: sdk.choose(remove=licenses(customer))),
        ("CLOSED", lambda: close(customer, a)),
    ]
    for kind, act in steps:
        begun = time.monotonic()
        act()
        line = seen(kind, begun)
    assert line["cloud_session"]["state"] == "CLOUD_SESSION_STATE_CLOSED"
    assert line["cloud_session"]["mode_letter"] == "M"
    last = next(state for state in told if not state.is_open)  # after all that came before it
    assert (last.letter, last.activations, last.device) == ("M", (), "")
    world.open_cloud(customer.member, customer.account, a)
    with pytest.raises(keypeg.errors.CloudSessionElsewhere):
        sdk.open(move=False)
    told.close()
    sdk.leave()
    watching.stop()
