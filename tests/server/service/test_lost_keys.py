"""Lost keys: refused from the report on, and replaced as publishers allow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keypeg import errors
from keypeg.v1.document_pb2 import LicenseDocument
from keypeg_server.domain.key_contents import Standing
from keypeg_server.domain.key_loss import DEFAULT, KeyLossPolicy, free_time
from keypeg_server.domain.location import Location
from keypeg_server.service.key_losses import Loss, Replacement
from tests.server.service.office import Office
from tests.server.service.test_locations import CARD, Card, authorized, enrolled
from tests.server.service.test_receipts_of_keys import Desk, contents_of

SPARE = "ff" * 16
DAY = timedelta(days=1)
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
async def desk(office: Office) -> Desk:
    return await Desk.furnished(office)


async def reported(desk: Desk, location: Location | None = None) -> Loss:
    done: list[Loss] = []
    one = location or desk.location
    await desk.office.losses.report(desk.office.request(done), "studio", one.id, "left in a train")
    return done[0]


async def replaced(
    desk: Desk, new: Location, old: Location | None = None, **options: Any
) -> Replacement:
    done: list[Replacement] = []
    request = desk.office.request(done)
    lost = (old or desk.location).id
    options = {"beyond_policy": False, **options}
    await desk.office.losses.replace(request, "studio", lost, new.id, **options)
    return done[0]


async def test_a_lost_key_is_refused_everywhere_at_the_server(desk: Desk) -> None:
    loss = await reported(desk)
    assert loss.location.lost_time == desk.office.clock.now
    (outlook,) = loss.outlooks
    assert (outlook.free_time, outlook.refusal) == (desk.office.clock.now, "")
    with pytest.raises(errors.KeyLost):
        await authorized(desk.office, factory=False)
    with pytest.raises(errors.KeyLost):
        await desk.begin()
    with pytest.raises(errors.KeyLost):
        await desk.office.activate(await desk.office.license(), desk.location.id)
    checked = await desk.check(desk.view.contents)
    assert checked.standing is Standing.LOST
    (statement,) = checked.statements
    contents = contents_of(statement.contents)
    assert (contents.lost, contents.version, len(contents.entries)) == (True, 2, 0)
    (said,) = await desk.recorded("key_lost")
    assert (said["reason"], said["card"]) == ("left in a train", CARD)
    assert len(await desk.recorded("lost_key_seen")) == 1
    again = await reported(desk)
    assert again.location.lost_time == loss.location.lost_time
    assert len(await desk.recorded("key_lost")) == 1


async def test_its_licenses_go_to_a_replacement_with_a_higher_generation(desk: Desk) -> None:
    await reported(desk)
    new = await enrolled(desk.office, Card(), card_id=SPARE)
    made = await replaced(desk, new)
    assert [one.activation for one in made.moved] == [desk.view.activation.name]
    assert made.left == ()
    one = desk.view.activation
    view = await desk.office.activations.get_activation("studio", one.license, one.id)
    document = LicenseDocument.FromString(view.document.payload)
    assert (document.generation, document.location) == (2, new.name)
    assert document.location_key.key == new.public_key
    assert contents_of(view.contents).location == new.name
    assert (await replaced(desk, new)).moved == (), "nothing is left to move"
    assert len(await desk.recorded("activation_moved")) == 1


async def test_a_lost_key_s_license_can_be_taken_back_without_a_receipt(desk: Desk) -> None:
    await reported(desk)
    await desk.delete(None)
    assert await desk.used() == 0


async def test_a_publisher_s_policy_holds_licenses_back_and_its_staff_may_go_beyond_it(
    office: Office,
) -> None:
    policy = KeyLossPolicy(1, 365 * DAY, 3 * DAY)
    product = await office.product("strict", key_loss=policy)
    desk = await Desk.furnished(office)
    owned = await office.license(product.name)
    strict = await office.activate(owned, desk.location.id)
    loss = await reported(desk)
    waits = next(one for one in loss.outlooks if one.product == product.name)
    assert waits.free_time == office.clock.now + 3 * DAY
    assert "wait" in waits.refusal.lower()
    new = await enrolled(office, Card(), card_id=SPARE)
    made = await replaced(desk, new)
    assert [one.product for one in made.left] == [product.name]
    with pytest.raises(errors.KeyLossPolicy) as refused:
        await office.take_back(strict)
    assert refused.value.metadata["rule"] == "wait"
    office.clock.now += 3 * DAY
    assert [one.product for one in (await replaced(desk, new)).moved] == [product.name]
    # The next loss within the year is one too many.
    await reported(desk, new)
    third = await enrolled(office, Card(), card_id="ee" * 16)
    made = await replaced(desk, third, new)
    assert [one.product for one in made.left] == [product.name]
    assert "1 times in 365 days" in made.left[0].refusal
    made = await replaced(desk, third, new, beyond_policy=True)
    assert [one.product for one in made.moved] == [product.name]


async def test_what_can_not_be_replaced(desk: Desk) -> None:
    new = await enrolled(desk.office, Card(), card_id=SPARE)
    with pytest.raises(errors.FieldInvalid, match="was not reported lost"):
        await replaced(desk, new)
    await reported(desk)
    await reported(desk, new)
    with pytest.raises(errors.KeyLost):
        await replaced(desk, new)
    none: list[Loss] = []
    request = desk.office.request(none)
    with pytest.raises(errors.FieldInvalid, match="is no key"):
        await desk.office.losses.report(request, "studio", "cloud", "gone")
    with pytest.raises(errors.NotFound):
        await desk.office.losses.report(request, "studio", "nowhere", "gone")


async def test_a_license_that_is_on_the_replacement_already_stays(desk: Desk) -> None:
    new = await enrolled(desk.office, Card(), card_id=SPARE)
    license = await desk.office.store.read(
        lambda unit: unit.licenses.license("studio", desk.view.activation.license)
    )
    assert license is not None
    await desk.office.activate(license, new.id)
    await reported(desk)
    made = await replaced(desk, new)
    assert made.moved == ()
    assert "lives on" in made.left[0].refusal


async def test_a_lost_key_that_was_reset_is_another_key(desk: Desk) -> None:
    await reported(desk)
    card = Card()
    again = await enrolled(desk.office, card)
    assert again.id != desk.location.id
    assert again.lost_time is None
    await authorized(desk.office, factory=False)
    checked = await desk.check(by=card)
    assert checked.location.id == again.id
    assert (await desk.check()).standing is Standing.LOST


CASES = [
    ("at once", DEFAULT, [], NOW),
    ("after a wait", KeyLossPolicy(1, 30 * DAY, 2 * DAY), [], NOW + 2 * DAY),
    ("never", KeyLossPolicy(0, 30 * DAY, 0 * DAY), [], None),
    ("used up", KeyLossPolicy(1, 30 * DAY, 0 * DAY), [NOW - DAY], NOW + 29 * DAY),
    ("long ago", KeyLossPolicy(1, 30 * DAY, 0 * DAY), [NOW - 30 * DAY], NOW),
    (
        "two of two",
        KeyLossPolicy(2, 30 * DAY, 0 * DAY),
        [NOW - 9 * DAY, NOW - DAY],
        NOW + 21 * DAY,
    ),
    ("one of two", KeyLossPolicy(2, 30 * DAY, 0 * DAY), [NOW - DAY], NOW),
    (
        "beyond it before",
        KeyLossPolicy(1, 30 * DAY, 0 * DAY),
        [NOW - 9 * DAY, NOW - DAY],
        NOW + 29 * DAY,
    ),
]


@pytest.mark.parametrize(
    ("policy", "moves", "free"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_from_when_a_license_may_leave_a_lost_key(
    policy: KeyLossPolicy, moves: list[datetime], free: datetime | None
) -> None:
    assert free_time(policy, NOW, moves, NOW) == free
