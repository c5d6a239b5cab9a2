"""Who may call what: every method by every kind of caller, each cell called for real."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from keypeg.calls import translate
from keypeg.v1 import account_pb2, account_service_pb2
from keypeg_server.rpc.authorization import TABLE, Access
from keypeg_server.rpc.authorization_cells import Outcome, Who, outcome
from keypeg_server.rpc.health import CONTRACT
from lab.world import PASSWORD, Api, World, request_id
from tests.system.authorization_calls import CALLS, MADE_ANEW, Scene, scene
from tests.system.people import Customer, new_id

STREAMS = {
    f"/{service.full_name}/{method.name}": (method.client_streaming, method.server_streaming)
    for module in (*CONTRACT, health_pb2, reflection_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
TIME = {False: 10.0, True: 0.5}  # seconds; a stream that goes on has been let in


@dataclass(frozen=True)
class Ended:
    """How a call ended; without what tells one name from another."""

    code: grpc.StatusCode
    reason: str = ""
    sentence: str = ""


@pytest.fixture(scope="module")
def callers(world: World) -> tuple[dict[Who, str], Scene]:
    """A token for each kind of caller; empty for nobody."""
    own, other = Customer(world), Customer(world)
    tokens = {
        Who.NOBODY: "",
        Who.HOLDER: own.member_token,
        Who.MEMBER: world.token(another_member(world, own)),
        Who.ADMIN: own.admin_token,
        Who.STRANGER: other.member_token,
        Who.STRANGE_ADMIN: other.admin_token,
        Who.STAFF: world.publisher.token,
    }
    return tokens, scene(world, own, own.member)


def another_member(world: World, customer: Customer) -> str:
    """The login of a second member of an account."""
    login = new_id("second")
    world.publisher.accounts.CreateUser(
        account_service_pb2.CreateUserRequest(
            parent=customer.account,
            request_id=request_id(),
            login=login,
            password=PASSWORD,
            display_name="Second",
            role=account_pb2.ROLE_MEMBER,
        )
    )
    return login


def call(world: World, token: str, method: str, request: Message) -> Ended:
    """Call it with the bytes of the request; a stream is looked at for a moment."""
    streams = STREAMS[method]
    api = Api(world.address, world.ca_file.read_bytes(), token)
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
    finally:
        api.close()


@pytest.mark.parametrize("method", sorted(TABLE))
def test_every_cell(world: World, callers: tuple[dict[Who, str], Scene], method: str) -> None:
    tokens, there = callers
    short = method.rpartition("/")[2]
    rule = TABLE[method]
    for who in Who:
        about = MADE_ANEW[short](there) if short in MADE_ANEW else there
        token = tokens[who]
        if short == "SignOut" and token:
            token = world.token(there.login)
        found = call(world, token, method, CALLS[method](about))
        expected = outcome(rule.access, who)
        cell = f"{short}, {who.value}: {expected.value}, but {found}"
        if expected is Outcome.SIGN_IN:
            assert found.code is grpc.StatusCode.UNAUTHENTICATED, cell
        elif expected is Outcome.DENIED:
            assert found.code is grpc.StatusCode.PERMISSION_DENIED, cell
        elif expected is Outcome.HIDDEN:
            assert found.code is grpc.StatusCode.NOT_FOUND, cell
            nowhere = call(world, token, method, CALLS[method](about.elsewhere()))
            assert nowhere == found, f"{short} tells {who.value} that it is there"
        else:
            refused = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
            if rule.access not in (Access.PUBLIC, Access.CALLER):  # these name nothing of anybody's
                refused.add(grpc.StatusCode.NOT_FOUND)
            assert found.code not in refused, cell
