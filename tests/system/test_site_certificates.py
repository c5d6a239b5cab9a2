"""Sites that call by certificates: issued, served, renewed, revoked and refused; server and command line."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from keypeg.errors import Reason
from keypeg.v1 import (
    account_service_pb2,
    activation_service_pb2,
    certificate_pb2,
    certificate_service_pb2,
    document_pb2,
    license_service_pb2,
    location_service_pb2,
    location_service_pb2_grpc,
    report_service_pb2,
    report_service_pb2_grpc,
)
from keypeg_bridge import enrollment
from keypeg_server.domain.client_certificate import CertificateRole
from lab.processes import BIN, Lab
from lab.world import CLOUD, SITE, Api, World, request_id
from tests.system.certificates import authority_of, signed
from tests.system.logs import logged
from tests.system.people import BRIDGES, SETTINGS, Customer, new_id, recorded, refused

WHO = account_service_pb2.GetCallerRequest()
OF_A_SITE = certificate_pb2.CERTIFICATE_ROLE_SITE


@pytest.fixture(scope="module")
def world(lab: Lab, made_data: Path) -> World:
    return World(lab, settings=SETTINGS + BRIDGES, like=made_data)


def by(world: World, identity: tuple[bytes, bytes]) -> Api:
    """Who shows this, on a connection that lasts."""
    return Api(world.bridge_address, world.ca_file.read_bytes(), identity=identity)


def compare(api: Api, account: str) -> None:
    """What bridges call for."""
    location_service_pb2_grpc.LocationServiceStub(api.channel).CheckKey(
        location_service_pb2.CheckKeyRequest(
            parent=account,
            card_id="00" * 16,
            public_key=document_pb2.PublicKey(
                algorithm=document_pb2.KEY_ALGORITHM_ECDSA_P256, key=b"\x04" + bytes(64)
            ),
        )
    )


def listed(api: Api, parent: str, page_size: int = 0) -> list[str]:
    """The names of activations, all pages."""
    request = activation_service_pb2.ListActivationsRequest(parent=parent, page_size=page_size)
    found: list[str] = []
    while True:
        answer = api.activations.ListActivations(request)
        found += [one.name for one in answer.activations]
        request.page_token = answer.next_page_token
        if not request.page_token:
            return found


def activation(api: Api, name: str) -> activation_service_pb2.GetActivationResponse:
    """One activation."""
    return api.activations.GetActivation(activation_service_pb2.GetActivationRequest(name=name))


def test_a_site_is_enrolled_calls_renews_and_is_revoked(world: World, customer: Customer) -> None:
    plant = new_id("plant")
    admin = world.computer(f"{plant}-admin", token=customer.admin_token)
    csr, pem = (world.lab.folder / f"{plant}.{it}" for it in ("csr", "pem"))
    made = enrollment.make_request()
    csr.write_bytes(made.text)
    issue = ("certificate", "issue", plant, "--role", "site")
    argv = [str(BIN / "keypeg"), "-o", "json", *issue, "--csr", str(csr), "--out", str(pem)]
    done = world.lab.run(argv, env=admin.env)
    name = str(json.loads(done.stdout)["name"])
    assert done.stderr == f"Take {pem} to the site.\n"
    (shown,) = world.keypeg(admin, "certificate", "list")[1]
    assert (shown["name"], shown["role"]) == (name, "CERTIFICATE_ROLE_SITE")

    with contextlib.closing(by(world, (made.key, pem.read_bytes()))) as before:
        me = before.accounts.GetCaller(WHO)
        assert (me.user.name, me.account) == (name, customer.account)
        assert me.user.login == f"site {plant}"
        anew = enrollment.make_request()
        answer = before.certificates.RenewCertificate(
            certificate_service_pb2.RenewCertificateRequest(
                request_id=request_id(), certificate_request=anew.text
            )
        )
        assert (answer.certificate.name, answer.certificate.role) == (name, OF_A_SITE)
        assert answer.certificate.serial != shown["serial"]
        with contextlib.closing(by(world, (anew.key, answer.pem.encode()))) as after:
            for api in (before, after):
                assert api.accounts.GetCaller(WHO).user.name == name
                assert listed(api, customer.account) == []
            world.keypeg(admin, "certificate", "revoke", plant)
            late = by(world, (anew.key, answer.pem.encode()))
            for api in (before, after, late):  # connections that are there, and a new one
                with refused(Reason.TOKEN_INVALID) as caught:
                    api.accounts.GetCaller(WHO)
                assert caught[0].sentence == "This certificate was revoked; enroll the site anew."
            late.close()
    logged(world, "certificate refused", name, '"why": "revoked"')
    (renewed,) = recorded(customer, "certificate_renewed")
    assert renewed["by"] == renewed["certificate"] == name
    assert renewed["role"] == "site"


def test_a_site_sees_what_is_at_sites_of_its_own_account(world: World, customer: Customer) -> None:
    product = world.product(new_id("press"), locations=[CLOUD, SITE])
    single, shared = (world.license(customer.account, product, seats=seats) for seats in (0, 3))
    elsewhere, here = (
        world.activate(customer.admin, owned.name, f"{customer.account}/locations/{place}")
        for owned, place in ((single, "cloud"), (shared, "site"))
    )
    other = Customer(world)
    site, stranger = (
        world.bridge(one.admin, one.account, "plant", OF_A_SITE) for one in (customer, other)
    )
    all_of_them = [elsewhere.activation.name, here.activation.name]
    assert listed(customer.admin, customer.account) == all_of_them
    for parent, seen in (
        (customer.account, [here.activation.name]),
        (shared.name, [here.activation.name]),
        (single.name, []),
    ):
        for page_size in (0, 1):
            assert listed(site, parent, page_size) == seen
        with refused(Reason.NOT_FOUND):
            listed(stranger, parent)
    found = activation(site, here.activation.name)
    assert found.document == here.document
    assert found == activation(customer.admin, here.activation.name)

    nowhere = f"{shared.name}/activations/{'0' * 32}"
    said: set[str] = set()
    for api, name in (
        (site, elsewhere.activation.name),
        (site, nowhere),
        (stranger, here.activation.name),
        (stranger, elsewhere.activation.name),
        (stranger, nowhere),
    ):
        with refused(Reason.NOT_FOUND) as caught:
            activation(api, name)
        said.add(caught[0].sentence.replace(name, "NAME"))
    assert len(said) == 1, "what is elsewhere, of others, and not there look the same"
    site.close()
    stranger.close()


def test_what_is_of_bridges_is_not_of_sites_nor_the_other_way_round(
    world: World, customer: Customer
) -> None:
    site = world.bridge(customer.admin, customer.account, "plant", OF_A_SITE)
    bridge = world.bridge(customer.admin, customer.account, "lab")
    with refused(Reason.KEY_NOT_ENROLLED):  # it may ask
        compare(bridge, customer.account)
    assert listed(site, customer.account) == []
    with refused(Reason.PERMISSION_DENIED) as caught:
        compare(site, customer.account)
    assert "The certificate of a site does not open CheckKey" in caught[0].sentence
    with refused(Reason.PERMISSION_DENIED) as caught:
        listed(bridge, customer.account)
    assert "The certificate of a bridge does not open ListActivations" in caught[0].sentence

    # Signed by the very authority, it is of the other kind than what was issued: what is kept counts.
    for api, role in ((site, CertificateRole.BRIDGE), (bridge, CertificateRole.SITE)):
        name = api.certificate.name
        identity = signed(authority_of(world), name, role)
        with contextlib.closing(by(world, identity)) as forged, refused(Reason.TOKEN_INVALID):
            forged.accounts.GetCaller(WHO)
        logged(world, "certificate refused", name, '"why": "other role"', f'"role": "{role.word}"')
    site.close()
    bridge.close()


def test_a_site_is_refused_all_else_whoever_s_token_comes_with_it(
    world: World, customer: Customer
) -> None:
    own = world.bridge(customer.admin, customer.account, "plant", OF_A_SITE)
    token, ca = world.publisher.token, world.ca_file.read_bytes()
    with contextlib.closing(Api(world.bridge_address, ca, token, own.identity)) as api:
        assert api.accounts.GetCaller(WHO).user.name == own.certificate.name
        log = report_service_pb2_grpc.ReportServiceStub(api.channel)
        for call in (
            lambda: api.accounts.SignIn(  # which needs no signing in elsewhere
                account_service_pb2.SignInRequest(login="x", password="y" * 8)
            ),
            lambda: api.accounts.ListAccounts(account_service_pb2.ListAccountsRequest()),
            lambda: api.licenses.ListLicenses(
                license_service_pb2.ListLicensesRequest(parent=customer.account)
            ),
            lambda: api.certificates.ListCertificates(
                certificate_service_pb2.ListCertificatesRequest(parent=customer.account)
            ),
            lambda: list(
                log.ExportLog(report_service_pb2.ExportLogRequest(parent=customer.account))
            ),
        ):
            with refused(Reason.PERMISSION_DENIED) as caught:
                call()
            assert "The certificate of a site does not open" in caught[0].sentence
    own.close()
