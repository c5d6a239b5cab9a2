"""The cloud session's table: every transition by name, and what is absent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

from keypeg.errors import CloudSessionClosed, CloudSessionElsewhere
from keypeg_server.domain.cloud_session import (
    IMPLIES,
    TABLE,
    CloudEffect,
    CloudEvent,
    CloudMode,
    CloudSession,
    CloudState,
    Holder,
    check_held_by,
    closed,
    license_freed,
    opened,
    put_in,
    switched,
    taken_out,
)

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
A, B = Holder("device-a", "studio"), Holder("device-b", "laptop")
USER = "accounts/acme/users/anna"


def session(mode: CloudMode = CloudMode.AUTOMATIC) -> CloudSession:
    return CloudSession("acme", mode=mode)


def held_by(holder: Holder, mode: CloudMode = CloudMode.AUTOMATIC) -> CloudSession:
    return opened(session(mode), holder, USER, NOW, keep_elsewhere=False).session


AUTOMATIC, MANAGED = CloudMode
ARRANGE, RELEASE = (CloudEffect.ARRANGE,), (CloudEffect.RELEASE_ALL,)


def test_the_table_misses_only_what_can_not_happen() -> None:
    absent = {
        (state, mode, event)
        for state, mode, event in product(CloudState, CloudMode, CloudEvent)
        if (state, mode, event) not in TABLE
    }
    assert absent == {  # nobody holds it
        (CloudState.CLOSED, mode, event)
        for mode in CloudMode
        for event in (CloudEvent.MOVE, CloudEvent.CLOSE_ELSEWHERE)
    }


def test_only_a_person_changes_the_mode() -> None:
    changing = {
        (state, mode, event, after)
        for (state, mode, event), (_, after, _) in TABLE.items()
        if mode is not after
    }
    wanted = {
        (AUTOMATIC, CloudEvent.TAKE_OUT, MANAGED),
        (AUTOMATIC, CloudEvent.SET_MANAGED, MANAGED),
        (MANAGED, CloudEvent.SET_AUTOMATIC, AUTOMATIC),
    }
    assert changing == {
        (state, mode, event, after) for state in CloudState for mode, event, after in wanted
    }


def test_nothing_is_left_outside_of_an_open_automatic_cloud_and_nothing_in_one_that_closes() -> (
    None
):
    for (state, mode, event), (after, mode_after, effects) in TABLE.items():
        if (after, mode_after) == (CloudState.OPEN, AUTOMATIC):
            assert effects == (() if event is CloudEvent.PUT_IN else ARRANGE), (state, mode, event)
        elif effects:
            assert effects == RELEASE, (state, mode, event)
            assert after is CloudState.CLOSED, (state, mode, event)
            assert mode_after is AUTOMATIC or event is CloudEvent.END, (state, mode, event)


def test_the_mode_says_what_it_implies() -> None:
    assert (AUTOMATIC.letter, MANAGED.letter) == ("A", "M")
    for (state, mode), sentence in IMPLIES.items():
        shown = CloudSession("acme", mode=mode, state=state)
        assert shown.implies == sentence
        assert sentence.startswith(mode.name.lower())
    assert len(set(IMPLIES.values())) == 4


@pytest.mark.parametrize("state", CloudState)
@pytest.mark.parametrize("mode", CloudMode)
def test_setting_the_mode(state: CloudState, mode: CloudMode) -> None:
    before = CloudSession("acme", mode=mode, state=state, generation=5)
    same = switched(before, mode)
    assert same.session == before
    other = MANAGED if mode is AUTOMATIC else AUTOMATIC
    outcome = switched(before, other)
    assert (outcome.session.mode, outcome.session.state) == (other, state)
    assert outcome.session.generation == 6
    if other is MANAGED:  # what is there was chosen by that
        assert outcome.effects == ()
    else:
        assert outcome.effects == (RELEASE if state is CloudState.CLOSED else ARRANGE)


@pytest.mark.parametrize("state", CloudState)
@pytest.mark.parametrize("mode", CloudMode)
def test_taking_one_out_makes_it_managed_and_putting_one_in_does_not(
    state: CloudState, mode: CloudMode
) -> None:
    before = CloudSession("acme", mode=mode, state=state, generation=5)
    out = taken_out(before)
    assert (out.session.mode, out.effects) == (MANAGED, ())
    assert out.session.generation == (6 if mode is AUTOMATIC else 5)
    assert put_in(before).session == before
    assert put_in(before).effects == ()


@pytest.mark.parametrize(
    ("mode", "effects"),
    [(CloudMode.AUTOMATIC, (CloudEffect.ARRANGE,)), (CloudMode.MANAGED, ())],
)
def test_opening_holds_it_for_one_device(mode: CloudMode, effects: tuple[CloudEffect, ...]) -> None:
    outcome = opened(session(mode), A, USER, NOW, keep_elsewhere=True)
    assert outcome.session.state is CloudState.OPEN
    assert (outcome.session.holder, outcome.session.user) == (A, USER)
    assert (outcome.session.open_time, outcome.session.generation) == (NOW, 1)
    assert (outcome.effects, outcome.left) == (effects, None)


def test_opening_where_it_is_open_changes_nothing() -> None:
    before = held_by(A)
    outcome = opened(before, A, "accounts/acme/users/bea", LATER, keep_elsewhere=False)
    assert (outcome.session, outcome.left) == (before, None)


def test_a_device_that_renamed_itself_keeps_its_open_time() -> None:
    outcome = opened(held_by(A), Holder("device-a", "new"), USER, LATER, keep_elsewhere=False)
    assert outcome.left is None
    assert outcome.session.open_time == NOW
    assert outcome.session.holder == Holder("device-a", "new")


def test_opening_elsewhere_moves_it_and_says_from_where() -> None:
    outcome = opened(held_by(A), B, USER, LATER, keep_elsewhere=False)
    assert (outcome.session.holder, outcome.left) == (B, A)
    assert (outcome.session.open_time, outcome.session.generation) == (LATER, 2)


def test_one_who_would_not_move_it_is_told_who_has_it() -> None:
    with pytest.raises(CloudSessionElsewhere) as refused:
        opened(held_by(A), B, USER, LATER, keep_elsewhere=True)
    assert refused.value.metadata["device"] == "device-a"
    assert refused.value.metadata["host_name"] == "studio"
    assert "studio" in refused.value.sentence


@pytest.mark.parametrize(
    ("mode", "effects"),
    [(CloudMode.AUTOMATIC, (CloudEffect.RELEASE_ALL,)), (CloudMode.MANAGED, ())],
    ids=["automatic gives all back", "managed keeps it reserved"],
)
def test_closing_frees_it(mode: CloudMode, effects: tuple[CloudEffect, ...]) -> None:
    outcome = closed(held_by(A, mode), A.device)
    assert outcome.session.state is CloudState.CLOSED
    assert (outcome.session.holder, outcome.session.open_time) == (None, None)
    assert (outcome.effects, outcome.left) == (effects, A)


@pytest.mark.parametrize("mode", CloudMode)
def test_closing_from_elsewhere_moves_it_there_and_closes_it(mode: CloudMode) -> None:
    here, there = closed(held_by(A, mode), A.device), closed(held_by(A, mode), B.device)
    assert there.left == A
    assert there.effects == here.effects
    assert (here.session.generation, there.session.generation) == (2, 3)  # moved, and closed
    assert there.session == replace(here.session, generation=3)


def test_closing_what_is_closed_changes_nothing() -> None:
    outcome = closed(session(), A.device)
    assert (outcome.session, outcome.effects, outcome.left) == (session(), (), None)


def test_a_freed_license_is_activated_only_when_open_and_automatic() -> None:
    wanted = {
        (state, mode): (CloudEffect.ARRANGE,)
        if (state, mode) == (CloudState.OPEN, CloudMode.AUTOMATIC)
        else ()
        for state, mode in product(CloudState, CloudMode)
    }
    for (state, mode), effects in wanted.items():
        assert license_freed(CloudSession("acme", mode=mode, state=state)) == effects


def test_only_the_device_that_holds_it_may_use_it() -> None:
    check_held_by(held_by(A), "device-a")
    with pytest.raises(CloudSessionElsewhere):
        check_held_by(held_by(A), "device-b")
    with pytest.raises(CloudSessionClosed) as refused:
        check_held_by(session(), "device-a")
    assert refused.value.metadata["cloud_session"] == "accounts/acme/cloudSession"


def test_the_table_in_the_documentation_is_this_one() -> None:
    rows = []
    for (state, mode, event), (after, mode_after, effects) in TABLE.items():
        cells = [state.name.lower(), mode.name.lower(), event.value]
        cells += [after.name.lower(), mode_after.name.lower()]
        cells.append(", ".join(effect.value for effect in effects) or "nothing")
        rows.append(f"| {' | '.join(cells)} |")
    page = (Path(__file__).parents[3] / "docs" / "cloud.md").read_text()
    assert "\n".join(rows) in page
