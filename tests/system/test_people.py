"""People and programs of an account, through the real programs: invitations, roles, removal, API keys."""

from __future__ import annotations

import threading
from collections.abc import Callable

import grpc
import pytest

from keypeg.calls import translate
from keypeg.errors import Reason
from keypeg.v1 import (
    account_pb2,
    account_service_pb2,
    api_key_service_pb2,
    cloud_session_service_pb2,
    people_service_pb2,
)
from lab.processes import BIN
from lab.world import CLOUD, PASSWORD, Api, World, request_id
from tests.system.people import Customer, recorded, refused

Namer = Callable[[str], str]


def user_of(api: Api) -> str:
    return api.accounts.GetCaller(account_service_pb2.GetCallerRequest()).user.name


def key_for(api: Api, *scopes: str, user: str = "") -> api_key_service_pb2.CreateApiKeyResponse:
    return api.api_keys.CreateApiKey(
        api_key_service_pb2.CreateApiKeyRequest(
            parent=user or user_of(api),
            request_id=request_id(),
            display_name="nightly",
            scopes=scopes,
        )
    )


def remove(customer: Customer, user: str) -> None:
    customer.admin.accounts.DeleteUser(
        account_service_pb2.DeleteUserRequest(name=user, request_id=request_id())
    )


@pytest.mark.long  # it starts the command line eight times
def test_who_is_invited_joins_once_and_works(
    world: World, customer: Customer, new_name: Namer
) -> None:
    admin = world.computer(new_name("admin"), token=customer.admin_token)
    code, made = world.keypeg(admin, "user", "invite", "bea@example.com", "--for", "2d")
    assert code == 0
    _, there = world.keypeg(admin, "user", "invitations")
    assert [one["address"] for one in there] == ["bea@example.com"]
    guest = world.computer(new_name("guest"))
    login = new_name("bea")
    joining = ("user", "accept", made["invitation"], "--login", login)
    both = f"{made['ticket']}\n{PASSWORD}\n"
    world.keypeg(guest, *joining, stdin=both)
    code, _ = world.keypeg(guest, *joining, stdin=both, check=False)
    assert code == 1  # used
    world.keypeg(guest, "login", "--login", login, stdin=PASSWORD)
    _, found = world.keypeg(guest, "whoami")
    assert (found["account"], found["role"]) == (customer.account, "member")
    _, there = world.keypeg(admin, "user", "invitations")
    assert there == []


def test_a_removed_member_s_apps_and_streams_end_at_once_and_say_why(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    computer = world.computer(new_name("pc"), token=customer.member_token)
    world.open_cloud(customer.member, customer.account, computer)
    app = world.app(new_name("app"), computer, product, "--cloud", "never")
    app.expect("running")
    ended: list[grpc.RpcError] = []
    watching = customer.member.cloud.WatchCloudSession(
        cloud_session_service_pb2.WatchCloudSessionRequest(name=f"{customer.account}/cloudSession")
    )
    next(iter(watching))

    def follow() -> None:
        try:
            for _ in watching:
                pass
        except grpc.RpcError as error:
            ended.append(error)

    follower = threading.Thread(target=follow)
    follower.start()
    user = user_of(customer.member)
    remove(customer, user)
    assert app.expect("stopped")["reason"] == "TOKEN_INVALID"
    follower.join(10)
    assert f"{user} was removed" in str(translate(ended[0]))
    with refused(Reason.TOKEN_INVALID):
        user_of(customer.member)
    with refused(Reason.CREDENTIALS_INVALID):
        world.sign_in(customer.member_login)


def test_a_new_role_holds_at_once_for_whoever_is_signed_in(
    world: World, customer: Customer
) -> None:
    asked = account_service_pb2.ListUsersRequest(parent=customer.account)
    with refused(Reason.PERMISSION_DENIED):
        customer.member.accounts.ListUsers(asked)

    def become(role: account_pb2.Role.ValueType) -> None:
        customer.admin.people.UpdateUserRole(
            people_service_pb2.UpdateUserRoleRequest(
                name=user_of(customer.member), request_id=request_id(), role=role
            )
        )

    become(account_pb2.ROLE_ADMIN)
    assert len(customer.member.accounts.ListUsers(asked).users) == 2
    become(account_pb2.ROLE_MEMBER)
    with refused(Reason.PERMISSION_DENIED):
        customer.member.accounts.ListUsers(asked)


@pytest.mark.long  # as above
def test_a_program_works_with_a_key_within_its_scopes_until_it_is_revoked(
    world: World, customer: Customer, new_name: Namer
) -> None:
    admin = world.computer(new_name("admin"), token=customer.admin_token)
    robot = new_name("robot")
    world.keypeg(admin, "user", "service", robot, "--role", "member")
    _, made = world.keypeg(
        admin, "apikey", "create", "nightly", "--user", robot, "--scope", "licenses:read"
    )
    program = world.computer(new_name("job"), token=made["key"])
    world.keypeg(program, "license", "list")
    done = world.lab.run([str(BIN / "keypeg"), "seat", "pools"], env=program.env, check=False)
    assert done.returncode == 5
    assert "takes the scope seats:read" in done.stderr
    code, _ = world.keypeg(
        program, "apikey", "create", "more", "--scope", "licenses:read", check=False
    )
    assert code == 5  # no key makes keys
    _, there = world.keypeg(admin, "apikey", "list", "--user", robot)
    assert there[0]["last_use_time"]
    assert made["key"] not in str(there)
    world.keypeg(admin, "apikey", "delete", "nightly", "--user", robot)
    code, _ = world.keypeg(program, "license", "list", check=False)
    assert code == 4
    for event in ("service_user_created", "api_key_created", "api_key_revoked"):
        assert recorded(customer, event)[0]["by"] == user_of(customer.admin)


def test_a_session_ends_with_the_key_that_opened_it(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    made = key_for(customer.member, "licenses:use", "licenses:read")
    computer = world.computer(new_name("pc"), token=made.key)
    world.open_cloud(customer.member, customer.account, computer)
    app = world.app(new_name("app"), computer, product, "--cloud", "never")
    app.expect("running")
    customer.member.api_keys.DeleteApiKey(
        api_key_service_pb2.DeleteApiKeyRequest(name=made.api_key.name, request_id=request_id())
    )
    assert app.expect("stopped")["reason"] == "TOKEN_INVALID"


def test_the_same_request_again_tells_the_same_key_and_the_disk_tells_none(
    world: World, customer: Customer
) -> None:
    request = api_key_service_pb2.CreateApiKeyRequest(
        parent=user_of(customer.member),
        request_id=request_id(),
        display_name="twice",
        scopes=["licenses:read"],
    )
    made = [customer.member.api_keys.CreateApiKey(request) for _ in range(2)]
    assert made[0] == made[1]
    invited = customer.admin.people.CreateInvitation(
        people_service_pb2.CreateInvitationRequest(
            parent=customer.account, request_id=request_id(), address="bea"
        )
    )
    for secret in (made[0].key, invited.ticket):
        for path in world.data.rglob("*"):
            if path.is_file():
                assert secret.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("role", [account_pb2.ROLE_SUPPORT, account_pb2.ROLE_OPERATOR])
def test_support_and_operators_neither_add_staff_nor_raise_themselves(
    world: World, role: account_pb2.Role.ValueType, new_name: Namer
) -> None:
    login = new_name("staff")
    made = world.publisher.accounts.CreateUser(
        account_service_pb2.CreateUserRequest(
            parent="accounts/-", request_id=request_id(), login=login, password=PASSWORD, role=role
        )
    )
    api = world.sign_in(login)
    with refused(Reason.PERMISSION_DENIED):
        api.people.UpdateUserRole(
            people_service_pb2.UpdateUserRoleRequest(
                name=made.user.name, request_id=request_id(), role=account_pb2.ROLE_PUBLISHER
            )
        )
    with refused(Reason.PERMISSION_DENIED):
        api.people.CreateInvitation(
            people_service_pb2.CreateInvitationRequest(
                parent="accounts/-", request_id=request_id(), address="x", role=role
            )
        )
