"""The flow of a launch: every state with everything that may happen in it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keypeg import errors
from keypeg.errors import KeypegError, Reason, error_class
from keypeg.launch_flow import (
    Done,
    End,
    Find,
    Found,
    LaunchFlow,
    Look,
    OpenCloud,
    PutIntoCloud,
    Refused,
    SignIn,
    Surveyed,
    Turn,
)
from keypeg.launch_state import (
    ASKING,
    OVER,
    TRANSITIONS,
    Happening,
    LaunchState,
    next_state,
)
from keypeg.launch_steps import Answer, Step
from tests.client.launch.cases import (
    CLOSED,
    ELSEWHERE,
    MANAGED,
    OPEN_HERE,
    TERMS,
    owned,
    survey,
)

MISSING = errors.LicenseMissing("There is none.")
NOBODY = errors.SignInRequired("Sign in.")
CLOUD_CLOSED = errors.CloudSessionClosed("It is closed.")


def flow_at(*happened: Any, terms: Any = TERMS) -> tuple[LaunchFlow, Turn]:
    """A flow after outcomes and answers, and what it wants now."""
    flow = LaunchFlow(terms)
    turn = flow.begin()
    for one in happened:
        turn = flow.answered(one) if isinstance(one, Answer) else flow.happened(one)
    return flow, turn


def asked(turn: Turn) -> Step:
    assert isinstance(turn, Step), turn
    return turn


def test_every_state_but_the_last_ones_is_left_and_reached() -> None:
    left = {state for state, _ in TRANSITIONS}
    assert left == set(LaunchState) - OVER
    assert set(TRANSITIONS.values()) == set(LaunchState)
    assert {happening for _, happening in TRANSITIONS} == set(Happening)
    for state in ASKING:
        assert TRANSITIONS[state, Happening.LEAVES] is LaunchState.LEFT


def test_what_the_table_does_not_have_is_an_error() -> None:
    for pair in set(itertools.product(LaunchState, Happening)) - set(TRANSITIONS):
        with pytest.raises(AssertionError):
            next_state(*pair)


def test_a_license_that_is_there_asks_nobody() -> None:
    assert flow_at(Found("session"))[1] == End(session="session")


def test_who_is_not_signed_in_is_asked_and_what_they_type_shows_nowhere() -> None:
    for refused in (Refused(NOBODY), Refused(MISSING, signed_in=False)):
        step = asked(flow_at(refused)[1])
        assert step.name == "sign_in"
        assert [one.name for one in step.fields] == ["server", "login", "password", "remember"]
    flow, turn = flow_at(Refused(NOBODY, server="lan:7400"))
    assert [one.name for one in asked(turn).fields] == ["login", "password", "remember"]
    answer = Answer("sign_in", {"login": " ada ", "password": " s3cret ", "remember": ""})
    work = flow.answered(answer)
    assert work == SignIn("", "ada", " s3cret ", remember=False)
    assert "s3cret" not in f"{work!r}{answer!r}{flow!r}"
    assert flow.happened(Done()) == Look()


def test_a_wrong_password_asks_again_with_the_login_kept() -> None:
    typed = Answer("sign_in", {"login": "ada", "password": "x" * 8})
    wrong = Refused(errors.CredentialsInvalid("Wrong."), signed_in=False)
    step = asked(flow_at(Refused(NOBODY), typed, wrong)[1])
    assert (step.name, step.problem) == ("sign_in", "Wrong.")
    assert {one.name: one.value for one in step.fields}["login"] == "ada"
    assert {one.name: one.value for one in step.fields}["password"] == ""


def test_a_one_time_code_is_asked_for_where_the_server_needs_one() -> None:
    typed = Answer("sign_in", {"login": "ada", "password": "x" * 8})
    needed = Refused(errors.CodeRequired("Type the code of your app."), signed_in=False)
    flow, turn = flow_at(Refused(NOBODY, server="lan:7400"), typed, needed)
    assert [one.name for one in asked(turn).fields] == ["login", "password", "code", "remember"]
    work = flow.answered(Answer("sign_in", {"password": "x" * 8, "code": " 123456 "}))
    assert isinstance(work, SignIn)
    assert (work.login, work.code) == ("ada", "123456")
    assert "123456" not in repr(work)


def test_what_a_sign_in_tells_is_shown_before_the_app_goes_on() -> None:
    typed = Answer("sign_in", {"login": "ada", "password": "x" * 8})
    flow, turn = flow_at(Refused(NOBODY), typed, Done(tells="Your second factors were taken away."))
    step = asked(turn)
    assert (step.name, step.sentence) == ("told", "Your second factors were taken away.")
    assert step.default.label == "Go on"
    assert flow.answered(Answer(step.default.name)) == Look()


def test_a_closed_cloud_session_that_helps_is_offered() -> None:
    flow, turn = flow_at(Refused(CLOUD_CLOSED), Surveyed(survey(owned())))
    step = asked(turn)
    assert (step.name, [one.name for one in step.choices]) == ("offer", ["yes", "always", "no"])
    assert step.choices[1].label == "Always for CAD"
    assert flow.answered(Answer("yes")) == OpenCloud(move=False)
    assert flow.happened(Done()) == Look()


def test_always_is_remembered_and_then_opens_unasked_once_in_a_launch() -> None:
    first = flow_at(Refused(CLOUD_CLOSED), Surveyed(survey(owned())), Answer("always"))[1]
    assert first == OpenCloud(move=False, always=True)
    flow, turn = flow_at(Refused(CLOUD_CLOSED), Surveyed(survey(owned()), always=True))
    assert turn == OpenCloud(move=False)
    flow.happened(Done())
    flow.happened(Refused(CLOUD_CLOSED))
    assert asked(flow.happened(Surveyed(survey(owned()), always=True))).name == "offer"


def test_no_ends_it_with_the_reason_why_the_app_may_not_run() -> None:
    end = flow_at(Refused(CLOUD_CLOSED), Surveyed(survey(owned())), Answer("no"))[1]
    assert end == End(error=CLOUD_CLOSED)


def test_moving_is_offered_by_name_also_to_who_said_always() -> None:
    for always in (False, True):
        surveyed = Surveyed(survey(owned("cloud"), cloud=ELSEWHERE), always=always)
        flow, turn = flow_at(Refused(errors.CloudSessionElsewhere("There.")), surveyed)
        step = asked(turn)
        assert step.title == "In use on studio-1"
        assert "since 10:02" in step.sentence
        assert step.default.leaves, "Enter stops nothing elsewhere"
        assert flow.answered(Answer("move")) == OpenCloud(move=True)


def test_another_device_that_was_faster_is_looked_at_again() -> None:
    flow, _ = flow_at(Refused(CLOUD_CLOSED), Surveyed(survey(owned())), Answer("yes"))
    assert flow.happened(Refused(errors.CloudSessionElsewhere("Faster."))) == Find()
    step = asked(flow.happened(Surveyed(survey(owned("cloud"), cloud=ELSEWHERE))))
    assert step.name == "move"


def test_an_account_without_a_license_hears_where_it_could_be_and_may_sign_in_as_another() -> None:
    flow, turn = flow_at(Refused(MISSING), Surveyed(survey()))
    step = asked(turn)
    assert step.name == "places"
    assert "ada has no license for CAD" in step.sentence
    assert not any(place.usable for place in step.places)
    assert asked(flow.answered(Answer("other"))).name == "sign_in"


def test_in_managed_mode_a_license_is_put_into_the_cloud_only_when_asked_for() -> None:
    flow, turn = flow_at(Refused(MISSING), Surveyed(survey(owned(), cloud=MANAGED)))
    assert asked(turn).default.name == "put"
    assert flow.answered(Answer("put")) == PutIntoCloud("accounts/studio/licenses/one")
    assert flow.happened(Done()) == Look()


def test_an_app_that_wants_no_cloud_offers_none() -> None:
    terms = type(TERMS)(TERMS.product, "CAD", TERMS.family, offers_cloud=False)
    for cloud in (CLOSED, MANAGED, ELSEWHERE):
        turn = flow_at(Refused(MISSING), Surveyed(survey(owned(), cloud=cloud)), terms=terms)[1]
        assert [one.name for one in asked(turn).choices] == ["again", "other", "leave"]


@pytest.mark.parametrize("reason", list(Reason))
def test_every_refusal_of_every_work_leads_to_a_step_or_another_work(reason: Reason) -> None:
    refused = Refused(error_class(reason)("It was refused."))
    before: dict[LaunchState, tuple[Any, ...]] = {
        LaunchState.LOOKING: (),
        LaunchState.SIGNING_IN: (Refused(NOBODY), Answer("sign_in", {"login": "ada"})),
        LaunchState.SURVEYING: (Refused(MISSING),),
        LaunchState.OPENING: (Refused(MISSING), Surveyed(survey(owned())), Answer("yes")),
        LaunchState.PUTTING: (
            Refused(MISSING),
            Surveyed(survey(owned(), cloud=MANAGED)),
            Answer("put"),
        ),
    }
    for state, happened in before.items():
        flow, _ = flow_at(*happened)
        assert flow.state is state
        turn = flow.happened(refused)
        assert isinstance(turn, Step | Find)
        if isinstance(turn, Step):
            shown = f"{turn.problem}{turn.sentence}{turn.error and turn.error.sentence}"
            assert "It was refused." in shown or turn.name == "sign_in"


def test_a_needed_update_is_titled_as_one() -> None:
    old = errors.ClientTooOld("Update CAD to version 3.", minimum_version="3")
    step = asked(flow_at(Refused(old))[1])
    assert (step.title, step.sentence) == ("An update is needed", "Update CAD to version 3.")
    assert isinstance(step.error, errors.UpdateRequired)
    assert step.error.minimum_version == "3"


def test_an_answer_that_is_none_is_refused_and_may_be_given_again() -> None:
    flow, _ = flow_at(Refused(CLOUD_CLOSED), Surveyed(survey(owned())))
    for wrong in (
        Answer("move"),
        Answer("yes", {"password": "x"}),
        Answer("yes", {"a": "x" * 5000}),
    ):
        with pytest.raises(errors.FieldInvalid):
            flow.answered(wrong)
    assert flow.answered(Answer("yes")) == OpenCloud(move=False)


CLOUDS = (CLOSED, MANAGED, OPEN_HERE, ELSEWHERE)
OUTCOMES = [
    Refused(MISSING),
    Refused(NOBODY),
    Refused(CLOUD_CLOSED),
    Refused(errors.Unreachable("Gone.")),
    Done(),
    *(
        Surveyed(survey(*licenses, cloud=cloud), always=always)
        for licenses in ((), (owned(),), (owned("cloud"),))
        for cloud in CLOUDS
        for always in (False, True)
    ),
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=30))
def test_whatever_happens_nothing_is_taken_from_another_device_unasked(
    picks: list[tuple[int, int]],
) -> None:
    flow = LaunchFlow(TERMS)
    turn: Turn = flow.begin()
    unasked = 0
    for first, second in picks:
        if isinstance(turn, End):
            assert flow.state in OVER
            return
        if isinstance(turn, Step):
            assert flow.state in ASKING
            choice = turn.choices[first % len(turn.choices)]
            is_move = turn.name == "move" and not choice.leaves
            turn = flow.answered(Answer(choice.name))
            if isinstance(turn, OpenCloud):
                assert turn.move == is_move
            continue
        fitting: list[Any] = [one for one in OUTCOMES if isinstance(one, Refused)]
        if isinstance(turn, Find):
            fitting += [one for one in OUTCOMES if isinstance(one, Surveyed)]
        elif not isinstance(turn, Look):
            fitting.append(Done())
        turn = flow.happened(fitting[second % len(fitting)])
        if isinstance(turn, OpenCloud):
            unasked += 1
            assert not turn.move
            assert unasked == 1


def test_the_error_is_the_one_of_looking_and_not_of_a_later_work() -> None:
    end = flow_at(Refused(CLOUD_CLOSED), Refused(errors.Unreachable("Gone.")), Answer("leave"))[1]
    assert isinstance(end, End)
    assert isinstance(end.error, KeypegError)
    assert end.error is CLOUD_CLOSED


def test_where_nothing_can_be_found_out_the_error_is_still_why_there_is_no_license() -> None:
    expired = errors.DocumentExpired("The borrowed seat has ended.")
    away = errors.Unreachable("The server can not be reached.")
    step = asked(flow_at(Refused(expired), Refused(away))[1])
    assert (step.sentence, step.error) == (away.sentence, expired)
