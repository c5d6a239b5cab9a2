"""Groups on a real database: whose cloud is meant, who waits, who is told, and what is left of who goes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from keypeg import errors, names
from keypeg_server.domain import events
from keypeg_server.domain.account import Account, AccountKind
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.domain.cloud_session import CloudMode
from keypeg_server.domain.license import License
from keypeg_server.domain.license_life import Who
from keypeg_server.service.active_devices import ActiveDevices
from keypeg_server.service.cloud import CloudService
from keypeg_server.service.cloud_of import Whose
from keypeg_server.service.cloud_watching import CloudWatching
from keypeg_server.service.ports import AppInfo, DeviceInfo
from tests.server.service.office import DAW, PUBLISHER, Office

APP = AppInfo("daw", "2.0", "test", 1)
GROUP = "band"


@pytest.fixture
async def band(office: Office) -> tuple[Caller, Caller, Caller]:
    """Three members of a group."""
    await office.account(GROUP, AccountKind.GROUP)
    return (
        await office.user("ann", GROUP),
        await office.user("bea", GROUP),
        await office.user("cid", GROUP),
    )


def id_of(caller: Caller) -> str:
    return names.USER.parse(caller.user)[1]


async def owned(office: Office, count: int, **fields: Any) -> License:
    return await office.license(account=GROUP, activation_count=count, **fields)


async def opened(office: Office, caller: Caller, device: str = "pc") -> int:
    """How much is in the member's cloud after it."""
    office.clock.now += timedelta(seconds=1)
    view = await office.open_cloud(device, account=GROUP, member=id_of(caller))
    return len(view.activations)


async def has(office: Office, caller: Caller) -> int:
    return len((await office.cloud_of(GROUP, id_of(caller))).activations)


async def test_what_one_closes_goes_to_who_has_waited_for_longest(
    office: Office, band: tuple[Caller, Caller, Caller]
) -> None:
    ann, bea, cid = band
    await owned(office, 1)
    assert [await opened(office, one) for one in (ann, cid, bea)] == [1, 0, 0]
    await office.close_cloud("pc", account=GROUP, member=id_of(ann))
    assert [await has(office, one) for one in band] == [0, 0, 1]


async def test_an_app_that_comes_too_late_is_told_who_has_it(
    office: Office, band: tuple[Caller, Caller, Caller]
) -> None:
    ann, bea, _ = band
    license = await owned(office, 1)
    await opened(office, ann, "annpc")
    await opened(office, bea)
    admit = office.entitlements.admit
    found = await admit(ann, DeviceInfo("device-annpc", ""), APP, DAW, ())
    assert found.location == f"accounts/{GROUP}/locations/cloud-{id_of(ann)}"
    with pytest.raises(errors.ActivationsExhausted) as refused:
        await admit(bea, DeviceInfo("device-pc", ""), APP, DAW, ())
    assert refused.value.metadata["holders"] == "ann (on annpc)"
    await office.key_place("k9", account=GROUP)
    with pytest.raises(errors.ActivationsExhausted) as refused:
        await office.activate(license, "k9")
    assert refused.value.metadata["holders"] == "ann (on annpc)"


async def test_cloud_means_one_s_own_and_that_of_others_is_not_there(
    office: Office, band: tuple[Caller, Caller, Caller]
) -> None:
    ann, bea, _ = band
    license = await owned(office, 3)

    async def put(place: str, who: Who = Who.MEMBER) -> None:
        await office.activations.create_activation(
            office.request([]), GROUP, license.id, place, ann.user, who
        )

    await put("cloud")
    assert (await has(office, ann), await has(office, bea)) == (1, 0)
    await opened(office, bea)
    await office.set_mode(CloudMode.MANAGED, account=GROUP, member=id_of(bea))
    await office.choose(remove=[license.id], account=GROUP, member=id_of(bea))
    theirs = f"cloud-{id_of(bea)}"
    with pytest.raises(errors.NotFound):
        await put(theirs)
    await put(theirs, Who.ADMIN)
    assert await has(office, bea) == 1
    with pytest.raises(errors.NotFound):
        await office.activations.create_activation(
            office.request([]), GROUP, license.id, "cloud"
        )  # of a group as such


async def test_who_goes_is_cut_off_first_and_leaves_nothing(
    office: Office, band: tuple[Caller, Caller, Caller]
) -> None:
    ann, bea, _ = band
    await owned(office, 1)
    await opened(office, ann)
    await opened(office, bea)
    office.events.clear()
    await office.accounts.delete_user(office.request([]), PUBLISHER, GROUP, id_of(ann))
    told = [type(one) for one in office.events]
    assert told[0] is events.MemberCutOff
    assert told.index(events.LicenseRemoved) < told.index(events.UserRemoved)
    assert await has(office, bea) == 1
    with pytest.raises(errors.NotFound):
        await has(office, ann)
    place = f"cloud-{id_of(ann)}"
    assert await office.store.read(lambda unit: unit.places.location(GROUP, place)) is None


async def test_devices_are_counted_for_each_member(
    office: Office, band: tuple[Caller, Caller, Caller]
) -> None:
    devices = ActiveDevices(office.store, office.clock, 1)
    office.cloud = CloudService(office.store, office.clock, office.placing, office.changes, devices)
    for one in band:
        await opened(office, one, f"pc-{one.login}")
    shown = await devices.show(GROUP)
    assert sorted(one.host_name for one in shown.devices) == ["pc-ann", "pc-bea", "pc-cid"]


async def test_who_watches_hears_of_one_cloud_session(
    office: Office, band: tuple[Caller, Caller, Caller]
) -> None:
    ann, bea, _ = band
    watching = CloudWatching(office.cloud.get, office.hub)
    boss = Caller("accounts/band/users/boss", "boss", "accounts/band", Role.ADMIN, "t")
    stream = watching.watch(ann, Whose(GROUP, asker=id_of(ann)))
    over_ann = watching.watch(boss, Whose(GROUP, id_of(ann)))
    for one in (stream, over_ann):
        assert (await anext(one)).view.session.member == id_of(ann)
    await opened(office, bea)
    await office.accounts.delete_user(office.request([]), PUBLISHER, GROUP, id_of(ann))
    with pytest.raises(errors.MemberRemoved):
        await anext(stream)
    with pytest.raises(errors.NotFound):
        await anext(over_ann)


async def test_a_group_that_becomes_personal_starts_anew(
    office: Office, band: tuple[Caller, Caller, Caller]
) -> None:
    await owned(office, 2)
    for one in band:
        await opened(office, one)
    done: list[Account] = []
    await office.groups.set_kind(office.request(done), GROUP, AccountKind.PERSONAL)
    assert done[0].kind is AccountKind.PERSONAL
    view = await office.open_cloud("pc", account=GROUP)
    assert (view.session.member, len(view.activations)) == ("", 1)
    await office.groups.set_kind(office.request(done), GROUP, AccountKind.GROUP)
    assert await opened(office, band[0]) == 1
    found = await office.groups.list_of(GROUP, office.all)
    assert [one.session.member for one in found] == [id_of(band[0])]


async def test_who_has_something_and_never_opened_is_named_and_gives_it_back(
    office: Office, band: tuple[Caller, Caller, Caller]
) -> None:
    ann, bea, _ = band
    license = await owned(office, 1)
    create = office.activations.create_activation
    await create(office.request([]), GROUP, license.id, "cloud", ann.user, Who.MEMBER)
    with pytest.raises(errors.ActivationsExhausted) as refused:
        await create(office.request([]), GROUP, license.id, "cloud", bea.user, Who.MEMBER)
    assert refused.value.metadata["holders"] == "ann (reserved, while it is closed)"
    await office.groups.set_kind(office.request([]), GROUP, AccountKind.PERSONAL)
    assert not await office.store.read(lambda unit: unit.licenses.list_activations(GROUP))
