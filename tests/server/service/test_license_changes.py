"""Changes of licenses that come first: applied before anything else, or in the way of it; on a real database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from keypeg import errors
from keypeg.key_contents import entry_of
from keypeg.v1.document_pb2 import Envelope
from keypeg.v1.key_contents_pb2 import KeyContents
from keypeg_server.domain.capacity import Capacity, us
from keypeg_server.domain.cloud_session import CloudMode
from keypeg_server.domain.license import License, LicenseState
from keypeg_server.domain.license_change import ChangeKind, Edit, LicenseChange
from keypeg_server.domain.license_life import Access, Switch, Switches, Who
from keypeg_server.service import key_contents
from keypeg_server.service.activations import ActivationView
from keypeg_server.service.license_life import Asked, Lived
from keypeg_server.service.store import Page
from tests.server.service.cloud_stage import NothingLent
from tests.server.service.office import CLOUD, DAW, HOST, KEY, Office

HOUR = timedelta(hours=1)
ALL = Page("", 1_000)
BOTH = frozenset({CLOUD, KEY})


def asked(
    license: License, office: Office, *, who: Who = Who.PUBLISHER, later: bool = False
) -> Asked:
    when = office.clock.now + HOUR if later else None
    return Asked("studio", license.id, who, "accounts/-/users/ada", "because", when)


async def commanded(
    office: Office, license: License, kind: ChangeKind, *, later: bool = False
) -> Lived:
    done: list[Lived] = []
    await office.life.command(office.request(done), asked(license, office, later=later), kind)
    return done[0]


async def edited(office: Office, license: License, edit: Edit) -> Lived:
    done: list[Lived] = []
    await office.life.edit(office.request(done), asked(license, office), edit)
    return done[0]


async def moved(
    office: Office, license: License, activation: str, target: str = "", *, who: Who = Who.PUBLISHER
) -> Lived:
    done: list[Lived] = []
    await office.life.move(
        office.request(done), asked(license, office, who=who), activation, target, None
    )
    return done[0]


async def recovered(office: Office, license: License, activation: str, who: Who) -> Lived:
    done: list[Lived] = []
    await office.life.recover(office.request(done), asked(license, office, who=who), activation)
    return done[0]


async def stored(office: Office, license: License) -> License:
    return (await office.licenses.get_license("studio", license.id)).license


async def changes(office: Office) -> list[LicenseChange]:
    return await office.life.list_changes("studio", None, ALL)


async def contents(office: Office, place: str) -> KeyContents:
    def look(unit: object) -> Envelope:
        location = unit.places.location("studio", place)  # type: ignore[attr-defined]  # a Unit
        now = office.clock.wall()
        return key_contents.statement(unit, office.signing, location, "acme", now).contents  # type: ignore[arg-type]

    found = await office.store.read(look)
    return KeyContents.FromString(found.payload)


def more(office: Office) -> Capacity:
    """One activation, for an hour."""
    return Capacity("", 0, 1, us(office.clock.now), us(office.clock.now + HOUR))


@dataclass
class Scene:
    """A license that is in the cloud, with one more activation."""

    office: Office
    license: License
    view: ActivationView

    @property
    def activation(self) -> str:
        return self.view.activation.id


async def scene(office: Office) -> Scene:
    await office.set_mode(CloudMode.MANAGED)
    await office.key_place("k1")
    license = await office.license(activation_count=2)
    return Scene(office, license, await office.activate(license, "cloud"))


# Everything that is done with a license.
Action = Callable[[Scene], Awaitable[object]]
ACTIONS: dict[str, Action] = {
    "activate": lambda s: s.office.activate(s.license, "k1"),
    "take back": lambda s: s.office.take_back(s.view),
    "begin to take back": lambda s: s.office.activations.begin_deactivation(
        s.office.request([]), "studio", s.license.id, s.activation, Who.PUBLISHER
    ),
    "choose for the cloud": lambda s: s.office.choose([s.license.id]),
    "take out of the cloud": lambda s: s.office.choose([], [s.license.id]),
    "suspend": lambda s: commanded(s.office, s.license, ChangeKind.SUSPEND),
    "resume": lambda s: commanded(s.office, s.license, ChangeKind.RESUME),
    "revoke": lambda s: commanded(s.office, s.license, ChangeKind.REVOKE),
    "change": lambda s: edited(s.office, s.license, Edit(activation_count=9)),
    "move": lambda s: moved(s.office, s.license, s.activation),
    "recover": lambda s: recovered(s.office, s.license, s.activation, Who.PUBLISHER),
    "add capacity": lambda s: s.office.capacities.add(
        s.office.request([]), "studio", s.license.id, more(s.office)
    ),
    "remove capacity": lambda s: s.office.capacities.remove(
        s.office.request([]), "studio", s.license.id, "none", NothingLent()
    ),
}
# Of the account's cloud session, which is about all of its licenses.
ON_ACCOUNT: dict[str, Action] = {
    "open": lambda s: s.office.open_cloud("a"),
    "close": lambda s: s.office.close_cloud("a"),
    "set the mode": lambda s: s.office.set_mode(CloudMode.AUTOMATIC),
}


@pytest.mark.parametrize("action", [*ACTIONS, *ON_ACCOUNT])
async def test_what_was_planned_is_there_before_anything_else_is_done(
    office: Office, action: str
) -> None:
    there = await scene(office)
    planned = await commanded(office, there.license, ChangeKind.SUSPEND, later=True)
    assert planned.change is not None
    assert (await stored(office, there.license)).state is LicenseState.ACTIVE
    office.clock.now += HOUR
    refused: errors.KeypegError | None = None
    try:
        await {**ACTIONS, **ON_ACCOUNT}[action](there)
    except errors.KeypegError as error:
        refused = error
    await office.changes.apply_due(lambda _: True)
    after = await stored(office, there.license)
    if action == "suspend":  # it was before
        assert isinstance(refused, errors.LicenseUnsuitable)
    if action in ("activate", "move", "choose for the cloud"):
        in_cloud = action == "choose for the cloud"  # where it is already
        assert in_cloud or isinstance(refused, errors.LicenseSuspended)
    states = {"resume": LicenseState.ACTIVE, "revoke": LicenseState.REVOKED}
    assert after.state is states.get(action, LicenseState.SUSPENDED)
    assert (await changes(office), after.next_change_time) == ([], None)


@pytest.mark.parametrize("action", list(ACTIONS))
async def test_nothing_is_done_while_a_change_waits_for_a_key(office: Office, action: str) -> None:
    there = await scene(office)
    on_key = await office.activate(there.license, "k1")
    waiting = await moved(office, there.license, on_key.activation.id)
    assert waiting.change is not None
    assert waiting.change.waits_for == "k1"
    before = await office.activations.list_activations("studio", there.license.id, ALL)
    with pytest.raises(errors.PendingChange) as refused:
        await ACTIONS[action](there)
    assert refused.value.metadata["change"] == waiting.change.name
    assert await office.activations.list_activations("studio", there.license.id, ALL) == before


async def test_a_planned_change_is_applied_without_anybody_asking(office: Office) -> None:
    there = await scene(office)
    await commanded(office, there.license, ChangeKind.SUSPEND, later=True)
    await office.changes.apply_due(lambda _: True)
    assert (await stored(office, there.license)).state is LicenseState.ACTIVE
    office.clock.now += HOUR
    await office.changes.apply_due(lambda _: False)  # another server's
    assert (await stored(office, there.license)).state is LicenseState.ACTIVE
    await office.changes.apply_due(lambda _: True)
    assert (await stored(office, there.license)).state is LicenseState.SUSPENDED


async def test_changes_are_applied_in_their_order(office: Office) -> None:
    there = await scene(office)
    await commanded(office, there.license, ChangeKind.SUSPEND, later=True)
    office.clock.now += HOUR / 2
    done: list[Lived] = []
    ask = asked(there.license, office)
    await office.life.edit(
        office.request(done),
        replace(ask, apply_time=office.clock.now + HOUR / 4),
        Edit(activation_count=5),
    )
    office.clock.now += HOUR
    await office.choose([], [there.license.id])
    after = await stored(office, there.license)
    assert (after.state, after.activation_count) == (LicenseState.SUSPENDED, 5)


async def test_what_can_not_be_applied_any_more_is_dropped(office: Office) -> None:
    there = await scene(office)
    await commanded(office, there.license, ChangeKind.SUSPEND, later=True)
    await commanded(office, there.license, ChangeKind.REVOKE)
    office.clock.now += HOUR
    await office.changes.apply_due(lambda _: True)
    assert await changes(office) == []
    assert (await stored(office, there.license)).state is LicenseState.REVOKED


async def test_a_canceled_change_leaves_the_license_on_its_key(office: Office) -> None:
    await office.key_place("k1")
    license = await office.license()
    view = await office.activate(license, "k1")
    waiting = await moved(office, license, view.activation.id)
    assert waiting.change is not None
    entry = entry_of(view.activation.name)
    told = await contents(office, "k1")
    assert [(one.activation, one.generation) for one in told.withdrawn] == [(entry, 2)]
    with pytest.raises(errors.SwitchedOff):
        await office.life.cancel_change(
            office.request([]), asked(license, office, who=Who.ADMIN), waiting.change.id
        )
    await office.life.cancel_change(office.request([]), asked(license, office), waiting.change.id)
    told = await contents(office, "k1")
    assert not told.withdrawn
    assert [(one.activation, one.generation) for one in told.entries] == [(entry, 2)]
    assert (await stored(office, license)).waits_for == ""


async def test_a_key_that_is_lost_keeps_no_change_waiting(office: Office) -> None:
    await office.key_place("k1")
    license = await office.license()
    view = await office.activate(license, "k1")
    await moved(office, license, view.activation.id, "cloud")
    await office.losses.report(office.request([]), "studio", "k1", "Left in a train")
    found = await office.activations.list_activations("studio", license.id, ALL)
    assert [one.location for one in found] == ["cloud"]
    assert (await stored(office, license)).waits_for == ""


async def test_a_suspended_license_is_withdrawn_from_its_key_and_comes_back_with_a_new_document(
    office: Office,
) -> None:
    await office.key_place("k1")
    license = await office.license()
    view = await office.activate(license, "k1")
    entry = entry_of(view.activation.name)
    before = await contents(office, "k1")
    await commanded(office, license, ChangeKind.SUSPEND)
    told = await contents(office, "k1")
    assert told.version > before.version
    assert ([one.activation for one in told.withdrawn], list(told.entries)) == ([entry], [])
    await commanded(office, license, ChangeKind.RESUME)
    told = await contents(office, "k1")
    assert [(one.activation, one.generation) for one in told.entries] == [(entry, 2)]


async def test_a_license_that_may_live_elsewhere_only_leaves_where_it_is(office: Office) -> None:
    there = await scene(office)
    on_key = await office.activate(there.license, "k1")
    lived = await edited(office, there.license, Edit(allowed_locations=frozenset({CLOUD})))
    assert lived.view.license.waits_for == "k1"
    (change,) = await changes(office)
    assert (change.kind, change.activation) == (ChangeKind.MOVE, on_key.activation.id)
    other = await office.license(activation_count=2)
    await office.choose([other.id], [])
    await edited(office, other, Edit(allowed_locations=frozenset({KEY})))
    assert await office.activations.list_activations("studio", other.id, ALL) == []


@pytest.mark.parametrize(
    ("edit", "rule"),
    [
        (Edit(activation_count=1), "activations_used"),
        (Edit(seat_count=3), "counting_stays"),
    ],
)
async def test_a_change_takes_nothing_from_under_anybody(
    office: Office, edit: Edit, rule: str
) -> None:
    there = await scene(office)
    await office.activate(there.license, "k1")
    with pytest.raises((errors.LicenseUnsuitable, errors.FieldInvalid)) as refused:
        await edited(office, there.license, edit)
    assert refused.value.metadata.get("rule", rule) == rule
    assert (await stored(office, there.license)).activation_count == 2


async def test_recovering_reports_the_key_lost_as_the_policy_allows(office: Office) -> None:
    await office.key_place("k1")
    license = await office.license()
    view = await office.activate(license, "k1")
    with pytest.raises(errors.SwitchedOff):
        await recovered(office, license, view.activation.id, Who.ADMIN)
    await recovered(office, license, view.activation.id, Who.PUBLISHER)
    assert await office.activations.list_activations("studio", license.id, ALL) == []
    assert (await office.locations.get_location("studio", "k1")).lost_time is not None


async def test_keys_are_activated_where_they_are(office: Office) -> None:
    await office.key_place("k1")
    license = await office.license()
    with pytest.raises(errors.ActivateThere) as refused:
        await office.activations.create_activation(office.request([]), "studio", license.id, "k1")
    assert refused.value.metadata["location"] == "accounts/studio/locations/k1"
    await office.at_hand("k1")
    office.clock.now += timedelta(minutes=10)  # and was taken away
    with pytest.raises(errors.ActivateThere):
        await office.activations.create_activation(office.request([]), "studio", license.id, "k1")
    await office.activate(license, "k1")


async def test_computers_are_activated_by_themselves_once_for_each_time(office: Office) -> None:
    here = await office.computer("desk-1")
    first, second = [await office.license(allowed_locations=frozenset({HOST})) for _ in range(2)]
    await office.activate(first, here.id)
    with pytest.raises(errors.ActivateThere) as refused:
        await office.activate(second, here.id)
    assert refused.value.metadata["location"] == here.name
    assert "--here" in refused.value.sentence
    await office.computer("desk-1")
    office.clock.now += timedelta(minutes=10)  # and was switched off
    with pytest.raises(errors.ActivateThere):
        await office.activate(second, here.id)
    assert (await office.computer("desk-1")).id == here.id
    await office.activate(second, here.id)


async def test_a_computer_is_no_key_whatever_its_device_is_called(office: Office) -> None:
    await office.key_place("k1")
    key = await office.locations.get_location("studio", "k1")
    await office.computer(key.card_id)
    license = await office.license()
    with pytest.raises(errors.ActivateThere):
        await office.activations.create_activation(office.request([]), "studio", license.id, "k1")


async def test_a_license_that_accounts_may_not_move_stays_where_it_is(office: Office) -> None:
    switches = Switches().with_set({Switch.MOVE: Access.NOBODY})
    await office.product("fixed", switches=switches)
    license = await office.license(DAW.replace("daw", "fixed"))
    await office.set_mode(CloudMode.MANAGED)
    view = await office.activate(license, "cloud")
    with pytest.raises(errors.SwitchedOff):
        await moved(office, license, view.activation.id, who=Who.ADMIN)
    await moved(office, license, view.activation.id)
