"""Second factors that people have lost, and those of the publisher's people: server and command line, both real."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from keypeg.errors import Reason
from keypeg.v1 import account_pb2
from keypeg.v1 import account_service_pb2 as pb
from keypeg.v1 import people_service_pb2 as people
from keypeg.v1 import sign_in_service_pb2 as signing
from keypeg.v1 import sign_in_service_pb2_grpc as rpc
from keypeg_server.domain import totp
from lab.processes import BIN
from lab.world import PASSWORD, Api, World, request_id
from tests.system.people import Customer, recorded, recorded_in, refused

pytestmark = pytest.mark.own_server  # all of the publisher's people are asked for a second factor
OUTSIDE = "accounts/-"
Namer = Callable[[str], str]


def set_up(api: Api) -> Sequence[str]:
    """Set one-time codes up for who calls; the recovery codes."""
    stub = rpc.SignInServiceStub(api.channel)
    uri = stub.BeginOneTimeCodes(signing.BeginOneTimeCodesRequest(password=PASSWORD)).uri
    found = re.search(r"secret=([A-Z2-7]+)", uri)
    assert found is not None
    secret = base64.b32decode(found[1] + "=" * (-len(found[1]) % 8))
    code = totp.code(secret, totp.step_of(datetime.now(UTC)))
    return stub.ConfirmOneTimeCodes(signing.ConfirmOneTimeCodesRequest(code=code)).recovery_codes


def user_of(api: Api) -> str:
    """The name of who calls."""
    return api.accounts.GetCaller(pb.GetCallerRequest()).user.name


def sign_in(world: World, login: str, code: str = "") -> tuple[Api, pb.SignInResponse]:
    """Sign in; the API, and the answer."""
    asked = pb.SignInRequest(login=login, password=PASSWORD, code=code)
    answer = world.publisher.accounts.SignIn(asked)
    return Api(world.address, world.ca_file.read_bytes(), answer.token), answer


def test_a_member_who_lost_everything_is_reset_and_told(
    world: World, customer: Customer, new_name: Namer
) -> None:
    codes = set_up(customer.member)
    mine, office = world.computer(new_name("pc")), world.computer(new_name("office"))
    login = ("login", "--login", customer.member_login)
    world.keypeg(mine, *login, stdin=f"{PASSWORD}\n{codes[0]}\n")
    world.keypeg(office, "login", "--login", customer.admin_login, stdin=PASSWORD)

    reset = ("user", "reset-factors", customer.member_login)
    _, shown = world.keypeg(office, *reset, "--yes")
    assert (shown["one_time_codes"], shown["passkey_count"], shown["ended_count"]) == (True, 0, 3)
    status, _ = world.keypeg(mine, "whoami", check=False)
    assert status == 4, "signed out"
    with refused(Reason.TOKEN_INVALID):
        user_of(customer.member)
    program = [str(BIN / "keypeg"), "login", "--login", customer.member_login]
    said = world.lab.run(program, env=mine.env, stdin=PASSWORD).stderr
    assert f"(one-time codes) were taken away by {customer.admin_login} at " in said
    (kept,) = recorded(customer, "second_factors_reset")
    assert kept["by"] == user_of(customer.admin)
    assert kept["user"] == shown["user"]
    status, _ = world.keypeg(office, *reset, "--yes", check=False)
    assert status == 1, "there is nothing left to take away"


def test_the_publisher_s_people_need_a_second_factor_and_get_lost_ones_reset(
    world: World, customer: Customer, new_name: Namer
) -> None:
    chief, helper = new_name("chief"), new_name("helper")
    for login, role in ((chief, account_pb2.ROLE_PUBLISHER), (helper, account_pb2.ROLE_OPERATOR)):
        made = pb.CreateUserRequest(
            parent=OUTSIDE, request_id=request_id(), login=login, password=PASSWORD, role=role
        )
        world.publisher.accounts.CreateUser(made)
    code = set_up(sign_in(world, chief)[0])[0]
    pia, _ = sign_in(world, chief, code)
    otto, before = sign_in(world, helper)
    assert not before.second_factor_owed
    computer = world.computer(new_name("chief"), token=pia.token)
    _, shown = world.keypeg(computer, "account", "second-factor", "-", "--required")
    assert (shown["name"], shown["second_factor_required"]) == (OUTSIDE, True)

    with refused(Reason.SECOND_FACTOR_REQUIRED) as caught:
        otto.accounts.ListAccounts(pb.ListAccountsRequest())
    assert "The publisher requires a second factor" in str(caught[0])
    user_of(customer.admin)  # it is nothing to accounts
    code = set_up(otto)[0]
    otto.accounts.ListAccounts(pb.ListAccountsRequest())
    with refused(Reason.PERMISSION_DENIED):
        otto.accounts.SetSecondFactorRequired(
            pb.SetSecondFactorRequiredRequest(name=OUTSIDE, request_id=request_id())
        )

    otto, _ = sign_in(world, helper, code)
    wanted = people.ResetSecondFactorsRequest(name=user_of(otto), request_id=request_id())
    with refused(Reason.PERMISSION_DENIED):
        otto.people.ResetSecondFactors(
            people.ResetSecondFactorsRequest(name=user_of(pia), request_id=request_id())
        )
    assert pia.people.ResetSecondFactors(wanted).one_time_codes
    with refused(Reason.TOKEN_INVALID):
        user_of(otto)
    _, after = sign_in(world, helper)
    assert after.second_factor_owed
    assert after.second_factor_reset.by_login == chief
    taken_back = pb.SetSecondFactorRequiredRequest(name=OUTSIDE, request_id=request_id())
    pia.accounts.SetSecondFactorRequired(taken_back)
    _, after = sign_in(world, helper)
    assert not after.second_factor_owed
    for event in ("second_factor_required", "second_factors_reset"):
        assert [one["by"] for one in recorded_in(pia, OUTSIDE, event)] == [user_of(pia)], event
