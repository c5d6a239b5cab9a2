"""The life of licenses: a real server, apps that run by them, and the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keypeg.errors import Reason
from keypeg.v1 import (
    activation_service_pb2,
    catalog_service_pb2,
    cloud_session_pb2,
    cloud_session_service_pb2,
    license_life_pb2,
    license_pb2,
    license_switches_pb2,
    seat_service_pb2,
    session_pb2,
)
from keypeg.v1 import license_service_pb2 as pb
from lab.world import CLOUD, KEY, SITE, Api, World, request_id
from tests.system.people import Customer, recorded, refused

Namer = Callable[[str], str]
MEMBERS = license_switches_pb2.ACCOUNT_ACCESS_MEMBERS
ADMINS = license_switches_pb2.ACCOUNT_ACCESS_ADMINS
NOBODY = license_switches_pb2.ACCOUNT_ACCESS_NOBODY


def suspend(api: Api, name: str, reason: str = "Invoice 7 is open") -> Any:
    return api.licenses.SuspendLicense(
        pb.SuspendLicenseRequest(name=name, request_id=request_id(), reason=reason)
    )


def resume(api: Api, name: str) -> Any:
    return api.licenses.ResumeLicense(
        pb.ResumeLicenseRequest(name=name, request_id=request_id(), reason="It is paid")
    )


def move(api: Api, activation: str, target: str = "") -> pb.MoveLicenseResponse:
    return api.licenses.MoveLicense(
        pb.MoveLicenseRequest(
            name=activation, request_id=request_id(), reason="Other desk", target=target
        )
    )


def allow(world: World, product: str, **switches: Any) -> None:
    world.publisher.catalog.SetLicenseSwitches(
        catalog_service_pb2.SetLicenseSwitchesRequest(
            name=product,
            request_id=request_id(),
            switches=license_switches_pb2.LicenseSwitches(**switches),
        )
    )


def shown(customer: Customer, name: str) -> license_pb2.License:
    return customer.admin.licenses.GetLicense(pb.GetLicenseRequest(name=name)).license


@pytest.mark.behaviour("LIC-8")
def test_an_app_stops_at_once_when_its_license_is_suspended_and_runs_when_it_is_resumed(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    owned = world.license(customer.account, product)
    computer = world.computer(new_name("pc"), token=customer.member_token)
    world.open_cloud(customer.member, customer.account, computer)
    app = world.app(new_name("app"), computer, product, "--cloud", "never")
    app.expect("running")
    with refused(Reason.SWITCHED_OFF) as caught:
        suspend(customer.admin, owned.name)
    assert caught[0].metadata["switch"] == "suspend"
    assert "publisher can change the switch" in caught[0].sentence

    suspend(world.publisher, owned.name)
    stopped = app.expect("stopped")
    assert stopped["reason"] == "LICENSE_SUSPENDED"
    assert shown(customer, owned.name).state_reason == "Invoice 7 is open"
    again = world.app(new_name("app"), computer, product, "--cloud", "never")
    assert again.expect("stopped")["reason"] == "LICENSE_SUSPENDED"
    with refused(Reason.LICENSE_SUSPENDED) as caught:
        world.activate(customer.admin, owned.name, f"{customer.account}/locations/cloud")
    assert "Invoice 7 is open" in caught[0].sentence

    resume(world.publisher, owned.name)
    app = world.app(new_name("app"), computer, product, "--cloud", "never")
    app.expect("running")
    world.publisher.licenses.RevokeLicense(
        pb.RevokeLicenseRequest(name=owned.name, request_id=request_id(), reason="Returned")
    )
    assert app.expect("stopped")["reason"] == "LICENSE_REVOKED"
    with refused(Reason.LICENSE_REVOKED):
        resume(world.publisher, owned.name)
    for event, reason in (
        ("license_suspended", "Invoice 7 is open"),
        ("license_resumed", "It is paid"),
        ("license_revoked", "Returned"),
    ):
        (said,) = recorded(customer, event)
        assert (said["license"], said["reason"]) == (owned.name, reason)
        assert said["by"]


@pytest.mark.behaviour("LIC-8")
def test_each_switch_lets_the_account_do_one_thing(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("eq"), locations=[CLOUD])
    owned = world.license(customer.account, product)
    cloud = f"{customer.account}/locations/cloud"
    edit = pb.EditLicenseRequest(
        name=owned.name,
        reason="Two desks",
        edit=license_life_pb2.LicenseEdit(activation_count=2),
    )
    activation = world.activate(customer.member, owned.name, cloud).activation.name
    calls: dict[str, Callable[[Api], Any]] = {
        "move": lambda api: move(api, activation),
        "recover": lambda api: api.licenses.RecoverLicense(
            pb.RecoverLicenseRequest(name=activation, request_id=request_id(), reason="Lost")
        ),
        "change": lambda api: api.licenses.EditLicense(_anew(edit)),
        "suspend": lambda api: suspend(api, owned.name),
        "revoke": lambda api: api.licenses.RevokeLicense(
            pb.RevokeLicenseRequest(name=owned.name, request_id=request_id(), reason="Returned")
        ),
    }
    allow(world, product, move=NOBODY)
    for switch, call in calls.items():
        for api in (customer.member, customer.admin):
            with refused(Reason.SWITCHED_OFF) as caught:
                call(api)
            assert caught[0].metadata["switch"] == switch
    with refused(Reason.SWITCHED_OFF):
        customer.admin.activations.DeleteActivation(
            activation_service_pb2.DeleteActivationRequest(name=activation, request_id=request_id())
        )
    with refused(Reason.SWITCHED_OFF):
        customer.member.cloud.ChooseCloudLicenses(
            cloud_session_service_pb2.ChooseCloudLicensesRequest(
                name=f"{customer.account}/cloudSession",
                request_id=request_id(),
                remove_licenses=[owned.name],
            )
        )

    allow(world, product, move=MEMBERS, recover=ADMINS, change=ADMINS, suspend=ADMINS)
    for switch in ("change", "suspend"):
        with refused(Reason.SWITCHED_OFF):
            calls[switch](customer.member)
    calls["change"](customer.admin)
    assert shown(customer, owned.name).activation_count == 2
    with refused(Reason.LICENSE_UNSUITABLE):  # a cloud is not lost
        calls["recover"](customer.admin)
    calls["suspend"](customer.admin)
    resume(customer.admin, owned.name)
    suspend(world.publisher, owned.name)
    with refused(Reason.SWITCHED_OFF):  # what the publisher suspended
        resume(customer.admin, owned.name)
    resume(world.publisher, owned.name)
    calls["move"](customer.member)
    assert shown(customer, owned.name).activations_used_count == 0
    with refused(Reason.SWITCHED_OFF):
        calls["revoke"](customer.admin)
    allow(world, product, revoke=ADMINS)
    calls["revoke"](customer.admin)
    assert shown(customer, owned.name).state == license_pb2.LICENSE_STATE_REVOKED


def _anew(request: pb.EditLicenseRequest) -> pb.EditLicenseRequest:
    made = pb.EditLicenseRequest()
    made.CopyFrom(request)
    made.request_id = request_id()
    return made


@pytest.mark.behaviour("LIC-8")
def test_seats_of_a_suspended_license_come_back_and_nobody_waits_in_vain(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    pool = world.seats(customer.account, product, 1)
    owned = next(
        one
        for one in customer.admin.licenses.ListLicenses(
            pb.ListLicensesRequest(parent=customer.account)
        ).licenses
        if one.product == product
    )
    computer = world.computer(new_name("pc"), token=customer.member_token)
    app = world.app(new_name("app"), computer, product, "--seat")
    app.expect("running")
    waiting = world.app(new_name("app"), computer, product, "--seat", "--wait")
    waiting.expect("queued")
    suspend(world.publisher, owned.name)
    for one in (app, waiting):
        assert one.expect("stopped")["reason"] == "LICENSE_SUSPENDED"
    with refused(Reason.LICENSE_SUSPENDED):
        customer.member.seats.AcquireSeat(
            seat_service_pb2.AcquireSeatRequest(
                request_id=request_id(),
                pool=pool,
                device=computer.device,
                app=session_pb2.App(name="late"),
            )
        )
    resume(world.publisher, owned.name)
    world.app(new_name("app"), computer, product, "--seat", "--wait").expect("running")


@pytest.mark.behaviour("LIC-8")
def test_borrowing_is_a_switch_too(world: World, customer: Customer, new_name: Namer) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    pool = world.seats(customer.account, product, 2)
    rules = seat_service_pb2.UpdatePoolRulesRequest(name=pool)
    rules.rules.borrowing.longest.seconds = 86_400
    customer.admin.seats.UpdatePoolRules(rules)
    computer = world.computer(new_name("pc"), token=customer.member_token)
    world.keypeg(computer, "borrow", "take", product, "--for", "2h")
    allow(world, product, borrow=ADMINS)
    other = world.computer(new_name("pc"), token=customer.member_token)
    code, _ = world.keypeg(other, "borrow", "take", product, "--for", "2h", check=False)
    assert code == 5  # denied
    code, _ = world.keypeg(computer, "borrow", "renew", "--for", "3h", check=False)
    assert code == 5


@pytest.mark.behaviour("LIC-12")
def test_an_admin_and_the_publisher_activate_in_the_cloud_for_somebody_else(
    world: World, customer: Customer, new_name: Namer
) -> None:
    cloud = f"{customer.account}/locations/cloud"
    customer.admin.cloud.SetCloudSessionMode(
        cloud_session_service_pb2.SetCloudSessionModeRequest(
            name=f"{customer.account}/cloudSession",
            request_id=request_id(),
            mode=cloud_session_pb2.CLOUD_MODE_MANAGED,
        )
    )
    products = [world.product(new_name("daw"), locations=[CLOUD, KEY]) for _ in range(2)]
    for api, product in zip((customer.admin, world.publisher), products, strict=True):
        owned = world.license(customer.account, product)
        world.activate(api, owned.name, cloud)
    made = {one["product"]: one["by"] for one in recorded(customer, "activation_created")}
    assert made[products[0]] != made[products[1]]
    computer = world.computer(new_name("pc"), token=customer.member_token)
    world.open_cloud(customer.member, customer.account, computer)
    for product in products:
        app = world.app(new_name("app"), computer, product, "--cloud", "never")
        app.expect("running")
        app.stop()
