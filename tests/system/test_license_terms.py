"""What a license shows, when its term ends, and which versions of an app it opens: through the real programs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from keypeg.v1 import license_pb2
from lab.keys import KeyLab
from lab.processes import BIN, Program
from lab.world import CLOUD, HOST, KEY, SITE, Computer, World
from tests.system.people import Customer

pytestmark = pytest.mark.own_server

Namer = Callable[[str], str]


def enrolled(world: World, computer: Computer, keys: KeyLab) -> str:
    """The name of the only key, once it is enrolled."""
    (key,) = keys.wait_for_key(lambda: world.keypeg(computer, "key", "list")[1])
    world.keypeg(computer, "key", "enroll")
    return str(key["name"])


@pytest.mark.behaviour("LIC-2")
def test_a_license_shows_all_that_it_is(world: World, customer: Customer, new_name: Namer) -> None:
    part = world.product(new_name("part"), locations=[CLOUD, KEY], features=["export", "mesh"])
    bundle = world.product(new_name("suite"), locations=[CLOUD, KEY], bundle=[part])
    staff = world.computer(new_name("staff"), token=world.publisher.token)
    _, made = world.keypeg(
        staff,
        *("license", "create", bundle.replace("publishers/", "").replace("/products", "")),
        *("--account", customer.account, "--type", "not-for-resale-subscription"),
        *("--location", "cloud", "--activations", "3", "--term-days", "30"),
        *("--feature", "export", "--maintenance-ends", "2031-05-01", "--up-to-version", "7.x"),
        *("--reference", "PO-77"),
    )
    own = world.computer(new_name("own"), token=customer.member_token)
    before = datetime.now(UTC)
    _, shown = world.keypeg(own, "license", "show", made["name"])
    assert shown == made
    assert shown["publisher"] == "publishers/acme"
    assert (shown["product"], shown["bundle"], shown["opens_products"]) == (bundle, True, [part])
    assert shown["allowed_locations"] == ["LOCATION_KIND_CLOUD"]
    assert shown["type"] == "LICENSE_TYPE_NOT_FOR_RESALE_SUBSCRIPTION"
    assert (shown["activation_count"], shown.get("activations_used_count", 0)) == (3, 0)
    assert (shown["term_days"], shown.get("expire_time")) == (30, None)
    assert [one["feature"] for one in shown["features"]] == ["export"]
    assert shown["maintenance_end_time"].startswith("2031-05-01")
    assert shown["newest_version"] == "7"
    assert abs(datetime.fromisoformat(shown["deposit_time"]) - before) < timedelta(minutes=5)

    table = world.lab.run(
        [str(BIN / "keypeg"), "license", "show", made["name"]], env=own.env
    ).stdout
    for words in (
        "30 days after first activation",
        "bundle",
        "acme",
        "7.x",
        "2031-05-01",
        "export",
    ):
        assert words in table, table

    world.keypeg(own, "session", "open")
    _, (listed,) = world.keypeg(own, "license", "list")
    assert (listed["activation_count"], listed["activations_used_count"]) == (3, 1)
    began = datetime.fromisoformat(listed["first_activate_time"])
    assert datetime.fromisoformat(listed["expire_time"]) - began == timedelta(days=30)


@pytest.mark.behaviour("LIC-2")
def test_each_type_of_license_is_shown_with_its_term(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[SITE])
    short = product.replace("publishers/", "").replace("/products", "")
    staff = world.computer(new_name("staff"), token=world.publisher.token)
    terms = {
        "perpetual": (),
        "subscription": ("--expires", "2031-01-31"),
        "not-for-resale": ("--seats", "5"),
        "not-for-resale-subscription": ("--expires", "2032-02-29"),
        "trial": ("--term-days", "14"),
    }
    for kind, term in terms.items():
        deposit = ("license", "create", short, "--account", customer.account, "--type", kind)
        world.keypeg(staff, *deposit, *term)
    own = world.computer(new_name("own"), token=customer.member_token)
    _, listed = world.keypeg(own, "license", "list")
    assert [one["type"] for one in listed] == license_pb2.LicenseType.keys()[1:]
    ends = [(one["expire_time"] or "")[:10] for one in listed]
    assert ends == ["", "2031-01-31", "", "2032-02-29", ""]
    assert [one["term_days"] for one in listed] == [0, 0, 0, 0, 14]
    assert [one["seat_count"] for one in listed] == [0, 0, 5, 0, 0]
    assert [one["bundle"] for one in listed] == [False] * 5
    table = world.lab.run([str(BIN / "keypeg"), "license", "list"], env=own.env).stdout
    rows = [line.split() for line in table.splitlines()[1:]]
    assert [row[2] for row in rows] == list(terms), table
    assert "2031-01-31" in rows[1], table
    assert "14 days after first activation" in table


@pytest.mark.behaviour("LIC-5")
def test_a_term_begins_at_the_first_activation_and_never_again(
    world: World, customer: Customer, keys: KeyLab, new_name: Namer
) -> None:
    product = world.product(new_name("synth"), locations=[CLOUD, KEY])
    owned = world.license(customer.account, product, term_days=30)
    computer = world.computer(new_name("desk"), token=customer.admin_token, bridge=keys.target)

    def term() -> tuple[str, str]:
        shown = world.keypeg(computer, "license", "show", owned.name)[1]
        return shown["first_activate_time"], shown["expire_time"]

    key = enrolled(world, computer, keys)
    world.keypeg(computer, "session", "open")  # automatic mode activates it
    first = term()
    world.keypeg(computer, "session", "remove", owned.name)
    world.keypeg(computer, "activation", "create", owned.name, "--key", key)
    assert term() == first
    (on_key,) = world.keypeg(computer, "activation", "list")[1]
    world.keypeg(computer, "activation", "delete", on_key["name"])
    world.keypeg(computer, "session", "add", owned.name)
    assert term() == first


@pytest.mark.behaviour("LIC-5")
@pytest.mark.long
def test_every_session_hears_of_the_end_of_its_license_when_it_ends(
    world: World, customer: Customer, keys: KeyLab, new_name: Namer
) -> None:
    computer = world.computer(new_name("desk"), token=customer.admin_token, bridge=keys.target)
    key = enrolled(world, computer, keys)
    cloud, on_key, site = (
        world.product(new_name(kind), locations=[where], offline_grace=600)
        for kind, where in (("cloud", CLOUD), ("key", KEY), ("site", SITE))
    )
    ends = datetime.now(UTC) + timedelta(seconds=15)
    end = Timestamp()
    end.FromDatetime(ends)
    world.license(customer.account, cloud, expire_time=end)
    keyed = world.license(customer.account, on_key, expire_time=end)
    world.seats(customer.account, site, 1, expire_time=end)
    world.keypeg(computer, "activation", "create", keyed.name, "--key", key)
    apps = [
        world.app(new_name("app"), computer, cloud, "--cloud", "open"),
        world.app(new_name("app"), computer, on_key, "--location", "key"),
        world.app(new_name("app"), computer, site, "--seat", "--wait"),
        world.app(new_name("app"), computer, site, "--seat", "--wait"),
    ]
    for app in apps:
        app.expect("running")
    for app in apps:
        stopped = app.expect("stopped", timeout=30)
        assert stopped["reason"] in ("LICENSE_EXPIRED", "DOCUMENT_EXPIRED"), app.events
        late = datetime.now(UTC) - ends
        assert timedelta(seconds=-1.5) < late < timedelta(seconds=2), late
    again = world.app(new_name("app"), computer, cloud, "--cloud", "open")
    assert again.expect("stopped")["reason"] == "LICENSE_EXPIRED"


@pytest.mark.long
def test_a_license_opens_the_versions_that_it_covers_wherever_it_lives(
    world: World, customer: Customer, keys: KeyLab, new_name: Namer
) -> None:
    computer = world.computer(new_name("desk"), token=customer.admin_token, bridge=keys.target)
    key = enrolled(world, computer, keys)
    cloud, on_key, site = (
        world.product(new_name(kind), locations=[where])
        for kind, where in (("cloud", CLOUD), ("key", KEY), ("site", SITE))
    )
    end = Timestamp()
    end.FromDatetime(datetime(2026, 3, 1, tzinfo=UTC))
    rules: dict[str, Any] = {"newest_version": "7", "maintenance_end_time": end}
    world.license(customer.account, cloud, **rules)
    keyed = world.license(customer.account, on_key, **rules)
    world.seats(customer.account, site, 2, **rules)
    world.keypeg(computer, "activation", "create", keyed.name, "--key", key)

    def app(product: str, version: str, released: str) -> Program:
        where = ("--location", "key") if product == on_key else ("--cloud", "open")
        told = ("--app-version", version, "--app-released", released)
        return world.app(new_name("app"), computer, product, *where, *told)

    products = (cloud, on_key, site)
    covered = [app(product, "7.4.2", "2026-02-28") for product in products]
    newer = [app(product, "8.0", "2026-02-28") for product in products]
    later = [app(product, "7.5", "2026-03-01") for product in products]
    for one in covered:
        one.expect("running")
    for one, rule in [(a, "newest_version") for a in newer] + [
        (a, "maintenance_end") for a in later
    ]:
        stopped = one.expect("stopped")
        assert stopped["reason"] == "VERSION_NOT_COVERED", stopped
        assert stopped["metadata"]["rule"] == rule
        assert "7.x" in stopped["sentence"]
        assert "publisher" in stopped["sentence"]
    for one in covered:
        one.stop()


@pytest.mark.behaviour("LIC-6")
def test_an_app_on_this_computer_never_notices_cloud_sessions_nor_that_the_server_is_gone(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("eq"), locations=[CLOUD, HOST])
    end = Timestamp()
    end.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    owned = world.license(customer.account, product, activations=2, expire_time=end)
    desk, other = (world.computer(new_name("pc"), token=customer.member_token) for _ in range(2))
    world.keypeg(desk, "activation", "create", owned.name, "--here")
    here = world.app(new_name("app"), desk, product, "--location", "host")
    in_cloud = world.app(new_name("app"), desk, product, "--location", "cloud", "--cloud", "open")
    for app in (here, in_cloud):
        app.expect("running")
    world.open_cloud(customer.member, customer.account, other)
    assert in_cloud.expect("stopped")["reason"] == "CLOUD_SESSION_MOVED"
    world.keypeg(other, "session", "close")

    assert world.server is not None
    world.server.stop()
    try:
        offline = world.app(new_name("app"), desk, product)
        step = world.lab.folder / new_name("step")
        step.write_text("3600")  # the document allows it until the end of the license, not longer
        in_an_hour = {
            "PYTHONPATH": str(Path(__file__).parent / "clockstep"),
            "KEYPEG_TEST_CLOCK_STEP": str(step),
        }
        late = world.app(new_name("app"), desk, product, "--location", "host", env=in_an_hour)
        offline.expect("running")
        assert late.expect("stopped")["reason"] == "DOCUMENT_EXPIRED"
        assert [one["event"] for one in here.events] == ["started", "running"]
    finally:
        world.serve()


@pytest.mark.behaviour("LIC-6")
@pytest.mark.long
def test_an_app_on_a_key_never_notices_cloud_sessions_nor_that_the_server_is_gone(
    world: World, customer: Customer, keys: KeyLab, new_name: Namer
) -> None:
    product = world.product(new_name("synth"), locations=[CLOUD, KEY])
    owned = world.license(customer.account, product, activations=2)
    seats = world.product(new_name("solver"), locations=[SITE])
    world.seats(customer.account, seats, 1)
    desk = world.computer(new_name("desk"), token=customer.admin_token, bridge=keys.target)
    other = world.computer(new_name("other"), token=customer.member_token)
    key = enrolled(world, desk, keys)
    world.keypeg(desk, "activation", "create", owned.name, "--key", key)
    unbothered = [
        world.app(new_name("app"), desk, product, "--location", "key"),
        world.app(new_name("app"), other, seats, "--location", "site", "--seat"),
    ]
    for app in unbothered:
        app.expect("running")
    unbothered[1].expect("seat")
    in_cloud = world.app(new_name("app"), desk, product, "--location", "cloud", "--cloud", "open")
    in_cloud.expect("running")
    world.keypeg(other, "session", "open")  # moves it
    assert in_cloud.expect("stopped")["reason"] == "CLOUD_SESSION_MOVED"
    world.keypeg(desk, "session", "open")
    for step in (("mode", "managed"), ("remove", owned.name), ("add", owned.name), ("close",)):
        world.keypeg(desk, "session", *step)
    world.keypeg(desk, "session", "mode", "automatic")
    fresh = world.app(new_name("app"), desk, product, "--location", "key")
    fresh.expect("running")
    assert [one["event"] for one in unbothered[0].events] == ["started", "running"]
    assert [one["event"] for one in unbothered[1].events] == ["started", "running", "seat"]

    assert world.server is not None
    world.server.stop()
    try:
        offline = world.app(new_name("app"), desk, product, "--location", "key")
        offline.expect("running")
        assert [one["event"] for one in fresh.events] == ["started", "running"]
        for app in (unbothered[0], fresh, offline):
            app.stop()
    finally:
        world.serve()
    unbothered[1].stop()
