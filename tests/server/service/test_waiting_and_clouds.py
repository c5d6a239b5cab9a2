"""What waits for a key, or is planned, and clouds: where licenses go when nothing is in their way any more."""

from __future__ import annotations

import pytest

from keypeg import errors
from keypeg_server.domain.account import AccountKind
from keypeg_server.domain.license_change import Edit
from keypeg_server.domain.location import LocationKind
from tests.server.service.cloud_sight import Sight
from tests.server.service.cloud_stage import OWNED, Stage
from tests.server.service.office import Office

KEYS_ONLY = frozenset({LocationKind.KEY})


async def staged(office: Office, kind: AccountKind) -> Stage:
    for product in [*OWNED][1:]:
        await office.product(product)
    return await Stage.made(office, "home", kind)


@pytest.fixture
async def home(office: Office) -> Stage:
    """A personal account; amp waits for its key, with one of its two activations, to go to the cloud."""
    return await staged(office, AccountKind.PERSONAL)


@pytest.fixture
async def band(office: Office) -> Stage:
    """A group, in which amp waits to go to the cloud of ann."""
    return await staged(office, AccountKind.GROUP)


async def clouds(stage: Stage) -> list[str]:
    return (await Sight.of(stage)).clouds()


async def facts(stage: Stage) -> set[str]:
    return (await Sight.of(stage)).facts()


@pytest.mark.behaviour("CLOUD-8")
async def test_what_a_canceled_move_leaves_free_goes_to_the_open_cloud(home: Stage) -> None:
    await home.open("ann", "a")
    assert await clouds(home) == ["a automatic: daw eq syn"]
    await home.cancel("amp")
    assert await clouds(home) == ["a automatic: amp daw eq syn"]
    assert "amp on k3" in await facts(home)


@pytest.mark.behaviour("CLOUD-8")
async def test_when_a_key_was_reached_what_is_left_free_goes_to_who_waits(band: Stage) -> None:
    await band.open("bea", "c")
    assert await clouds(band) == ["ann closed automatic: -", "bea c automatic: daw eq syn"]
    await band.reach("amp")
    assert await clouds(band) == ["ann closed automatic: amp", "bea c automatic: amp daw eq syn"]


async def test_nobody_waits_for_a_key_that_was_reported_lost(home: Stage) -> None:
    await home.lose("k3")
    assert await clouds(home) == ["closed automatic: amp"]
    assert not {"amp waits", "amp on k3"} & await facts(home)


async def test_nobody_waits_for_a_key_that_is_lost_by_recovering_another_license(
    home: Stage,
) -> None:
    home.licenses["other"] = await home.deposit("old")
    await home.activate("other", "k3")
    await home.remember("other")
    await home.recover("other")
    assert await clouds(home) == ["closed automatic: amp"]


@pytest.mark.behaviour("LIC-12")
async def test_a_license_is_put_into_the_cloud_of_a_member_who_never_had_one(band: Stage) -> None:
    await band.open("ann", "a")
    await band.remember("daw")
    await band.move("daw", "bea")
    assert await clouds(band) == ["ann a managed: eq syn", "bea closed automatic: daw"]


async def test_nothing_is_taken_from_one_for_another_who_is_suspended(band: Stage) -> None:
    await band.open("ann", "a")
    await band.remember("daw")
    await band.move("daw", "bea", band.hour)
    await band.end("bea", suspend=True)
    with pytest.raises(errors.MemberSuspended):
        await band.move("daw", "bea")
    await band.an_hour()  # and what was planned is dropped
    assert await clouds(band) == ["ann a automatic: daw eq", "bea closed automatic: -"]


@pytest.mark.parametrize("key", ["reached", "lost"])
async def test_what_was_to_go_to_a_member_who_was_removed_is_free(band: Stage, key: str) -> None:
    await band.open("bea", "c")
    await band.delete_user("ann")
    await (band.reach("amp") if key == "reached" else band.lose("k3"))
    assert await clouds(band) == ["bea c automatic: amp daw eq syn"]
    assert not {"amp waits", "amp on k3"} & await facts(band)


UNBLOCKED = {
    "resumed": (
        lambda band: band.resume("ann"),
        ["ann closed automatic: amp", "bea closed automatic: -"],
    ),
    "removed": (lambda band: band.delete_user("ann"), ["bea closed automatic: -"]),
    "all alone": (lambda band: band.set_kind(AccountKind.PERSONAL), ["closed automatic: -"]),
}


@pytest.mark.parametrize("how", UNBLOCKED)
async def test_what_left_a_lost_key_for_a_suspended_member_waits_no_longer_than_that(
    band: Stage, how: str
) -> None:
    await band.end("ann", suspend=True)
    await band.lose("k3")
    assert {"amp waits", "amp on k3"} <= await facts(band)
    unblock, wanted = UNBLOCKED[how]
    await unblock(band)
    assert await clouds(band) == wanted
    assert not {"amp waits", "amp on k3"} & await facts(band)


async def test_who_is_removed_while_they_ask_hears_of_that(band: Stage) -> None:
    await band.delete_user("ann")
    with pytest.raises(errors.MemberRemoved) as refused:
        await band.open("ann", "a")
    assert refused.value.metadata["account"] == "accounts/home"


@pytest.mark.behaviour("LIC-9")
@pytest.mark.parametrize("how", ["ended", "removed"])
async def test_what_was_planned_comes_before_the_end_of_a_cloud_session(
    band: Stage, how: str
) -> None:
    await band.open("ann", "a")
    await band.remember("daw")
    await band.move("daw", "bea", band.hour)
    band.office.clock.now = band.hour
    await (band.end("ann") if how == "ended" else band.delete_user("ann"))
    assert (await clouds(band))[-1] == "bea closed automatic: daw"


async def test_a_license_is_changed_while_it_is_somewhere_by_temporary_capacity(
    home: Stage,
) -> None:
    await home.open("ann", "a")
    await home.edit("syn", Edit(activation_count=1))
    assert await clouds(home) == ["a automatic: daw eq syn"]
    await home.edit("syn", Edit(allowed_locations=KEYS_ONLY))
    assert await clouds(home) == ["a automatic: daw eq"]
    assert "syn on k4" in await facts(home)
