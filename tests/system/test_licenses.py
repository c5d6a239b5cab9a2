"""Where a license may live, and how often: through a real keypegd."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keypeg.errors import Reason
from keypeg.v1 import activation_service_pb2, license_service_pb2
from lab.world import CLOUD, HOST, KEY, SITE, World
from tests.system.people import Customer, refused


@pytest.mark.behaviour("LIC-1")
def test_a_license_lives_only_where_its_product_allows(
    world: World, customer: Customer, new_name: Callable[[str], str]
) -> None:
    product = world.product(new_name("cloud-only"), locations=[CLOUD])
    owned = world.license(customer.account, product, activations=2)
    assert list(owned.allowed_locations) == [CLOUD]
    with refused(Reason.LOCATION_NOT_ALLOWED) as caught:
        world.activate(customer.admin, owned.name, f"{customer.account}/locations/site")
    assert "cloud" in caught[0].metadata["allowed"].lower()
    world.activate(customer.admin, owned.name, f"{customer.account}/locations/cloud")


@pytest.mark.behaviour("LIC-1")
def test_a_license_may_narrow_where_it_lives_but_not_widen_it(
    world: World, customer: Customer, new_name: Callable[[str], str]
) -> None:
    product = world.product(new_name("roaming"), locations=[CLOUD, KEY, HOST])
    narrowed = world.license(customer.account, product, locations=[KEY])
    assert list(narrowed.allowed_locations) == [KEY]
    with refused(Reason.LOCATION_NOT_ALLOWED):
        world.activate(customer.admin, narrowed.name, f"{customer.account}/locations/cloud")
    with refused(Reason.LOCATION_NOT_ALLOWED):
        world.license(customer.account, product, locations=[SITE])


@pytest.mark.behaviour("LIC-3")
def test_one_activation_too_many_is_refused_and_says_where_the_others_are(
    world: World, customer: Customer, new_name: Callable[[str], str]
) -> None:
    product = world.product(new_name("solver"), locations=[SITE, CLOUD])
    owned = world.license(customer.account, product, seats=2, activations=1)
    site = f"{customer.account}/locations/site"
    made = world.activate(customer.admin, owned.name, site)
    with refused(Reason.ACTIVATIONS_EXHAUSTED) as caught:
        world.activate(customer.admin, owned.name, site)
    assert site in caught[0].metadata["locations"]

    shown = customer.admin.licenses.GetLicense(
        license_service_pb2.GetLicenseRequest(name=owned.name)
    ).license
    assert (shown.activations_used_count, shown.activation_count) == (1, 1)

    customer.admin.activations.DeleteActivation(
        activation_service_pb2.DeleteActivationRequest(
            name=made.activation.name, request_id="6a8a1f9e-54cc-4b5c-9a40-c0a9b7dd6d01"
        )
    )
    world.activate(customer.admin, owned.name, site)


@pytest.mark.behaviour("LIC-4")
def test_a_bundle_is_one_license_and_one_activation_that_opens_each_product(
    world: World, customer: Customer, new_name: Callable[[str], str]
) -> None:
    products = [world.product(new_name("part"), locations=[CLOUD]) for _ in range(28)]
    other = world.product(new_name("other"), locations=[CLOUD])
    bundle = world.product(new_name("bundle"), locations=[CLOUD], bundle=products)
    owned = world.license(customer.account, bundle)
    assert owned.bundle
    assert sorted(owned.opens_products) == sorted(products)

    computer = world.computer(new_name("bundle"), token=customer.member_token)
    opened = world.open_cloud(customer.member, customer.account, computer)
    assert len(opened.cloud_session.activations) == 1

    apps = [
        world.app(f"{new_name('app')}", computer, product, "--cloud", "never")
        for product in (products[0], products[13], products[27], other)
    ]
    for app in apps[:3]:
        app.expect("running")
    assert apps[3].expect("stopped")["reason"] == "LICENSE_MISSING"
    for app in apps:
        app.stop()


def test_what_is_not_yours_looks_like_what_is_not_there(
    world: World, customer: Customer, new_name: Callable[[str], str]
) -> None:
    stranger = Customer(world)
    owned = world.license(customer.account, world.product(new_name("private"), locations=[CLOUD]))
    missing = owned.name[:-4] + "beef"
    seen = []
    for name in (owned.name, missing):
        with refused(Reason.NOT_FOUND) as caught:
            stranger.admin.licenses.GetLicense(license_service_pb2.GetLicenseRequest(name=name))
        seen.append(str(caught[0]).replace(name, "NAME"))
    assert seen[0] == seen[1]
