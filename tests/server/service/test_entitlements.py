"""What lets an app run, on a real database: the answer's content. The decision's cases are in domain/."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from keypeg import errors
from keypeg.document import verify_delegation, verify_grant, verify_license, verify_site_grant
from keypeg.v1.document_pb2 import Grant
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.domain.license import Feature
from keypeg_server.domain.location import LocationKind
from keypeg_server.service import homes_port
from keypeg_server.service.ports import AppInfo, DeviceInfo, Entitlement
from keypeg_server.service.store import Unit
from tests.server.service.office import DAW, PUBLISHER, START, Office

A, B = DeviceInfo("device-a", "a"), DeviceInfo("device-b", "b")
APP = AppInfo("daw", "2.0", "test", 1)
STAFF = Caller("accounts/-/users/p", "p", None, Role.PUBLISHER, "t")


async def admitted(
    office: Office, caller: Caller, device: DeviceInfo = A, product: str = DAW
) -> Entitlement:
    return await office.entitlements.admit(caller, device, APP, product, ())


async def test_a_cloud_license_opens_every_product_of_its_bundle(office: Office) -> None:
    anna = await office.user("anna")
    await office.product("eq", offline_grace=timedelta(seconds=42), features=("hd",))
    await office.product("pack", "daw", "eq")
    pack, eq = "publishers/acme/products/pack", "publishers/acme/products/eq"
    owned = await office.license(pack, features=(Feature("hd"),))
    await office.open_cloud("a")
    found = await admitted(office, anna, product=eq)
    assert found.products == (DAW, eq)
    assert (found.license, found.product, found.features) == (owned.name, eq, ("hd",))
    assert (found.valid_for, found.seat_required) == (timedelta(seconds=42), False)
    assert (found.location_kind, found.pools) == (LocationKind.CLOUD, ())
    assert found.site_license is None
    with pytest.raises(errors.CloudSessionElsewhere):
        await admitted(office, anna, B)


async def test_a_site_license_opens_its_product_with_a_seat(office: Office) -> None:
    anna = await office.user("anna")
    view = await office.activate(await office.license(seat_count=2), "site")
    found = await admitted(office, anna)
    assert found.pools == (view.activation.pools[0].name,)
    assert (found.products, found.seat_required) == ((DAW,), True)
    assert found.valid_for == timedelta(seconds=60)
    assert found.site_license is not None
    assert found.site_license.envelope == view.document


async def test_of_two_pools_the_emptier_one_is_chosen(office: Office) -> None:
    anna = await office.user("anna")
    views = [await office.activate(await office.license(seat_count=2), "site") for _ in "ab"]
    first, second = (view.activation.pools[0].name for view in views)
    office.held = {first: 1}
    assert (await admitted(office, anna)).pools == (second,)
    office.held = {second: 1}
    assert (await admitted(office, anna)).pools == (first,)


async def test_who_holds_seats_stays_with_their_license_as_long_as_it_serves(
    office: Office,
) -> None:
    anna = await office.user("anna")
    ends = START + timedelta(hours=1)
    few = await office.license(seat_count=2, expire_time=ends)
    many = await office.license(seat_count=9)
    views = [await office.activate(one, "site") for one in (few, many)]
    first, second = (view.activation.pools[0].name for view in views)
    await office.license()
    await office.open_cloud("a")

    async def pools() -> tuple[str, ...]:
        return (await office.entitlements.admit(anna, A, APP, DAW, (), (first,))).pools

    assert (
        await admitted(office, anna)
    ).pools == ()  # the cloud comes first, and then the emptier pool
    assert await pools() == (first,)
    office.clock.now = ends
    assert await pools() == ()
    await office.close_cloud()
    assert await pools() == (second,)


async def test_who_holds_a_seat_keeps_it_when_the_cloud_would_serve_too(office: Office) -> None:
    anna = await office.user("anna")
    view = await office.activate(await office.license(seat_count=2), "site")
    pool = view.activation.pools[0].name
    await office.license()
    await office.open_cloud("a")
    assert (await admitted(office, anna)).pools == ()
    held = await office.entitlements.admit(anna, A, APP, DAW, (), (pool,))
    assert held.pools == (pool,)


async def test_a_grant_does_not_outlive_its_license(office: Office) -> None:
    anna = await office.user("anna")
    await office.license(expire_time=START + timedelta(seconds=30))
    await office.open_cloud("a")
    assert (await admitted(office, anna)).valid_for == timedelta(seconds=30)
    office.clock.now += timedelta(seconds=30)
    with pytest.raises(errors.LicenseExpired):
        await admitted(office, anna)


async def test_who_has_no_license_is_told_so(office: Office) -> None:
    anna = await office.user("anna")
    with pytest.raises(errors.LicenseMissing):
        await admitted(office, anna)
    with pytest.raises(errors.LicenseMissing):
        await admitted(office, anna, product="publishers/acme/products/none")
    with pytest.raises(errors.LicenseMissing):
        await admitted(office, STAFF)


async def test_one_account_s_license_is_of_no_use_to_another(office: Office) -> None:
    await office.account("other")
    bob = await office.user("bob", account="other")
    await office.license()
    await office.open_cloud("a")
    with pytest.raises(errors.LicenseMissing):
        await admitted(office, bob)


async def test_an_app_that_is_too_old_is_told_which_version_to_get(office: Office) -> None:
    anna = await office.user("anna")
    await office.product("new", minimum_app_version="2.1")
    with pytest.raises(errors.ClientTooOld) as refused:
        await admitted(office, anna, product="publishers/acme/products/new")
    assert refused.value.metadata["minimum_version"] == "2.1"


async def test_grants_are_signed_by_the_publisher_s_or_the_site_s_key(office: Office) -> None:
    anna = await office.user("anna")
    await office.activate(await office.license(seat_count=2), "site")
    found = await admitted(office, anna)
    root = office.root.public_key.key
    delegation = verify_delegation(found.delegation, publisher=None, root=root, now=START)
    grant = Grant(session="sessions/s", publisher="publishers/acme")
    cloud = office.signing.sign_grant("publishers/acme", grant, None)
    assert verify_grant(cloud, delegation, START) == grant
    assert found.site_license is not None
    document = verify_license(found.site_license.envelope, delegation, START)
    site = office.signing.sign_grant("publishers/acme", grant, found.site_license)
    assert verify_site_grant(site, document) == grant
    with pytest.raises(errors.SignerUnknown):
        verify_site_grant(cloud, document)
    with pytest.raises(errors.NotFound):
        office.signing.sign_grant("publishers/other", grant, None)


async def test_who_was_removed_runs_nothing_whoever_let_them_in_before(office: Office) -> None:
    """A stream that was let in before the removal may send its first frame after it."""
    anna = await office.user("anna")
    await office.license()
    await office.open_cloud("a")
    await admitted(office, anna)
    (_, account, _, id) = anna.user.split("/")
    await office.accounts.delete_user(office.request([]), PUBLISHER, account, id)
    with pytest.raises(errors.TokenInvalid):
        await admitted(office, anna)


async def test_who_asks_again_costs_no_read_until_somebody_changes_something(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = await office.user("anna")
    await office.license(DAW)
    await office.open_cloud("a")
    first = await admitted(office, anna)
    reads: list[object] = []
    read = office.store.read

    async def counted(look: Callable[[Unit], object]) -> object:
        reads.append(look)
        return await read(look)

    monkeypatch.setattr(office.store, "read", counted)
    assert await admitted(office, anna) == first
    assert not reads
    await office.open_cloud("b")
    with pytest.raises(errors.CloudSessionElsewhere):
        await admitted(office, anna)
    assert len(reads) == 1


async def test_what_an_app_says_of_itself_is_not_remembered(office: Office) -> None:
    anna = await office.user("anna")
    await office.product("new", minimum_app_version="2.1")
    new = "publishers/acme/products/new"
    await office.activate(await office.license(new, seat_count=2), "site")
    for number in range(1, 9):
        app = AppInfo("daw", f"2.{number}", "test", number)
        await office.entitlements.admit(anna, A, app, new, ())
    assert len(office.entitlements._known) == 1
    with pytest.raises(errors.ClientTooOld):
        await office.entitlements.admit(anna, A, AppInfo("daw", "2.0", "test", 1), new, ())
    await office.entitlements.admit(anna, A, None, new, ())


async def test_what_was_found_before_still_ends_with_its_license(office: Office) -> None:
    anna = await office.user("anna")
    await office.license(DAW, expire_time=START + timedelta(hours=1))
    await office.open_cloud("a")
    await admitted(office, anna)
    office.clock.now = START + timedelta(hours=2)
    with pytest.raises(errors.LicenseExpired):
        await admitted(office, anna)


async def test_when_the_license_in_the_cloud_ends_its_free_copy_takes_over(office: Office) -> None:
    """Automatic mode leaves nothing free that serves: not what a copy covered that has ended since."""
    anna = await office.user("anna")
    first = await office.license(expire_time=START + timedelta(hours=1))
    second = await office.license()
    await office.open_cloud("a")
    assert (await admitted(office, anna)).license == first.name
    office.clock.now += timedelta(hours=1)
    assert (await admitted(office, anna)).license == second.name
    with pytest.raises(errors.CloudSessionElsewhere):
        await admitted(office, anna, B)


async def test_what_admission_writes_is_written_for_the_account_whatever_brought_it_about(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the fence finds out when the account is served by another server."""
    anna = await office.user("anna")
    ends = START + timedelta(hours=1)
    await office.license(expire_time=ends)
    await office.license()
    await office.open_cloud("a")
    office.clock.now = ends
    written: list[tuple[str, ...]] = []
    change = office.store.change

    async def noted(work: Callable[[Unit], object]) -> object:
        written.append(homes_port.parents())
        return await change(work)

    monkeypatch.setattr(office.store, "change", noted)
    with homes_port.acting_for("publishers/acme"):
        await admitted(office, anna)
    assert written == [(anna.account,)]


async def test_a_license_is_activated_though_a_copy_that_has_ended_is_in_the_cloud(
    office: Office,
) -> None:
    anna = await office.user("anna")
    await office.license(expire_time=START + timedelta(hours=1))
    await office.open_cloud("a")
    office.clock.now += timedelta(hours=1)
    renewed = await office.license()
    assert renewed.name in {one.rpartition("/activations/")[0] for one in await in_cloud(office)}
    assert (await admitted(office, anna)).license == renewed.name


async def in_cloud(office: Office) -> tuple[str, ...]:
    """The activations in the cloud."""
    return (await office.cloud_of("studio")).activations
