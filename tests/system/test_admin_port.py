"""A port for administration alone: what is served there and nowhere else, and what both serve."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from keypeg.calls import translate
from keypeg.errors import Reason
from keypeg.v1 import account_service_pb2, license_service_pb2
from keypeg_server.domain.rights import RIGHTS, Right, Role
from keypeg_server.rpc.authorization import CHANNELS
from keypeg_server.rpc.doors import ADMINISTRATION
from lab.processes import Lab
from lab.world import ADMIN, Api, World
from tests.system.people import SETTINGS


class Apart(World):
    """Whose publisher calls the port for administration."""

    def publisher_api(self) -> Api:
        ready = json.loads((self.lab.folder / f"keypegd-{self._starts}.ready").read_text())
        self.everyone, self.admin = self.address, ready["admin_address"]
        return Api(self.admin, self.ca_file.read_bytes(), self.publisher_token())


@pytest.fixture(scope="module")
def apart(lab: Lab, made_data: Path) -> Iterator[Apart]:
    folder = lab.folder / "apart"
    folder.mkdir()
    with Lab(folder) as own:
        port = '\n[server]\nadmin_listen = "127.0.0.1:0"\n'
        yield Apart(own, settings=SETTINGS + port, like=made_data)


def refusal(error: grpc.RpcError) -> Reason:
    return translate(error).reason


def test_administration_is_what_nobody_of_an_account_may_do() -> None:
    assert Right.LICENSES_WRITE in ADMINISTRATION
    for role in (Role.MEMBER, Role.ADMIN, Role.OWNER):
        assert not RIGHTS[role] & ADMINISTRATION


def test_the_staff_s_work_is_served_at_the_port_for_it_alone(apart: Apart) -> None:
    account = apart.account("acme-apart", {"ada-apart": ADMIN})
    public = Api(apart.everyone, apart.ca_file.read_bytes(), apart.publisher.token)
    listing = account_service_pb2.ListAccountsRequest()
    with pytest.raises(grpc.RpcError) as caught:
        public.accounts.ListAccounts(listing)
    error = translate(caught.value)
    assert error.reason is Reason.PERMISSION_DENIED
    assert "server.admin_listen" in error.sentence
    assert [one.name for one in apart.publisher.accounts.ListAccounts(listing).accounts] == [
        account
    ]
    shown = license_service_pb2.ListLicensesRequest(parent=account)
    ada = Api(apart.everyone, apart.ca_file.read_bytes(), apart.token("ada-apart"))
    for api in (public, apart.publisher, ada):
        assert not api.licenses.ListLicenses(shown).licenses, "what accounts may do is everywhere"
    for api in (public, ada):
        api.close()


def test_who_may_not_learns_nothing_of_the_port(apart: Apart) -> None:
    apart.account("acme-apart-2", {"bob-apart": ADMIN})
    bob = Api(apart.everyone, apart.ca_file.read_bytes(), apart.token("bob-apart"))
    with pytest.raises(grpc.RpcError) as caught:
        bob.accounts.ListAccounts(account_service_pb2.ListAccountsRequest())
    assert "admin_listen" not in translate(caught.value).sentence
    bob.close()


def test_both_ports_say_that_they_serve_and_only_one_reflects(apart: Apart) -> None:
    public = Api(apart.everyone, apart.ca_file.read_bytes())
    for api in (public, apart.publisher):
        answer = health_pb2_grpc.HealthStub(api.channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    asked = reflection_pb2.ServerReflectionRequest(list_services="*")

    def reflected(api: Api) -> set[str]:
        stub = reflection_pb2_grpc.ServerReflectionStub(api.channel)
        (answer,) = stub.ServerReflectionInfo(iter([asked]))
        return {one.name for one in answer.list_services_response.service}

    assert "keypeg.v1.SeatService" in reflected(apart.publisher)
    with pytest.raises(grpc.RpcError) as caught:
        reflected(public)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    public.close()


def test_who_is_connected_is_for_the_publisher_s_people_at_their_port(apart: Apart) -> None:
    apart.account("acme-channels", {"ada-channels": ADMIN})
    ca, staff = apart.ca_file.read_bytes(), apart.publisher
    nobody, ada = Api(apart.admin, ca), Api(apart.admin, ca, apart.token("ada-channels"))
    public = Api(apart.everyone, ca, staff.token)

    def ended(api: Api, method: str) -> grpc.StatusCode:
        try:
            channel: Any = api.channel
            ask = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
            ask(b"", timeout=20)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    service = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"]
    assert {f"/{service.full_name}/{one.name}" for one in service.methods} == set(CHANNELS)
    for method in CHANNELS:
        assert ended(nobody, method) is grpc.StatusCode.UNAUTHENTICATED
        assert ended(ada, method) is grpc.StatusCode.PERMISSION_DENIED
        assert ended(public, method) is grpc.StatusCode.UNIMPLEMENTED
        assert ended(staff, method) in (grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND), method
    for api in (nobody, ada, public):
        api.close()


def test_the_connections_of_both_ports_are_shown(apart: Apart) -> None:
    stub = channelz_pb2_grpc.ChannelzStub(apart.publisher.channel)
    servers = stub.GetServers(channelz_pb2.GetServersRequest(start_server_id=0)).server
    assert sum(one.data.calls_succeeded for one in servers) > 0
    sockets = [
        stub.GetServerSockets(
            channelz_pb2.GetServerSocketsRequest(server_id=one.ref.server_id, start_socket_id=0)
        ).socket_ref
        for one in servers
    ]
    assert any(sockets)
