"""Temporary capacity: what is there when, and by what an activation is placed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.errors import LicenseUnsuitable, LimitExceeded
from keypeg_server.domain.capacity import (
    CAPACITY_LIMIT,
    ENDED_SHOWN,
    Capacity,
    CapacityState,
    activations_at,
    added,
    falls,
    from_json,
    next_change_us,
    room,
    seats_at,
    to_json,
)

SPRING = Capacity("spring", 5, 0, 100, 200, "a fair")
SUMMER = Capacity("summer", 2, 0, 150, 300)
EXTRA = Capacity("extra", 0, 2, 100, 200)
LONGER = Capacity("longer", 0, 1, 100, 400)

moments = st.integers(0, 1_000)
capacities = st.lists(
    st.builds(
        lambda number, seats, start, length: Capacity(str(number), seats, 0, start, start + length),
        st.integers(0, 10**6),
        st.integers(0, 9),
        moments,
        st.integers(1, 500),
    ),
    max_size=6,
)


@dataclass(frozen=True)
class Placed:
    capacity: str = ""


@pytest.mark.parametrize(
    ("now", "state", "seats"),
    [
        (99, CapacityState.PLANNED, 0),
        (100, CapacityState.ACTIVE, 5),
        (150, CapacityState.ACTIVE, 7),
        (199, CapacityState.ACTIVE, 7),
        (200, CapacityState.ENDED, 2),
        (300, CapacityState.ENDED, 0),
    ],
)
def test_what_is_planned_is_there_from_its_start_to_its_end(
    now: int, state: CapacityState, seats: int
) -> None:
    assert SPRING.state_at(now) is state
    assert seats_at((SPRING, SUMMER), now) == seats


@given(capacities, moments)
def test_nothing_changes_before_the_next_change(found: list[Capacity], now: int) -> None:
    change = next_change_us(found, now)
    until = 2_000 if change is None else change
    assert {seats_at(found, moment) for moment in (now, until - 1)} == {seats_at(found, now)}


@given(capacities, moments)
def test_seats_go_only_at_the_moments_that_are_told(found: list[Capacity], now: int) -> None:
    told = {now, *falls(found, now, 2_000)}
    before = seats_at(found, now)
    for moment in sorted({one for c in found for one in (c.start_us, c.end_us)}):
        after = seats_at(found, moment)
        if moment > now and after < before:
            assert moment in told
        before = after if moment > now else before


@pytest.mark.parametrize(
    ("others", "by"),
    [
        ([], True),
        ([Placed()], LONGER),
        ([Placed(), Placed("longer")], EXTRA),
        ([Placed(), Placed("longer"), Placed("extra")], EXTRA),
        ([Placed(), Placed("longer"), Placed("extra"), Placed("extra")], False),
        ([Placed("longer")], True),
    ],
)
def test_an_activation_is_placed_by_the_licenses_own_first_and_then_by_what_lasts_longest(
    others: list[Placed], by: Capacity | bool
) -> None:
    assert room(1, (EXTRA, LONGER), others, 150) == by
    assert activations_at((EXTRA, LONGER), 150) == 3


def test_what_is_not_there_places_nothing() -> None:
    assert room(1, (EXTRA,), [Placed()], 99) is False
    assert room(1, (EXTRA,), [Placed()], 200) is False


def test_seats_are_for_licenses_with_seats_and_activations_for_those_without() -> None:
    assert added((), SPRING, "l1", counted=True, now_us=0) == (SPRING,)
    assert added((), EXTRA, "l1", counted=False, now_us=0) == (EXTRA,)
    for new, counted, rule in (
        (SPRING, False, "capacity_needs_seats"),
        (EXTRA, True, "capacity_needs_activations"),
    ):
        with pytest.raises(LicenseUnsuitable) as caught:
            added((), new, "l1", counted=counted, now_us=0)
        assert caught.value.metadata["rule"] == rule


def test_so_many_may_be_planned_and_some_that_ended_are_remembered() -> None:
    full = tuple(Capacity(str(number), 1, 0, 10, 20) for number in range(CAPACITY_LIMIT))
    with pytest.raises(LimitExceeded):
        added(full, SPRING, "l1", counted=True, now_us=5)
    assert len(added(full, SPRING, "l1", counted=True, now_us=50)) == ENDED_SHOWN + 1


@given(capacities)
def test_what_is_kept_comes_back(found: list[Capacity]) -> None:
    assert from_json(to_json(found)) == tuple(found)
