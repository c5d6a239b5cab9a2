"""The cloud session's table: every transition by name, and what is absent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from keypeg.errors import CloudSessionClosed, CloudSessionElsewhere, LicenseUnsuitable
from keypeg_server.domain.cloud_session import (
    TABLE,
    CloudEffect,
    CloudEvent,
    CloudMode,
    CloudSession,
    CloudState,
    Holder,
    check_held_by,
    check_take_out,
    closed,
    license_freed,
    opened,
)

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
A, B = Holder("device-a", "studio"), Holder("device-b", "laptop")
USER = "accounts/acme/users/anna"


def session(mode: CloudMode = CloudMode.AUTOMATIC) -> CloudSession:
    return CloudSession("acme", mode=mode)


def held_by(holder: Holder, mode: CloudMode = CloudMode.AUTOMATIC) -> CloudSession:
    return opened(session(mode), holder, USER, NOW, keep_elsewhere=False).session


def test_the_table_misses_only_what_can_not_happen_or_is_refused() -> None:
    absent = {
        (state, mode, event)
        for state, mode, event in product(CloudState, CloudMode, CloudEvent)
        if (state, mode, event) not in TABLE
    }
    assert absent == {
        (CloudState.CLOSED, CloudMode.AUTOMATIC, CloudEvent.MOVE),  # nobody to move it from
        (CloudState.CLOSED, CloudMode.MANAGED, CloudEvent.MOVE),
        (CloudState.OPEN, CloudMode.AUTOMATIC, CloudEvent.TAKE_OUT),
    }


def test_no_event_changes_the_mode() -> None:
    assert all(mode is after for (_, mode, _), (_, after, _) in TABLE.items())


@pytest.mark.parametrize(
    ("mode", "effects"),
    [(CloudMode.AUTOMATIC, (CloudEffect.ACTIVATE_FREE,)), (CloudMode.MANAGED, ())],
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
    outcome = closed(held_by(A, mode))
    assert outcome.session.state is CloudState.CLOSED
    assert (outcome.session.holder, outcome.session.open_time) == (None, None)
    assert (outcome.effects, outcome.left) == (effects, A)


def test_closing_what_is_closed_changes_nothing() -> None:
    outcome = closed(session())
    assert (outcome.session, outcome.effects, outcome.left) == (session(), (), None)


def test_a_freed_license_is_activated_only_when_open_and_automatic() -> None:
    wanted = {
        (state, mode): (CloudEffect.ACTIVATE_FREE,)
        if (state, mode) == (CloudState.OPEN, CloudMode.AUTOMATIC)
        else ()
        for state, mode in product(CloudState, CloudMode)
    }
    for (state, mode), effects in wanted.items():
        assert license_freed(CloudSession("acme", mode=mode, state=state)) == effects


def test_nothing_is_taken_out_of_an_open_automatic_cloud() -> None:
    with pytest.raises(LicenseUnsuitable) as refused:
        check_take_out(held_by(A))
    assert refused.value.metadata["rule"] == "automatic_mode"
    check_take_out(session())
    check_take_out(held_by(A, CloudMode.MANAGED))


def test_only_the_device_that_holds_it_may_use_it() -> None:
    check_held_by(held_by(A), "device-a")
    with pytest.raises(CloudSessionElsewhere):
        check_held_by(held_by(A), "device-b")
    with pytest.raises(CloudSessionClosed) as refused:
        check_held_by(session(), "device-a")
    assert refused.value.metadata["cloud_session"] == "accounts/acme/cloudSession"
