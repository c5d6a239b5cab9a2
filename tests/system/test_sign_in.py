"""Staying signed in with tokens that last for a second, and signing out everywhere: real programs."""

from __future__ import annotations

import base64
import json
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keypeg.errors import Reason
from keypeg.token_file import Tokens, read
from keypeg.v1 import sign_in_service_pb2, sign_in_service_pb2_grpc
from keypeg_server.domain import totp
from lab.processes import BIN, Lab
from lab.world import CLOUD, PASSWORD, Api, Computer, World
from tests.system.commands import begun
from tests.system.people import SETTINGS, Customer, refused

Namer = Callable[[str], str]


@pytest.fixture(scope="module")
def world(lab: Lab, made_data: Path) -> World:
    return World(lab, settings=SETTINGS.replace('access = "7d"', 'access = "1s"'), like=made_data)


@pytest.fixture
def customer(world: World) -> Customer:
    """With tokens that are made for each test, as they do not last."""
    world.publisher = _staff(world)
    return Customer(world)


def _staff(world: World) -> Api:
    login = json.loads((world.data / "secrets" / "publisher-login.json").read_text())
    return world.sign_in(login["login"], login["password"])


def signed_in(world: World, name: str, login: str) -> Computer:
    """A computer on which somebody has signed in with the command line."""
    computer = world.computer(name)
    world.keypeg(computer, "login", "--login", login, stdin=PASSWORD)
    return computer


def tokens_of(computer: Computer) -> Tokens:
    return read((computer.folder / "tokens" / "default").read_bytes())


def outlive(computer: Computer) -> None:
    """Wait until the kept token has ended."""
    ended = threading.Event()
    ended.wait(max(0.0, tokens_of(computer).until - time.time()))


def test_a_command_goes_on_after_the_end_of_its_token(
    world: World, customer: Customer, new_name: Namer
) -> None:
    computer = signed_in(world, new_name("pc"), customer.member_login)
    first = tokens_of(computer)
    assert first.refresh_token.startswith("kpr_")
    assert (computer.folder / "tokens" / "default").stat().st_mode & 0o077 == 0
    outlive(computer)
    # Several programs at once refresh once: a second refresh would be a copy that was used.
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: world.keypeg(computer, "whoami"), range(4)))
    assert {answer["login"] for _, answer in answers} == {customer.member_login}
    assert tokens_of(computer).refresh_token != first.refresh_token
    _, found = world.keypeg(computer, "sign-ins", "list")
    mine = [one for one in found if one["current"]]
    assert len(mine) == 1
    assert mine[0]["client_name"].startswith("keypeg on ")


@pytest.mark.long
def test_a_copy_of_the_tokens_ends_the_sign_in_of_both(
    world: World, customer: Customer, new_name: Namer
) -> None:
    mine = signed_in(world, new_name("pc"), customer.member_login)
    thief = world.computer(new_name("thief"))
    shutil.copytree(mine.folder, thief.folder, dirs_exist_ok=True)
    outlive(mine)
    world.keypeg(thief, "whoami")
    status, _ = world.keypeg(mine, "whoami", check=False)
    assert status == 4
    outlive(thief)
    status, _ = world.keypeg(thief, "whoami", check=False)
    assert status == 4
    exported = mine.folder / "usage.log"
    publisher = signed_in(world, new_name("office"), customer.admin_login)
    world.lab.run([str(BIN / "keypeg"), "audit", "export", str(exported)], env=publisher.env)
    assert "refresh_token_copied" in exported.read_text()


def test_an_app_runs_on_after_its_token_until_its_user_signs_out_everywhere(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    computer = signed_in(world, new_name("pc"), customer.member_login)
    app = world.app(new_name("app"), computer, product, "--cloud", "open")
    app.expect("running")
    outlive(computer)
    other = signed_in(world, new_name("phone"), customer.member_login)
    world.keypeg(other, "logout", "--everywhere")
    stopped = app.expect("stopped")
    assert stopped["reason"] == Reason.TOKEN_INVALID.name
    status, _ = world.keypeg(computer, "whoami", check=False)
    assert status == 4


def test_an_administrator_ends_what_a_user_is_signed_in_with(
    world: World, customer: Customer, new_name: Namer
) -> None:
    mine = signed_in(world, new_name("pc"), customer.member_login)
    admin = signed_in(world, new_name("admin"), customer.admin_login)
    _, answer = world.keypeg(admin, "sign-ins", "end", "--user", customer.member_login)
    assert answer["ended_count"] >= 1
    status, _ = world.keypeg(mine, "whoami", check=False)
    assert status == 4


def test_a_refresh_token_is_no_access_token(world: World, customer: Customer) -> None:
    ca = world.ca_file.read_bytes()
    api = Api(world.address, ca, world.token(customer.member_login))
    stub = sign_in_service_pb2_grpc.SignInServiceStub(api.channel)
    with refused(Reason.TOKEN_INVALID):
        stub.RefreshSignIn(
            sign_in_service_pb2.RefreshSignInRequest(
                refresh_token=api.token, request_id="0199aaaa-0000-7000-8000-000000000001"
            )
        )


def test_a_code_that_is_approved_elsewhere_signs_in(
    world: World, customer: Customer, new_name: Namer
) -> None:
    mine = signed_in(world, new_name("pc"), customer.member_login)
    headless = world.computer(new_name("render"))
    with begun(headless, "login", "--device") as waiting:
        code = waiting.says(r"(\S+)$")[1]
        status, _ = world.keypeg(mine, "sign-ins", "approve", "BBBB-BBBB", "--yes", check=False)
        assert status == 1, "nobody shows that code"
        world.keypeg(mine, "sign-ins", "approve", code, "--yes")
        status, signed, said = waiting.ends()
    assert status == 0, said
    assert signed["login"] == customer.member_login
    _, answer = world.keypeg(headless, "whoami")
    assert answer["login"] == customer.member_login
    _, found = world.keypeg(mine, "sign-ins", "list")
    assert "SIGN_IN_METHOD_DEVICE_CODE" in {one["method"] for one in found}


@pytest.mark.long
def test_a_user_with_an_authenticator_signs_in_with_its_codes(
    world: World, customer: Customer, new_name: Namer
) -> None:
    mine = signed_in(world, new_name("pc"), customer.member_login)
    with begun(mine, "one-time-codes", "set-up", stdin=f"{PASSWORD}\n") as setting_up:
        secret = base64.b32decode(setting_up.says(r"secret=([A-Z2-7]+)")[1])
        code = totp.code(secret, totp.step_of(datetime.now(UTC)))
        status, done, said = setting_up.ends(f"{code}\n")
    assert status == 0, said
    recovery = done["recovery_codes"]
    other = world.computer(new_name("pc"))
    asked = ("login", "--login", customer.member_login)
    status, _ = world.keypeg(other, *asked, stdin=f"{PASSWORD}\n", check=False)
    assert status == 4
    _, answer = world.keypeg(other, *asked, stdin=f"{PASSWORD}\n{recovery[0]}\n")
    assert answer["login"] == customer.member_login
