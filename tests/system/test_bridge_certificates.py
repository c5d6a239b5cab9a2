"""Bridges that call by certificates: enrolled, served, renewed, revoked and refused; server, bridge and command line."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from keypeg.calls import translate
from keypeg.errors import Reason
from keypeg.v1 import account_service_pb2, certificate_service_pb2
from keypeg_bridge import enrollment
from keypeg_server.client_authority import ClientAuthority
from keypeg_server.domain.client_certificate import CertificateRole
from lab.keys import KeyLab
from lab.processes import BIN, Lab
from lab.world import KEY, Api, World, request_id
from tests.system.certificates import authority_of, signed
from tests.system.logs import logged
from tests.system.people import BRIDGES, SETTINGS, Customer, new_id, recorded, refused

WHO = account_service_pb2.GetCallerRequest()


@pytest.fixture(scope="module")
def world(lab: Lab, made_data: Path) -> World:
    return World(lab, settings=SETTINGS + BRIDGES, like=made_data)


class Bridge:
    """The program, and what it keeps on its computer."""

    def __init__(self, world: World, customer: Customer, name: str) -> None:
        self.world = world
        self.name = name
        self.state = world.lab.folder / f"{name}-state"
        self.admin = world.computer(f"{name}-admin", token=customer.admin_token)

    def run(self, *words: str) -> str:
        """`keypeg-bridge certificate ...`; what it says, whether it is refused or not."""
        env = {
            "KEYPEG_BRIDGE_SERVER__ADDRESS": self.world.bridge_address,
            "KEYPEG_BRIDGE_SERVER__CA_FILE": str(self.world.ca_file),
        }
        argv = [str(BIN / "keypeg-bridge"), "certificate", *words, "--state", str(self.state)]
        done = self.world.lab.run(argv, env=env, check=False)
        return done.stdout + done.stderr

    def enroll(self, *options: str) -> str:
        """The name of the certificate that an administrator has issued, and the bridge installed."""
        csr, pem = (self.world.lab.folder / f"{self.name}.{it}" for it in ("csr", "pem"))
        csr.write_text(self.run("request"))
        issue = ("certificate", "issue", self.name, "--csr", str(csr), "--out", str(pem))
        made = self.world.keypeg(self.admin, *issue, *options)[1]
        assert "keypeg:" in self.run("install", str(pem))
        return str(made["name"])

    def api(self) -> Api:
        """As the bridge calls, on a connection that lasts."""
        mine = enrollment.load(self.state)
        ca = self.world.ca_file.read_bytes()
        return Api(self.world.bridge_address, ca, identity=(mine.key, mine.certificate))


def test_a_bridge_enrolls_calls_renews_and_is_revoked(world: World, customer: Customer) -> None:
    bridge = Bridge(world, customer, new_id("bridge"))
    name = bridge.enroll()
    (listed,) = world.keypeg(bridge.admin, "certificate", "list")[1]
    assert listed["name"] == name
    assert stat.S_IMODE(os.stat(bridge.state / enrollment.FILE).st_mode) == 0o600

    with contextlib.closing(bridge.api()) as before:
        me = before.accounts.GetCaller(WHO)
        assert (me.user.name, me.account) == (name, customer.account)
        first = enrollment.load(bridge.state)
        assert name in bridge.run("renew")
        assert enrollment.load(bridge.state).key != first.key
        with contextlib.closing(bridge.api()) as after:
            for api in (before, after):
                assert api.accounts.GetCaller(WHO).user.name == name
            world.keypeg(bridge.admin, "certificate", "revoke", bridge.name)
            for api in (before, after):  # connections that are there
                with refused(Reason.TOKEN_INVALID):
                    api.accounts.GetCaller(WHO)
        assert "revoked" in bridge.run("renew"), "and a new one"
    logged(world, "certificate refused", name, '"why": "revoked"')
    (renewed,) = recorded(customer, "certificate_renewed")
    assert renewed["by"] == renewed["certificate"] == name
    assert [one["certificate"] for one in recorded(customer, "certificate_revoked")] == [name]
    assert "PRIVATE" not in world.server.log.read_text()  # type: ignore[union-attr]  # it runs


def test_what_the_port_for_bridges_refuses_and_why(world: World, customer: Customer) -> None:
    ca, now = world.ca_file.read_bytes(), datetime.now(UTC)
    ours = authority_of(world)
    nowhere, role = f"{customer.account}/certificates/x", CertificateRole.BRIDGE

    def gone(identity: tuple[bytes, bytes] | tuple[None, None]) -> None:
        with contextlib.closing(
            Api(world.bridge_address, ca, customer.admin_token, identity)
        ) as api:
            with pytest.raises(grpc.RpcError) as caught:
                api.accounts.GetCaller(WHO, timeout=10)
            assert translate(caught.value).reason is Reason.UNREACHABLE

    gone(signed(ours, nowhere, role, now - timedelta(minutes=1)))
    logged(world, "handshake failed", "the client's certificate has ended")
    gone(signed(ClientAuthority(b"o" * 32, now), nowhere, role))
    logged(world, "handshake failed", "not of this server's authority", "issuer certificate")
    gone((None, None))
    logged(world, "handshake failed", "the client showed no certificate")

    stranger = Api(world.bridge_address, ca, identity=signed(ours, nowhere, role))
    with contextlib.closing(stranger), refused(Reason.TOKEN_INVALID) as caught:
        stranger.accounts.GetCaller(WHO)
    assert "enroll the bridge anew" in caught[0].sentence
    logged(world, "certificate refused", nowhere, '"why": "unknown"')


def test_a_certificate_opens_what_bridges_need_whoever_s_token_comes_with_it(
    world: World, customer: Customer
) -> None:
    own = world.bridge(customer.admin, customer.account, "own")
    token = world.publisher.token
    ca = world.ca_file.read_bytes()
    with contextlib.closing(Api(world.bridge_address, ca, token, own.identity)) as api:
        assert api.accounts.GetCaller(WHO).user.name == own.certificate.name
        health = health_pb2_grpc.HealthStub(api.channel)
        assert health.Check(health_pb2.HealthCheckRequest()).status
        with refused(Reason.PERMISSION_DENIED):
            api.accounts.ListAccounts(account_service_pb2.ListAccountsRequest())
        with refused(Reason.PERMISSION_DENIED):  # which needs no signing in elsewhere
            api.accounts.SignIn(account_service_pb2.SignInRequest(login="x", password="y" * 8))
    with refused(Reason.PERMISSION_DENIED):  # nor is a certificate renewed by who has none
        customer.admin.certificates.RenewCertificate(
            certificate_service_pb2.RenewCertificateRequest(
                request_id=request_id(), certificate_request=enrollment.make_request().text
            )
        )
    own.close()


@pytest.fixture
def key_lab(lab: Lab) -> Iterator[KeyLab]:
    """A key and a bridge that has it."""
    made = KeyLab(lab, new_id("enrolled"))
    made.start_key()
    yield made
    made.end()


@pytest.mark.long
def test_a_running_bridge_hears_by_its_certificate_that_a_key_was_lost(
    world: World, customer: Customer, key_lab: KeyLab
) -> None:
    bridge = Bridge(world, customer, key_lab.name)
    bridge.state = world.lab.folder / f"{key_lab.name}-bridge"
    bridge.enroll()
    settings = world.data / "keypegd.toml"
    settings.write_text(settings.read_text().replace('"accept"', '"require-for-bridges"'))
    assert world.server is not None
    world.server.stop()
    world.serve()
    token = world.lab.folder / f"{key_lab.name}.token"
    token.write_text(customer.member_token)
    common = {
        "keys.drivers": "piv",
        "server.ca_file": str(world.ca_file),
        "server.interval": "1s",
    }
    first = key_lab.start_bridge(
        settings={**common, "server.address": world.address, "server.token_file": str(token)}
    )
    computer = world.computer(new_id("desk"), token=customer.admin_token, bridge=key_lab.target)
    listed = lambda: list(world.keypeg(computer, "key", "list")[1])  # noqa: E731 - short
    key_lab.wait_for_key(listed)
    location = str(world.keypeg(computer, "key", "enroll", "--name", "desk")[1]["name"])
    product = world.product(new_id("synth"), locations=[KEY])
    owned = world.license(customer.account, product)
    (key,) = listed()
    world.keypeg(computer, "activation", "create", owned.name, "--key", str(key["name"]))
    first.stop()
    assert "by their certificates alone" in first.log.read_text()

    key_lab.start_bridge(
        settings={
            **common,
            "server.address": world.bridge_address,
            "server.certificate": "true",
        }
    )
    app = world.app(new_id("app"), computer, product)
    app.expect("running")
    world.keypeg(computer, "key", "report-lost", location, "--reason", "stolen", "--yes")
    assert app.expect("renewal_refused", timeout=20)["reason"] == "KEY_LOST"
    app.stop()
