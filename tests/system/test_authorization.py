"""Who may call what: every method by every kind of caller, each cell called for real."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from keypeg.calls import translate
from keypeg.v1 import account_pb2, account_service_pb2, people_service_pb2
from keypeg_server.rpc.access_rules import Access
from keypeg_server.rpc.authorization import TABLE
from keypeg_server.rpc.authorization_cells import MACHINES, STRANGERS, Outcome, Who, outcome
from keypeg_server.rpc.health import CONTRACT
from lab.processes import Lab
from lab.world import PASSWORD, Api, World, request_id
from tests.system.authorization_calls import CALLS, MADE_ANEW, scene
from tests.system.people import BRIDGES, SETTINGS, Customer, new_id

STREAMS = {
    f"/{service.full_name}/{method.name}": (method.client_streaming, method.server_streaming)
    for module in (*CONTRACT, health_pb2, reflection_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
STAFF = "accounts/-"
OF_ONESELF = (
    "/SignOut",
    "/SignOutEverywhere",
    "OneTimeCodes",
    "PasskeyRegistration",
    "/DeletePasskey",
)
TIME = {False: 10.0, True: 0.5}  # seconds; a stream that goes on has been let in


@dataclass(frozen=True)
class Ended:
    """How a call ended; without what tells one name from another."""

    code: grpc.StatusCode
    reason: str = ""
    sentence: str = ""


class Everyone:
    """A caller of each kind, with one connection for all that they call."""

    def __init__(self, world: World) -> None:
        self._world = world
        own, other = Customer(world), Customer(world)
        tokens = {
            Who.NOBODY: "",
            Who.HOLDER: own.member_token,
            Who.MEMBER: another(world, own.account, account_pb2.ROLE_MEMBER),
            Who.ADMIN: own.admin_token,
            Who.OWNER: another(world, own.account, account_pb2.ROLE_OWNER),
            Who.STRANGER: other.member_token,
            Who.STRANGE_ADMIN: other.admin_token,
            Who.STRANGE_OWNER: another(world, other.account, account_pb2.ROLE_OWNER),
            Who.RESELLER: another(world, STAFF, account_pb2.ROLE_RESELLER),
            Who.STRANGE_RESELLER: another(world, STAFF, account_pb2.ROLE_RESELLER),
            Who.SUPPORT: another(world, STAFF, account_pb2.ROLE_SUPPORT),
            Who.OPERATOR: another(world, STAFF, account_pb2.ROLE_OPERATOR),
            Who.STAFF: world.publisher.token,
        }
        ca = world.ca_file.read_bytes()
        self.apis = {who: Api(world.address, ca, token) for who, token in tokens.items()}
        name = user_of(self.apis[Who.RESELLER])
        world.publisher.people.SetResellerAccounts(
            people_service_pb2.SetResellerAccountsRequest(
                name=name, request_id=request_id(), accounts=[own.account]
            )
        )
        for who, role in MACHINES.items():
            account = (other if who in STRANGERS else own).account
            self.apis[who] = world.bridge(world.publisher, account, "cells", role.value)  # type: ignore[arg-type]  # equal by test
        self.scene = scene(world, own, own.member, name)

    def api(self, who: Who, method: str) -> Api:
        """Who calls this method; what changes how they sign in is called by somebody whom nobody needs."""
        api = self.apis[who]
        if not method.endswith(OF_ONESELF) or not api.token:
            return api
        world = self._world
        token = another(world, self.scene.account, account_pb2.ROLE_MEMBER)
        return Api(world.address, world.ca_file.read_bytes(), token)


@pytest.fixture(scope="module")
def world(lab: Lab, made_data: Path) -> World:
    return World(lab, settings=SETTINGS + BRIDGES, like=made_data)


@pytest.fixture(scope="module")
def everyone(world: World) -> Iterator[Everyone]:
    """All callers."""
    found = Everyone(world)
    yield found
    for api in found.apis.values():
        api.close()


def user_of(api: Api) -> str:
    """The name of who calls."""
    return api.accounts.GetCaller(account_service_pb2.GetCallerRequest()).user.name


def another(world: World, parent: str, role: account_pb2.Role.ValueType) -> str:
    """The token of one more user with this role."""
    login = new_id("more")
    world.publisher.accounts.CreateUser(
        account_service_pb2.CreateUserRequest(
            parent=parent, request_id=request_id(), login=login, password=PASSWORD, role=role
        )
    )
    return world.token(login)


def call(api: Api, method: str, request: Message) -> Ended:
    """Call it with the bytes of the request; a stream is looked at for a moment."""
    streams = STREAMS[method]
    try:
        channel: Any = api.channel  # its kinds of calls share no type
        kinds: dict[tuple[bool, bool], Any] = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, True): channel.stream_stream,
        }
        multi = kinds[streams](method, request_serializer=None, response_deserializer=None)
        data = request.SerializeToString()
        given = iter([data]) if streams[0] else data
        answer = multi(given, timeout=TIME[streams[1]])
        if streams[1]:
            for _ in answer:
                break
            answer.cancel()
        return Ended(grpc.StatusCode.OK)
    except grpc.RpcError as error:
        known = translate(error)
        sentence = re.sub(r"[a-zA-Z]+/[\w/-]+", "NAME", known.sentence)
        return Ended(error.code(), known.reason.name, sentence)


@pytest.mark.parametrize("method", sorted(TABLE))
def test_every_cell(everyone: Everyone, method: str) -> None:
    there = everyone.scene
    short = method.rpartition("/")[2]
    rule = TABLE[method]
    for who in Who:
        about = MADE_ANEW[short](there) if short in MADE_ANEW else there
        api = everyone.api(who, method)
        found = call(api, method, CALLS[method](about))
        expected = outcome(rule, who)
        cell = f"{short}, {who.value}: {expected.value}, but {found}"
        if expected is Outcome.SIGN_IN:
            assert found.code is grpc.StatusCode.UNAUTHENTICATED, cell
        elif expected is Outcome.DENIED:
            denied = grpc.StatusCode.PERMISSION_DENIED
            if who in MACHINES and "reflection" in method:  # which their port does not have
                denied = grpc.StatusCode.UNIMPLEMENTED
            assert found.code is denied, cell
        elif expected is Outcome.HIDDEN:
            assert found.code is grpc.StatusCode.NOT_FOUND, cell
            nowhere = call(api, method, CALLS[method](about.elsewhere()))
            assert nowhere == found, f"{short} tells {who.value} that it is there"
        else:
            refused = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
            if rule.access not in (Access.PUBLIC, Access.CALLER):  # these name nothing of anybody's
                refused.add(grpc.StatusCode.NOT_FOUND)
            assert found.code not in refused, cell
