"""Cloud sessions: a real server, real apps on computers of their own."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from keypeg.calls import translate
from keypeg.errors import Reason
from keypeg.v1 import (
    cloud_session_pb2,
    cloud_session_service_pb2,
    license_service_pb2,
)
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse
from lab.processes import BIN, Lab
from lab.world import CLOUD, PASSWORD, World, request_id
from tests.system import tap
from tests.system.people import Customer, refused

pytestmark = pytest.mark.own_server

Namer = Callable[[str], str]


def cloud_session(customer: Customer) -> cloud_session_pb2.CloudSession:
    return customer.admin.cloud.GetCloudSession(
        cloud_session_service_pb2.GetCloudSessionRequest(name=f"{customer.account}/cloudSession")
    ).cloud_session


def close_cloud(world: World, customer: Customer) -> cloud_session_pb2.CloudSession:
    return customer.admin.cloud.CloseCloudSession(
        cloud_session_service_pb2.CloseCloudSessionRequest(
            name=f"{customer.account}/cloudSession",
            request_id=request_id(),
            device=world.computer("closer").device,
        )
    ).cloud_session


def used(customer: Customer, license_name: str) -> int:
    return customer.admin.licenses.GetLicense(
        license_service_pb2.GetLicenseRequest(name=license_name)
    ).license.activations_used_count


@pytest.mark.behaviour("CLOUD-1")
def test_a_cloud_license_runs_on_any_computer_that_holds_the_session_and_on_no_other(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    first = world.computer(new_name("pc"), token=customer.member_token)
    second = world.computer(new_name("pc"), token=customer.member_token)

    closed = world.app(new_name("app"), first, product, "--cloud", "never")
    assert closed.expect("stopped")["reason"] == "CLOUD_SESSION_CLOSED"

    for computer, other in ((first, second), (second, first)):
        world.open_cloud(customer.member, customer.account, computer)
        app = world.app(new_name("app"), computer, product, "--cloud", "never")
        app.expect("running")
        elsewhere = world.app(new_name("app"), other, product, "--cloud", "never")
        assert elsewhere.expect("stopped")["reason"] == "CLOUD_SESSION_ELSEWHERE"
        app.stop()


@pytest.mark.behaviour("CLOUD-2")
def test_of_two_devices_that_open_at_the_same_instant_one_wins_and_the_other_is_told_who(
    world: World, customer: Customer, new_name: Namer
) -> None:
    for _ in range(5):
        computers = [world.computer(new_name("rival"), token="") for _ in range(8)]
        start = threading.Barrier(len(computers))

        def open_at_once(index: int) -> str:
            start.wait(10)  # noqa: B023 - used within this turn only
            try:
                world.open_cloud(
                    customer.member,
                    customer.account,
                    computers[index],  # noqa: B023
                    keep_elsewhere=True,
                )
            except grpc.RpcError as error:
                refusal = translate(error)
                assert refusal.reason is Reason.CLOUD_SESSION_ELSEWHERE
                return refusal.metadata["device"]
            return "won"

        with ThreadPoolExecutor(len(computers)) as pool:
            outcomes = list(pool.map(open_at_once, range(len(computers))))
        assert outcomes.count("won") == 1
        winner = computers[outcomes.index("won")]
        assert {name for name in outcomes if name != "won"} <= {winner.device.id, winner.name}
        assert cloud_session(customer).device == winner.device.id
        close_cloud(world, customer)


@pytest.mark.behaviour("CLOUD-3")
def test_opening_on_another_computer_moves_the_session_within_a_second(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    a = world.computer(new_name("a"), token=customer.member_token)
    b = world.computer(new_name("b"), token=customer.member_token)
    apps_on_a = [world.app(new_name("app"), a, product, "--cloud", "open") for _ in range(3)]
    for app in apps_on_a:
        app.expect("running")

    begun = time.monotonic()
    moved = world.open_cloud(customer.member, customer.account, b)
    assert moved.moved_from_host_name
    for app in apps_on_a:
        stopped = app.expect("stopped", timeout=5)
        assert stopped["reason"] == "CLOUD_SESSION_MOVED"
        assert app.arrival(stopped) - begun < 1
    on_b = world.app(new_name("app"), b, product, "--cloud", "never")
    on_b.expect("running")
    on_b.stop()


@pytest.mark.behaviour("CLOUD-3")
def test_who_signs_in_with_the_command_line_may_keep_the_session_elsewhere_or_move_it(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    a = world.computer(new_name("a"), token=customer.member_token)
    world.open_cloud(customer.member, customer.account, a)
    b = world.computer(new_name("b"))
    world.keypeg(b, "login", "--login", customer.member_login, stdin=PASSWORD)
    code, _ = world.keypeg(b, "session", "open", "--keep", check=False)
    assert code == 5
    assert cloud_session(customer).device == a.device.id
    world.keypeg(b, "session", "open")
    assert cloud_session(customer).device == b.device.id


@pytest.mark.behaviour("CLOUD-4")
def test_the_session_survives_app_exit_and_a_killed_server_without_a_new_sign_in(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    computer = world.computer(new_name("pc"), token=customer.member_token)
    app = world.app(new_name("app"), computer, product, "--cloud", "open")
    app.expect("running")
    app.stop()
    before = cloud_session(customer)
    assert before.state == cloud_session_pb2.CLOUD_SESSION_STATE_OPEN

    assert world.server
    world.server.kill()
    world.serve()
    assert cloud_session(customer) == before
    again = world.app(new_name("app"), computer, product, "--cloud", "never")
    again.expect("running")
    again.stop()

    assert close_cloud(world, customer).state == cloud_session_pb2.CLOUD_SESSION_STATE_CLOSED


@pytest.mark.behaviour("CLOUD-5")
def test_without_a_connection_an_app_goes_on_for_the_grace_and_not_longer(
    world: World, customer: Customer, new_name: Namer
) -> None:
    grace = 10.0
    product = world.product(new_name("daw"), locations=[CLOUD], offline_grace=grace)
    world.license(customer.account, product)
    computer = world.computer(new_name("pc"), token=customer.member_token)
    app = world.app(new_name("app"), computer, product, "--cloud", "open")
    app.expect("running")

    assert world.server
    cut = time.monotonic()
    world.server.kill()
    lost = app.expect("connection_lost", timeout=5)
    stopped = app.expect("stopped", timeout=grace + 5)
    lasted = app.arrival(stopped) - cut
    assert stopped["reason"] == "GRANT_EXPIRED"
    assert "a valid license must be present" in stopped["sentence"].lower()
    # Counted from the last renewal, which was at most a third of the grace before the cut.
    assert grace * 0.6 <= lasted <= grace + 1, lasted
    assert app.arrival(lost) - cut < 2
    world.serve()


@pytest.mark.behaviour("CLOUD-5")
def test_a_connection_that_returns_in_time_goes_unnoticed(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD], offline_grace=30)
    world.license(customer.account, product)
    computer = world.computer(new_name("pc"), token=customer.member_token)
    app = world.app(new_name("app"), computer, product, "--cloud", "open")
    app.expect("running")
    assert world.server
    world.server.kill()
    app.expect("connection_lost", timeout=10)
    world.serve()
    assert app.expect("reconnected", timeout=20)
    assert app.running
    assert "stopped" not in app.said()
    assert app.stop() == 0


DORMANT = 1.5
"""Seconds for which nothing may pass."""

LICENSE_CHECK = {
    "Open": "sequence protocol_version device app product nonce key_share location_kinds mark",
    "DeviceMark": "id secret",
    "Device": "id host_name",
    "App": "name version sdk process_id",
    "Renew": "sequence nonce mac",
    "Close": "sequence",
}
"""All that an app without seats may tell: who and what it is, and what keeps others from answering for the server."""


@pytest.mark.behaviour("CLOUD-6")
def test_only_license_checks_cross_the_wire_and_a_dormant_computer_costs_nothing_but_keep_alive(
    world: World, lab: Lab, customer: Customer, new_name: Namer
) -> None:
    often = world.product(
        new_name("daw"), locations=[CLOUD], offline_grace=10
    )  # renewed each 3.3 s
    seldom = world.product(new_name("eq"), locations=[CLOUD], offline_grace=3_600)
    for product in (often, seldom):
        world.license(customer.account, product)
    wire = tap.Tap(world.address, world.data / "tls", world.ca_file)
    computer = world.computer(new_name("pc"), token=customer.member_token)
    computer.env["KEYPEG_SERVER"] = wire.address

    # A computer that has the cloud session and runs no app is not there at all.
    world.keypeg(computer, "session", "open")
    opening, connections = len(wire.frames()), wire.connections
    assert opening, "it went over the tap"
    time.sleep(DORMANT)
    assert len(wire.frames()) == opening
    assert wire.connections == connections

    # An app: one call, opened once, and then a short renewal now and then.
    app = world.app(new_name("app"), computer, often, "--cloud", "never")
    app.expect("running")
    deadline = time.monotonic() + 10
    while len(tap.messages(wire.frames(opening), to_server=False)) < 2:  # opened, renewed
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert app.stop() == 0
    frames = wire.frames(opening)
    up = [HoldSessionRequest.FromString(one) for one in tap.messages(frames, to_server=True)]
    down = [HoldSessionResponse.FromString(one) for one in tap.messages(frames, to_server=False)]
    kinds = [frame.WhichOneof("frame") for frame in up]
    assert kinds[0] == "open"
    assert "renew" in kinds
    assert set(kinds) <= {"open", "renew", "close"}
    for frame in up:
        only_known(getattr(frame, frame.WhichOneof("frame") or ""))
    assert {frame.WhichOneof("frame") for frame in down} <= {"opened", "renewed", "closed"}
    assert sum(frame.kind == tap.HEADERS and frame.to_server for frame in frames) == 1, "one call"
    opened, renewals = max(map(len_of, up)), [len_of(one) for one in up if one.HasField("renew")]
    print(
        f"open {opened} B up, {len_of(down[0])} B down; renewal {max(renewals)} B up, "
        f"{max(len_of(one) for one in down if one.HasField('renewed'))} B down; "
        f"all frames {sum(frame.size for frame in frames)} B"
    )
    assert opened < 512
    assert max(renewals) < 128

    # Apps that need no renewal now, and whoever watches: nothing but keep-alive.
    idle = world.app(new_name("app"), computer, seldom, "--cloud", "never")
    idle.expect("running")
    argv = [str(BIN / "keypeg"), "-o", "jsonl", "session", "watch"]
    watching = lab.start(new_name("watch"), argv, env=computer.env)
    watching.expect(lambda line: "cloud_session" in line)
    time.sleep(0.5)  # acknowledgements of what was said
    dormant = len(wire.frames())
    time.sleep(DORMANT)
    assert {frame.called for frame in wire.frames(dormant)} <= {"PING"}
    for program in (idle, watching):
        program.stop()
    wire.close()


def only_known(message: Message) -> None:
    """Every field that is set is one that belongs to a license check; there are no others."""
    kind = message.DESCRIPTOR.name
    for field, value in message.ListFields():
        assert field.name in LICENSE_CHECK[kind].split(), f"{kind} tells {field.name}"
        if isinstance(value, Message):
            only_known(value)
    assert not len(UnknownFieldSet(message))


def len_of(message: Message) -> int:
    return len(message.SerializeToString())


@pytest.mark.behaviour("CLOUD-7")
def test_automatic_mode_activates_on_opening_and_at_once_what_is_deposited_later(
    world: World, customer: Customer, new_name: Namer
) -> None:
    products = [world.product(new_name("plugin"), locations=[CLOUD]) for _ in range(3)]
    early = [world.license(customer.account, product) for product in products[:2]]
    assert cloud_session(customer).mode == cloud_session_pb2.CLOUD_MODE_AUTOMATIC
    computer = world.computer(new_name("pc"), token=customer.member_token)
    opened = world.open_cloud(customer.member, customer.account, computer)
    assert len(opened.cloud_session.activations) == 2
    assert [used(customer, owned.name) for owned in early] == [1, 1]

    running = world.app(new_name("app"), computer, products[0], "--cloud", "never")
    running.expect("running")
    late = world.license(customer.account, products[2])
    assert used(customer, late.name) == 1
    app = world.app(new_name("app"), computer, products[2], "--cloud", "never")
    app.expect("running")
    for program in (running, app):
        program.stop()


@pytest.mark.behaviour("CLOUD-11")
def test_closing_in_automatic_mode_frees_every_cloud_activation_and_stops_its_apps(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    owned = [world.license(customer.account, product) for _ in range(2)]
    computer = world.computer(new_name("pc"), token=customer.member_token)
    app = world.app(new_name("app"), computer, product, "--cloud", "open")
    app.expect("running")
    assert sum(used(customer, each.name) for each in owned) >= 1

    closed = close_cloud(world, customer)
    assert not closed.activations
    assert [used(customer, each.name) for each in owned] == [0, 0]
    assert app.expect("stopped", timeout=5)["reason"] == "CLOUD_SESSION_CLOSED"


def test_a_stopped_server_tells_its_apps_to_reconnect(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    computer = world.computer(new_name("pc"), token=customer.member_token)
    app = world.app(new_name("app"), computer, product, "--cloud", "open")
    app.expect("running")
    assert world.server
    world.server.signal(signal.SIGTERM)
    assert world.server.wait(20) == 0
    app.expect("connection_lost")
    world.serve()
    app.expect("reconnected")
    app.stop()


@pytest.mark.long
def test_a_repeated_request_gives_its_first_answer_and_another_body_is_refused(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    request = license_service_pb2.CreateLicenseRequest(
        parent=customer.account, request_id=request_id(), product=product
    )
    first = world.publisher.licenses.CreateLicense(request)
    assert world.publisher.licenses.CreateLicense(request) == first
    request.activation_count = 2
    with refused(Reason.REQUEST_ID_REUSED):
        world.publisher.licenses.CreateLicense(request)
