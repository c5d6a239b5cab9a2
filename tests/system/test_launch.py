"""The first launch of an app, by a person at a terminal; and old and new versions together, with a real server."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable, Iterator

import grpc
import pytest

from keypeg.calls import translate
from keypeg.errors import KeypegError, Reason, UpdateRequired
from keypeg.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    catalog_service_pb2,
    cloud_session_pb2,
    cloud_session_service_pb2,
    license_service_pb2,
    license_service_pb2_grpc,
    seat_service_pb2,
    seat_service_pb2_grpc,
    session_service_pb2_grpc,
)
from keypeg.v1.session_service_pb2 import HoldSessionRequest
from lab.world import APP, CLOUD, KEY, PASSWORD, Computer, World, request_id
from tests.system.people import Customer
from tests.system.terminal import Terminal, at_terminal

Namer = Callable[[str], str]


# How a program pretends to be of another version, before anything of it is loaded.
OLD = "import keypeg._version as v; v.__version__ = '0.0.9'; "
NEW = "from keypeg import protocol; protocol.SPOKEN = {1: '0.1.0', 2: '5.0'}; "


def pretending(what: str, program: str, *arguments: str) -> list[str]:
    """The command line of a program of another version."""
    start = "import runpy, sys; sys.argv = sys.argv[1:]; "
    run = f"runpy.run_path({program!r}, run_name='__main__')"
    if not program.endswith(".py"):
        run = f"runpy.run_module({program!r}, run_name='__main__')"
    return [sys.executable, "-c", f"{what}{start}{run}", program, *arguments]


def product_since(world: World, id: str, version: str) -> str:
    """A product whose publisher serves apps from this version on."""
    request = catalog_service_pb2.CreateProductRequest(
        parent="publishers/acme",
        request_id=request_id(),
        product_id=id,
        display_name="Studio",
        allowed_locations=[CLOUD],
        minimum_app_version=version,
    )
    return world.publisher.catalog.CreateProduct(request).product.name


def refusal(call: Callable[[], object]) -> KeypegError | None:
    try:
        call()
    except grpc.RpcError as error:
        return translate(error)
    return None


def is_open(customer: Customer) -> bool:
    request = cloud_session_service_pb2.GetCloudSessionRequest(
        name=f"{customer.account}/cloudSession"
    )
    found = customer.admin.cloud.GetCloudSession(request).cloud_session
    return found.state == cloud_session_pb2.CLOUD_SESSION_STATE_OPEN


def close_cloud(customer: Customer, computer: Computer) -> None:
    customer.member.cloud.CloseCloudSession(
        cloud_session_service_pb2.CloseCloudSessionRequest(
            name=f"{customer.account}/cloudSession",
            request_id=request_id(),
            device=computer.device,
        )
    )


@pytest.mark.behaviour("CLOUD-14")
def test_the_first_launch_signs_in_and_asks_for_a_cloud_session_which_no_leaves_closed(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD, KEY])
    owned = world.license(customer.account, product)
    computer = world.computer(new_name("first"))

    with at_terminal(world, computer, product) as person:
        person.answer("Choose 1 to", "")  # with a password
        person.answer("Login: ", customer.member_login)
        person.answer("Password: ", "not the password")
        person.answer("Remember me", "no")
        person.until("User name or password is wrong")
        person.answer("Choose 1 to", "")
        person.answer("Login [", "")  # it stands there already
        person.answer("Password: ", PASSWORD)
        person.answer("Remember me", "")
        person.until("A USB key: no")
        person.answer("Choose 1 to 3", "no")
        assert person.event("stopped")["reason"] == "CLOUD_SESSION_CLOSED"
        assert person.popen.wait(20) == 1
        assert PASSWORD not in person.shown
    assert not is_open(customer)
    found = customer.admin.licenses.GetLicense(
        license_service_pb2.GetLicenseRequest(name=owned.name)
    ).license
    assert found.activations_used_count == 0, "free for other places"

    # Remembered: no sign-in any more. Always: never asked again, until it is reset.
    with at_terminal(world, computer, product) as person:
        person.answer("Choose 1 to 3", "always")
        person.event("running")
        assert person.end() == 0
        assert "Login" not in person.shown
    kept = computer.folder / "launch.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert world.keypeg(computer, "status")[1]["always_use"][0]["family"] == product
    close_cloud(customer, computer)
    with at_terminal(world, computer, product) as person:
        person.event("running")
        assert person.end() == 0
        assert person.shown.strip("^D\b\n") == ""
    close_cloud(customer, computer)
    world.keypeg(computer, "launch", "reset")
    with at_terminal(world, computer, product) as person:
        person.answer("Choose 1 to 3", "yes")
        person.event("running")
        assert person.end() == 0
    assert is_open(customer)


@pytest.mark.behaviour("CLOUD-15")
def test_an_app_that_is_too_old_hears_which_version_to_update_to(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = product_since(world, new_name("daw"), "2.5")
    world.license(customer.account, product)
    computer = world.computer(new_name("pc"), token=customer.member_token)
    world.open_cloud(customer.member, customer.account, computer)

    argv = [sys.executable, str(APP), "--product", product, "--root", world.root.hex()]
    with Terminal([*argv, "--app-version", "2.4.9"], computer.env) as person:
        person.answer("Choose 1 to 3", "3")
        assert "An update is needed" in person.shown
        assert "update it to version 2.5 or newer" in person.shown.replace("\n", " ")
        stopped = person.event("stopped")
    assert stopped["reason"] == "CLIENT_TOO_OLD"
    assert stopped["metadata"]["minimum_version"] == "2.5"
    assert stopped["metadata"]["component"] == "app"
    app = world.app(new_name("app"), computer, product, "--app-version", "2.5")
    app.expect("running")
    app.stop()


@pytest.mark.behaviour("CLOUD-15")
def test_a_client_of_keypeg_that_is_too_old_hears_it_for_every_call_but_can_give_back(
    world: World, customer: Customer, new_name: Namer
) -> None:
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(world.ca_file.read_bytes()),
        grpc.access_token_call_credentials(customer.member_token),
    )
    options = [("grpc.primary_user_agent", "keypeg-python/0.0.9")]
    with grpc.secure_channel(world.address, credentials, options=options) as channel:
        licenses = license_service_pb2_grpc.LicenseServiceStub(channel)
        seats = seat_service_pb2_grpc.SeatServiceStub(channel)
        sessions = session_service_pb2_grpc.SessionServiceStub(channel)
        accounts = account_service_pb2_grpc.AccountServiceStub(channel)

        def frames() -> Iterator[HoldSessionRequest]:
            yield HoldSessionRequest()

        listed = license_service_pb2.ListLicensesRequest(parent=customer.account)
        for call in (
            lambda: licenses.ListLicenses(listed),
            lambda: accounts.SignIn(
                account_service_pb2.SignInRequest(login="ada", password="p" * 8)
            ),
            lambda: next(iter(sessions.HoldSession(frames()))),
        ):
            refused = refusal(call)
            assert isinstance(refused, UpdateRequired)
            assert refused.reason is Reason.UPDATE_REQUIRED
            assert (refused.component, refused.minimum_version) == ("client", "0.1.0")
        release = seat_service_pb2.ReleaseSeatRequest(name="pools/none/leases/none")
        given_back = refusal(lambda: seats.ReleaseSeat(release))
        assert given_back is None or given_back.reason is not Reason.UPDATE_REQUIRED
        assert refusal(lambda: accounts.SignOut(account_service_pb2.SignOutRequest())) is None


@pytest.mark.behaviour("CLOUD-15")
def test_an_old_command_line_is_told_and_a_newer_app_runs_by_this_server(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    computer: Computer = world.computer(new_name("pc"), token=customer.member_token)
    old = world.lab.run(
        pretending(OLD, "keypeg.cli", "license", "list"), env=computer.env, check=False
    )
    assert old.returncode == 5
    assert "update this program to one with keypeg 0.1.0 or newer" in old.stderr.replace("\n", " ")

    world.open_cloud(customer.member, customer.account, computer)
    argv = ["--product", product, "--root", world.root.hex()]
    app = world.lab.start(new_name("newer"), pretending(NEW, str(APP), *argv), env=computer.env)
    app.expect("running")
    assert app.stop() == 0
