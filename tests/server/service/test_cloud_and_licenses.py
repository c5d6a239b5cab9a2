"""Licenses, activations and the cloud session together, on a real database."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, timedelta

import pytest

from keypeg import errors
from keypeg.document import verify_delegation, verify_license
from keypeg_server.domain import events
from keypeg_server.domain.cloud_session import CloudMode, CloudState, Holder
from keypeg_server.domain.license import Feature
from keypeg_server.service.activations import ActivationView
from keypeg_server.service.store import Page, Request
from tests.server.service.office import CLOUD, DAW, KEY, SITE, START, Office

ALL = Page("", 1_000)
DAY = timedelta(days=1)


async def in_cloud(office: Office) -> tuple[str, ...]:
    return (await office.cloud_of("studio")).activations


async def test_a_license_may_not_allow_more_than_its_product(office: Office) -> None:
    await office.product("tuner", allowed_locations=frozenset({CLOUD}))
    with pytest.raises(errors.LocationNotAllowed) as refused:
        await office.license(
            "publishers/acme/products/tuner", allowed_locations=frozenset({CLOUD, KEY})
        )
    assert refused.value.metadata["allowed"] == "cloud"
    assert await office.licenses.list_licenses("studio", ALL) == []


async def test_a_license_switches_on_only_what_its_product_lists(office: Office) -> None:
    await office.product("mixer", features=("surround",))
    await office.product("suite", "mixer")
    mixer, suite = "publishers/acme/products/mixer", "publishers/acme/products/suite"
    await office.license(mixer, features=(Feature("surround"),))
    await office.license(suite, features=(Feature("surround", 2),), seat_count=2)
    with pytest.raises(errors.FieldInvalid, match="no feature 'atmos'"):
        await office.license(mixer, features=(Feature("atmos"),))
    with pytest.raises(errors.FieldInvalid, match="has seats"):
        await office.license(mixer, features=(Feature("surround", 2),))
    with pytest.raises(errors.FieldInvalid, match="counted at a site"):
        await office.license(mixer, seat_count=2, allowed_locations=frozenset({CLOUD}))


async def test_a_bundle_names_products_that_are_there(office: Office) -> None:
    await office.product("eq")
    await office.product("pack", "daw", "eq")
    for wrong in ("nothing", "pack"):
        with pytest.raises(errors.FieldInvalid):
            await office.product("pack2", "daw", wrong)
    with pytest.raises(errors.AlreadyExists):
        await office.product("pack", "daw")


async def test_opening_in_automatic_mode_activates_every_free_license(office: Office) -> None:
    await office.product("eq")
    free = await office.license()
    other = await office.license("publishers/acme/products/eq")
    counted = await office.license(seat_count=3)
    view = await office.open_cloud("a")
    assert view.session.state is CloudState.OPEN
    assert view.session.mode is CloudMode.AUTOMATIC
    activated = {name.split("/")[3] for name in view.activations}
    assert activated == {free.id, other.id}
    assert counted.id not in activated


async def test_a_license_deposited_while_open_is_activated_at_once(office: Office) -> None:
    await office.open_cloud("a")
    office.events.clear()
    owned = await office.license()
    assert len(await in_cloud(office)) == 1
    view = await office.licenses.get_license("studio", owned.id)
    assert view.used_count == 1
    assert view.license.first_activate_time == START
    added = [event for event in office.events if isinstance(event, events.LicenseAdded)]
    assert added
    assert all(event.license == owned.name and event.products == (DAW,) for event in added)


async def test_closing_in_automatic_mode_gives_everything_back(office: Office) -> None:
    owned = await office.license()
    await office.open_cloud("a")
    assert await in_cloud(office)
    office.events.clear()
    view = await office.close_cloud()
    assert (view.session.state, view.activations) == (CloudState.CLOSED, ())
    assert events.CloudSessionClosed("accounts/studio", "device-a", "a") in office.events
    assert (await office.licenses.get_license("studio", owned.id)).used_count == 0
    await office.close_cloud()


async def test_opening_elsewhere_moves_it_and_tells(office: Office) -> None:
    await office.open_cloud("a")
    view = await office.open_cloud("b")
    assert view.moved_from_host_name == "a"
    moved = events.CloudSessionMoved("accounts/studio", "device-a", "device-b", "b")
    assert moved in office.events
    with pytest.raises(errors.CloudSessionElsewhere) as refused:
        await office.open_cloud("a", keep_elsewhere=True)
    assert refused.value.metadata["host_name"] == "b"
    assert (await office.open_cloud("b")).session.generation == view.session.generation


@pytest.mark.parametrize("keep_elsewhere", [True, False])
async def test_of_devices_that_open_at_the_same_instant_one_holds_it(
    office: Office, keep_elsewhere: bool
) -> None:
    devices = "abcdefgh"
    results = await asyncio.gather(
        *(office.open_cloud(one, keep_elsewhere=keep_elsewhere) for one in devices),
        return_exceptions=True,
    )
    holder = (await office.cloud_of("studio")).session.holder
    won = [result for result in results if not isinstance(result, BaseException)]
    assert isinstance(holder, Holder)
    if keep_elsewhere:
        assert len(won) == 1
        lost = [one for one in results if isinstance(one, errors.CloudSessionElsewhere)]
        assert len(lost) == len(devices) - 1
        assert {one.metadata["host_name"] for one in lost} == {holder.host_name}
    else:
        assert len(won) == len(devices)
        moves = [one for one in office.events if isinstance(one, events.CloudSessionMoved)]
        assert len(moves) == len(devices) - 1
        assert moves[-1].to_host_name == holder.host_name


async def test_what_another_location_gives_back_goes_to_the_open_cloud(office: Office) -> None:
    await office.open_cloud("a")
    counted = await office.license(seat_count=2)
    view = await office.activate(counted, "site")
    owned = await office.license()
    assert len(await in_cloud(office)) == 1
    await office.take_back(view)
    assert {name.split("/")[3] for name in await in_cloud(office)} == {owned.id}


async def test_taking_one_out_of_the_cloud_switches_to_managed_mode(office: Office) -> None:
    owned = await office.license()
    view = await office.activate(owned, "cloud")
    await office.open_cloud("a")
    office.events.clear()
    await office.take_back(view)
    assert events.CloudModeChanged("accounts/studio") in office.events
    after = await office.cloud_of("studio")
    assert (after.session.mode, after.activations) == (CloudMode.MANAGED, ())
    assert after.session.state is CloudState.OPEN
    again = await office.set_mode(CloudMode.AUTOMATIC)
    assert {name.split("/")[3] for name in again.activations} == {owned.id}


async def test_seats_become_a_pool_for_each_product_of_a_bundle(office: Office) -> None:
    await office.product("eq")
    await office.product("pack", "daw", "eq")
    owned = await office.license("publishers/acme/products/pack", seat_count=5)
    view = await office.activate(owned, "site")
    products = [pool.product for pool in view.activation.pools]
    assert products == [DAW, "publishers/acme/products/eq"]
    created = [one.pool for one in office.events if isinstance(one, events.PoolCreated)]
    assert created == [pool.name for pool in view.activation.pools]
    again = await office.activations.get_activation("studio", owned.id, view.activation.id)
    assert again == view


async def test_seats_that_are_held_are_not_taken_away(office: Office) -> None:
    owned = await office.license(seat_count=5)
    view = await office.activate(owned, "site")
    (pool,) = view.activation.pools
    office.pools.in_use = {pool.name}
    with pytest.raises(errors.PoolRule):
        await office.take_back(view)
    assert (await office.licenses.get_license("studio", owned.id)).used_count == 1
    office.pools.in_use = set()
    office.events.clear()
    await office.take_back(view)
    assert events.PoolRemoved(pool.name) in office.events
    assert office.pools.retired == {pool.name}
    with pytest.raises(errors.NotFound):
        await office.take_back(view)


async def test_when_the_end_fails_the_pools_go_on(office: Office) -> None:
    owned = await office.license(seat_count=5)
    view = await office.activate(owned, "site")
    one = view.activation
    request: Request[bool] = office.request([])
    broken = replace(request, answer=lambda _: (_ for _ in ()).throw(RuntimeError("disk")))
    with pytest.raises(RuntimeError):
        await office.activations.delete_activation(broken, one.account, one.license, one.id)
    assert office.pools.retired == set()
    await office.activations.get_activation("studio", owned.id, one.id)


@pytest.mark.behaviour("SEAT-1")
async def test_an_end_that_fails_gives_no_seats_of_what_another_one_ends(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned = await office.license(seat_count=5)
    one = (await office.activate(owned, "site")).activation
    retired_at_its_end: list[bool] = []

    def fail(_: bool) -> bytes:
        office.database.submit(lambda _: failed.wait(5))  # before the other one's end
        raise RuntimeError("disk")

    def end(_: bool) -> bytes:
        retired_at_its_end.append(bool(office.pools.retired))
        return b"done"

    failed = threading.Event()
    request: Request[bool] = office.request([])
    broken: Request[bool] = replace(request, answer=fail)
    right: Request[bool] = replace(request, id=str(uuid.uuid4()), answer=end)

    async def broken_one() -> None:
        with pytest.raises(RuntimeError):
            await office.activations.delete_activation(broken, one.account, one.license, one.id)
        failed.set()

    retire, began = office.pools.retire, asyncio.Event()

    async def retiring(pools: Sequence[str]) -> None:
        await retire(pools)
        began.set()

    monkeypatch.setattr(office.pools, "retire", retiring)
    first = asyncio.create_task(broken_one())
    await began.wait()
    await office.activations.delete_activation(right, one.account, one.license, one.id)
    await first
    assert retired_at_its_end == [True]


async def test_the_document_of_an_activation_is_what_the_root_stands_behind(
    office: Office,
) -> None:
    owned = await office.license(seat_count=5, term_days=30, type=3)
    view = await office.activate(owned, "site")
    delegation = verify_delegation(
        view.delegation,
        publisher="publishers/acme",
        root=office.root.public_key.key,
        now=START,
    )
    document = verify_license(view.document, delegation, START)
    assert document.activation == view.activation.name
    assert document.location == "accounts/studio/locations/site"
    assert document.location_key == office.site.public_key
    assert (document.seat_count, list(document.opens_products)) == (5, [DAW])
    assert document.expire_time.ToDatetime(tzinfo=UTC) == START + 30 * DAY


async def test_a_term_in_days_begins_once(office: Office) -> None:
    owned = await office.license(term_days=30)
    await office.open_cloud("a")
    await office.close_cloud()
    office.clock.now += 10 * DAY
    await office.open_cloud("a")
    view = await office.licenses.get_license("studio", owned.id)
    assert view.license.ends_at == START + 30 * DAY
    office.clock.now = START + 31 * DAY
    await office.close_cloud()
    await office.open_cloud("a")
    assert await in_cloud(office) == ()
    with pytest.raises(errors.LicenseExpired):
        await office.activate(owned, "cloud")


async def test_a_request_that_comes_again_changes_nothing(office: Office) -> None:
    owned = await office.license(activation_count=2)
    done: list[ActivationView] = []
    request = office.request(done, id="r1", body=b"one")
    for _ in range(2):
        await office.activations.create_activation(request, "studio", owned.id, "cloud")
    assert len(done) == 1
    with pytest.raises(errors.RequestIdReused):
        await office.activations.create_activation(
            replace(request, body=b"other"), "studio", owned.id, "cloud"
        )
    assert (await office.licenses.get_license("studio", owned.id)).used_count == 1


async def test_who_goes_away_does_not_stop_what_was_begun(office: Office) -> None:
    opening = asyncio.ensure_future(office.open_cloud("a"))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    view = await office.open_cloud("b")
    assert view.moved_from_host_name == "a"
    assert any(isinstance(one, events.CloudSessionMoved) for one in office.events)


@pytest.mark.parametrize("location", ["nowhere", "cloud2"])
async def test_a_location_that_is_not_there_is_not_found(office: Office, location: str) -> None:
    owned = await office.license()
    with pytest.raises(errors.NotFound):
        await office.activate(owned, location)


async def test_an_account_has_its_cloud_and_its_site_from_the_start(office: Office) -> None:
    places = await office.locations.list_locations("studio", ALL)
    assert {place.id: place.kind for place in places} == {"cloud": CLOUD, "site": SITE}
    assert all(place.create_time is None for place in places)


async def test_lists_go_on_where_the_page_before_ended(office: Office) -> None:
    made = [await office.license() for _ in range(5)]
    first = await office.licenses.list_licenses("studio", Page("", 2))
    rest = await office.licenses.list_licenses("studio", Page(first[-1].license.id, 10))
    assert [view.license for view in [*first, *rest]] == made
