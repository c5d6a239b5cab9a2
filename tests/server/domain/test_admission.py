"""Which license lets an app run, and what a refusal says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from keypeg import errors
from keypeg_server.domain.admission import Holdings, admit
from keypeg_server.domain.cloud_session import CloudMode, CloudSession, Holder, opened
from keypeg_server.domain.license import (
    Activation,
    License,
    LicenseState,
    LicenseType,
    SeatPool,
)
from keypeg_server.domain.location import LocationKind
from keypeg_server.domain.product import Product, check_version

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
CLOUD, KEY, HOST, SITE = LocationKind
PRODUCT = Product(
    publisher="p",
    id="daw",
    display_name="DAW",
    bundle_products=(),
    allowed_locations=frozenset(LocationKind),
    offline_grace=timedelta(seconds=180),
    unplug_grace=timedelta(seconds=30),
    minimum_app_version="",
    features=(),
    create_time=NOW,
)
CLOUD_LICENSE = License(
    account="acme",
    id="l1",
    product=PRODUCT.name,
    type=LicenseType.PERPETUAL,
    state=LicenseState.ACTIVE,
    allowed_locations=frozenset({CLOUD, KEY}),
    activation_count=1,
    seat_count=0,
    features=(),
    deposit_time=NOW,
    expire_time=None,
    term_days=0,
    first_activate_time=NOW,
    maintenance_end_time=None,
    external_reference="",
)
SITE_LICENSE = replace(CLOUD_LICENSE, id="l2", allowed_locations=frozenset({SITE}), seat_count=3)
IN_CLOUD = Activation("acme", "l1", "a1", "cloud", CLOUD, NOW, 1, b"")
ON_KEY = Activation("acme", "l1", "a1", "k1", KEY, NOW, 1, b"")
POOL = SeatPool("pools/p1", PRODUCT.name)
AT_SITE = Activation("acme", "l2", "a2", "site", SITE, NOW, 1, b"", (POOL,))
CLOSED = CloudSession("acme")
HERE = opened(CLOSED, Holder("device-a", "a"), "u", NOW, keep_elsewhere=False).session
ELSEWHERE = opened(CLOSED, Holder("device-b", "b"), "u", NOW, keep_elsewhere=False).session


def holdings(
    licenses: list[License],
    activations: list[Activation],
    cloud: CloudSession = CLOSED,
    **seats_held: int,
) -> Holdings:
    held = {f"pools/{pool}": units for pool, units in seats_held.items()}
    return Holdings("acme", PRODUCT, licenses, activations, cloud, held)


@pytest.mark.parametrize(
    ("case", "kinds", "activation"),
    [
        (holdings([CLOUD_LICENSE], [IN_CLOUD], HERE), (), "a1"),
        (holdings([SITE_LICENSE], [AT_SITE]), (), "a2"),
        (holdings([SITE_LICENSE, CLOUD_LICENSE], [AT_SITE, IN_CLOUD], HERE), (), "a1"),
        (holdings([CLOUD_LICENSE, SITE_LICENSE], [IN_CLOUD, AT_SITE], HERE), (SITE, CLOUD), "a2"),
        (holdings([CLOUD_LICENSE, SITE_LICENSE], [IN_CLOUD, AT_SITE], ELSEWHERE), (), "a2"),
        (holdings([CLOUD_LICENSE, SITE_LICENSE], [IN_CLOUD, AT_SITE], HERE), (KEY, SITE), "a2"),
    ],
    ids=[
        "the cloud, held here",
        "a site",
        "the cloud comes first",
        "in the app's order",
        "a site while the cloud is held elsewhere",
        "keys are not served here",
    ],
)
def test_what_lets_an_app_run(
    case: Holdings, kinds: tuple[LocationKind, ...], activation: str
) -> None:
    found = admit(case, "device-a", kinds, NOW)
    assert found.activation.id == activation
    assert found.pool == (POOL.name if activation == "a2" else None)


@pytest.mark.parametrize(
    ("case", "kinds", "error", "remedy"),
    [
        (holdings([], []), (), errors.LicenseMissing, None),
        (
            holdings([CLOUD_LICENSE], [IN_CLOUD], ELSEWHERE),
            (),
            errors.CloudSessionElsewhere,
            "move_cloud_session",
        ),
        (holdings([CLOUD_LICENSE], []), (), errors.CloudSessionClosed, "open_cloud_session"),
        (
            holdings([CLOUD_LICENSE], [], replace(CLOSED, mode=CloudMode.MANAGED)),
            (),
            errors.LicenseMissing,
            "activate",
        ),
        (holdings([CLOUD_LICENSE], [ON_KEY]), (), errors.LicenseMissing, "activate"),
        (holdings([SITE_LICENSE], []), (), errors.LicenseMissing, "activate"),
        (
            holdings([replace(CLOUD_LICENSE, expire_time=NOW)], [IN_CLOUD], HERE),
            (),
            errors.LicenseExpired,
            None,
        ),
        (
            holdings(
                [replace(CLOUD_LICENSE, expire_time=NOW), replace(CLOUD_LICENSE, id="l3")], []
            ),
            (),
            errors.CloudSessionClosed,
            "open_cloud_session",
        ),
        (
            holdings([replace(SITE_LICENSE, state=LicenseState.SUSPENDED)], [AT_SITE]),
            (),
            errors.LicenseSuspended,
            None,
        ),
        (holdings([SITE_LICENSE], [AT_SITE]), (CLOUD,), errors.LicenseMissing, "activate"),
        (holdings([SITE_LICENSE], [AT_SITE]), (KEY, HOST), errors.LicenseMissing, "activate"),
    ],
    ids=[
        "nothing owned",
        "held elsewhere",
        "would be activated on opening",
        "managed, and not chosen",
        "lives on a key",
        "seats without a site",
        "ended",
        "another one is nearer than the ended one",
        "suspended",
        "only of a kind that the app does not take",
        "kinds that bridges serve",
    ],
)
def test_a_refusal_says_what_would_help(
    case: Holdings,
    kinds: tuple[LocationKind, ...],
    error: type[errors.KeypegError],
    remedy: str | None,
) -> None:
    with pytest.raises(error) as refused:
        admit(case, "device-a", kinds, NOW)
    explanation = refused.value.explanation
    remedies = [one.action for one in explanation.remedies] if explanation else []
    assert remedies == ([remedy] if remedy else [])


def test_of_several_pools_the_one_with_most_free_seats_serves() -> None:
    second = replace(SITE_LICENSE, id="l3")
    pool = SeatPool("pools/p2", PRODUCT.name)
    at_site = replace(AT_SITE, license="l3", id="a3", pools=(pool,))
    both = ([SITE_LICENSE, second], [AT_SITE, at_site])
    assert admit(holdings(*both), "device-a", (), NOW).pool == "pools/p1"
    assert admit(holdings(*both, p1=2, p2=1), "device-a", (), NOW).pool == "pools/p2"


def test_a_bundle_s_activation_serves_the_pool_of_the_product_that_is_asked_for() -> None:
    other = SeatPool("pools/p0", "publishers/p/products/eq")
    at_site = replace(AT_SITE, pools=(other, POOL))
    assert admit(holdings([SITE_LICENSE], [at_site]), "device-a", (), NOW).pool == POOL.name


@pytest.mark.parametrize(
    ("version", "minimum", "served"),
    [
        ("2.1", "", True),
        ("", "", True),
        ("2.1", "2.1", True),
        ("2.1.0", "2.1", True),
        ("2.10", "2.9", True),
        ("2.1-beta", "2.1", True),
        ("2.0.9", "2.1", False),
        ("", "1", False),
        ("nonsense", "1", False),
    ],
)
def test_an_app_is_served_from_its_minimum_version_on(
    version: str, minimum: str, served: bool
) -> None:
    product = replace(PRODUCT, minimum_app_version=minimum)
    if served:
        check_version(product, version)
    else:
        with pytest.raises(errors.ClientTooOld) as refused:
            check_version(product, version)
        assert refused.value.metadata["minimum_version"] == minimum
