"""The table and the times of a session."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.seat import STAGES, SeatStage, SeatStep, next_stage
from keypeg.session_state import (
    LONGEST_PAUSE,
    TRANSITIONS,
    Happening,
    State,
    Term,
    next_state,
    pause,
)


def test_a_stopped_session_stays_stopped():
    assert not [key for key in TRANSITIONS if key[0] is State.STOPPED]


def test_every_state_but_the_last_can_end():
    for state in set(State) - {State.STOPPED}:
        assert next_state(state, Happening.ENDED) is State.STOPPED


def test_only_an_opening_starts_to_run():
    into_running = {key for key, state in TRANSITIONS.items() if state is State.RUNNING}
    assert into_running == {
        (State.CONNECTING, Happening.OPENED),
        (State.GRACE, Happening.OPENED),
        (State.RUNNING, Happening.PROVEN),
        (State.MISSING, Happening.PROVEN),
    }


def test_what_the_table_does_not_have_is_an_error():
    with pytest.raises(AssertionError, match="connecting can not go on"):
        next_state(State.CONNECTING, Happening.PROVEN)
    with pytest.raises(AssertionError, match="ended can not go on"):
        next_stage(SeatStage.ENDED, SeatStep.GRANT)


def test_a_seat_that_ended_stays_ended_and_every_other_can_be_lost():
    assert not [key for key in STAGES if key[0] is SeatStage.ENDED]
    for stage in set(SeatStage) - {SeatStage.ENDED}:
        assert next_stage(stage, SeatStep.LOSE) is SeatStage.ENDED


spans = st.floats(min_value=0.1, max_value=3e6)


@given(sent=st.floats(0, 1e6), valid_for=spans, interval=spans)
def test_a_renewal_is_due_before_half_the_time_is_over(sent, valid_for, interval):
    term = Term(1, sent, valid_for, interval)
    assert sent < term.renew_at <= sent + max(0.05, valid_for / 2) + 1e-6
    assert term.deadline == sent + valid_for


@given(valid_for=st.floats(1, 3e5), interval=st.floats(0.3, 30))
def test_a_signed_proof_comes_at_least_at_every_half_of_the_time(valid_for, interval):
    proven = sent = 0.0
    for sequence in range(1, 50):
        term = Term(sequence, sent, valid_for, interval)
        sent = term.renew_at
        assert sent - proven <= valid_for / 2 + 1e-6
        if term.wants_proof(sent, proven):
            proven = sent


def test_a_long_term_is_not_proven_at_every_renewal():
    term = Term(1, 0.0, 180.0, 30.0)
    assert not term.wants_proof(30.0, 0.0)
    assert not term.wants_proof(60.0, 0.0)
    assert term.wants_proof(90.0, 0.0)


@given(attempt=st.integers(1, 10_000), valid_for=st.floats(0.1, 3e6), jitter=st.floats(0, 1))
def test_pauses_grow_within_bounds_and_are_spread(attempt, valid_for, jitter):
    chosen = pause(attempt, valid_for, jitter)
    assert 0.1 <= chosen <= LONGEST_PAUSE
    assert pause(attempt, valid_for, 0) <= chosen <= pause(attempt + 1, valid_for, 1)


def test_the_answer_to_the_later_frame_counts():
    early, late = Term(1, 0.0, 60.0, 20.0), Term(2, 20.0, 30.0, 10.0)
    assert early.newer(late) is late
    assert late.newer(early) is late
