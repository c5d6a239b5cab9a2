"""The flow of a launch: every state with everything that may happen in it."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keypeg import errors
from keypeg.errors import KeypegError, Reason, error_class
from keypeg.launch_flow import LaunchFlow
from keypeg.launch_state import (
    ASKING,
    OVER,
    TRANSITIONS,
    Happening,
    LaunchState,
    next_state,
)
from keypeg.launch_steps import Answer, Step
from keypeg.launch_works import (
    BeginCode,
    CodeShown,
    Done,
    End,
    Find,
    FinishCode,
    Found,
    Import,
    Look,
    OntoHost,
    OntoKey,
    OpenCloud,
    PutIntoCloud,
    Refused,
    SignIn,
    Surveyed,
    Terms,
    Turn,
)
from tests.client.launch.cases import (
    CLOSED,
    ELSEWHERE,
    KEY,
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
    flow, turn = flow_at(Refused(CLOUD_CLOSED), Surveyed(survey(owned()), always="cloud"))
    assert turn == OpenCloud(move=False)
    flow.happened(Done())
    flow.happened(Refused(CLOUD_CLOSED))
    assert asked(flow.happened(Surveyed(survey(owned()), always="cloud"))).name == "offer"


def test_no_ends_it_with_the_reason_why_the_app_may_not_run() -> None:
    end = flow_at(Refused(CLOUD_CLOSED), Surveyed(survey(owned())), Answer("no"))[1]
    assert end == End(error=CLOUD_CLOSED)


def test_moving_is_offered_by_name_also_to_who_said_always() -> None:
    for always in ("", "cloud"):
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
    terms = Terms(TERMS.product, "CAD", TERMS.family, frozenset({"key", "host"}))
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


CODE = CodeShown("BCDF-GHJK", "lan:7400")


def test_there_are_ways_to_sign_in_and_each_leads_back_to_the_others() -> None:
    flow, turn = flow_at(Refused(NOBODY, server="lan:7400"))
    assert [one.name for one in asked(turn).choices] == ["sign_in", "by_code", "by_file", "leave"]
    file = asked(flow.answered(Answer("by_file")))
    assert file.name == "file"
    assert asked(flow.answered(Answer("back"))).name == "sign_in"
    assert flow.answered(Answer("by_code")) == BeginCode("")
    assert asked(flow.happened(CODE)).name == "code"
    assert asked(flow.answered(Answer("back"))).name == "sign_in"


def test_a_code_is_shown_until_somebody_has_approved_it() -> None:
    flow, turn = flow_at(Refused(NOBODY), Answer("by_code", {"server": " lan:7400 "}), CODE)
    step = asked(turn)
    assert "BCDF-GHJK" in step.title
    assert "keypeg sign-ins approve BCDF-GHJK" in step.sentence
    assert flow.answered(Answer("go_on", {"remember": ""})) == FinishCode(remember=False)
    again = asked(flow.happened(Refused(errors.SignInPending("Not yet."))))
    assert (again.name, again.problem) == ("code", "Nobody has approved it yet.")
    assert flow.answered(Answer("go_on")) == FinishCode()
    assert flow.happened(Done()) == Look()


def test_a_code_that_was_declined_leads_back_to_signing_in() -> None:
    flow, _ = flow_at(Refused(NOBODY), Answer("by_code"), CODE, Answer("go_on"))
    step = asked(flow.happened(Refused(errors.SignInDeclined("It was refused."))))
    assert (step.name, step.problem) == ("sign_in", "It was refused.")


def test_providers_of_the_server_are_ways_to_sign_in_with_a_code_that_is_typed_there() -> None:
    refused = Refused(NOBODY, server="lan:7400", providers=("lab", "work"))
    flow, turn = flow_at(refused)
    names = [one.name for one in asked(turn).choices]
    assert names == ["sign_in", "by_code", "by_file", "at:lab", "at:work", "leave"]
    assert flow.answered(Answer("at:work")) == BeginCode("", "work")
    shown = CodeShown("WXYZ", "lan:7400", "work", "https://id.example/device")
    step = asked(flow.happened(shown))
    assert "https://id.example/device" in step.sentence
    assert "sign in at work" in step.sentence
    flow.answered(Answer("go_on"))
    needed = asked(flow.happened(Refused(errors.CodeRequired("Type the code of your app."))))
    assert (needed.name, needed.problem) == ("code", "Type the code of your app.")
    assert [one.name for one in needed.fields] == ["code", "remember"]
    work = flow.answered(Answer("go_on", {"code": " 123456 "}))
    assert work == FinishCode(code="123456")
    assert "123456" not in repr(work)
    pending = asked(flow.happened(Refused(errors.SignInPending("Not yet."))))
    assert pending.problem == "Nobody has typed it yet."
    back = asked(flow.answered(Answer("back")))
    assert "at:lab" in [one.name for one in back.choices], "they are still known"


def test_a_sealed_credential_file_is_asked_for_its_passphrase_until_another_file_is_named() -> None:
    flow, _ = flow_at(Refused(NOBODY), Answer("by_file"))
    work = flow.answered(Answer("use", {"path": " studio.keypeg ", "remember": "yes"}))
    assert work == Import("studio.keypeg", "")
    sealed = Refused(errors.FieldInvalid("It is sealed."), is_sealed=True)
    step = asked(flow.happened(sealed))
    assert [one.name for one in step.fields] == ["path", "passphrase", "remember"]
    assert step.fields[0].value == "studio.keypeg"
    answer = Answer("use", {"path": "studio.keypeg", "passphrase": " s3cret ", "remember": ""})
    work = flow.answered(answer)
    assert work == Import("studio.keypeg", " s3cret ", remember=False)
    assert "s3cret" not in f"{work!r}{answer!r}"
    wrong = asked(flow.happened(Refused(errors.CredentialsInvalid("Wrong."))))
    assert [one.name for one in wrong.fields] == ["path", "passphrase", "remember"]
    flow.answered(Answer("use", {"path": "other.keypeg"}))
    other = asked(flow.happened(Refused(errors.FieldInvalid("There is none."))))
    assert [one.name for one in other.fields] == ["path", "remember"]
    assert other.problem == "There is none."


BOTH = survey(owned(allowed="cloud key host"), keys=(KEY,))
ONE = "accounts/studio/licenses/one"


@pytest.mark.parametrize(
    ("found", "place", "title", "work"),
    [
        (survey(owned(allowed="key"), keys=(KEY,)), "key", "Use SmartKey 12?", OntoKey(ONE, "keys/12")),
        (survey(owned(allowed="host")), "host", "Use it on this computer?", OntoHost(ONE)),
        (survey(owned()), "cloud", "Open a cloud session?", OpenCloud(move=False)),
    ],
)  # fmt: skip
def test_one_place_that_would_help_is_offered_with_yes_always_and_no(
    found: Any, place: str, title: str, work: Any
) -> None:
    for answer, always in (("yes", False), ("always", True)):
        flow, turn = flow_at(Refused(MISSING), Surveyed(found))
        step = asked(turn)
        assert (step.name, step.place, step.title) == ("offer", place, title)
        assert [one.name for one in step.choices] == ["yes", "always", "no"]
        assert flow.answered(Answer(answer)) == dataclasses.replace(work, always=always)
        assert flow.happened(Done()) == Look()
    end = flow_at(Refused(MISSING), Surveyed(found), Answer("no"))[1]
    assert end == End(error=MISSING)


@pytest.mark.parametrize(
    ("place", "work"),
    [
        ("cloud", OpenCloud(move=False)),
        ("key", OntoKey(ONE, "keys/12")),
        ("host", OntoHost(ONE)),
    ],
)
def test_of_several_places_one_is_chosen_and_always_is_a_field(place: str, work: Any) -> None:
    for always in (False, True):
        flow, turn = flow_at(Refused(MISSING), Surveyed(BOTH))
        step = asked(turn)
        assert step.name == "choose"
        assert [one.name for one in step.choices] == ["cloud", "key", "host", "leave"]
        answer = Answer(place, {"always": "yes" if always else ""})
        assert flow.answered(answer) == dataclasses.replace(work, always=always)


def test_what_is_remembered_is_used_unasked_where_it_would_help_and_once() -> None:
    works = {"cloud": OpenCloud(move=False), "key": OntoKey(ONE, "keys/12"), "host": OntoHost(ONE)}
    for place, work in works.items():
        flow, turn = flow_at(Refused(MISSING), Surveyed(BOTH, always=place))
        assert turn == work, "it is remembered already"
        flow.happened(Done())
        flow.happened(Refused(MISSING))
        assert asked(flow.happened(Surveyed(BOTH, always=place))).name == "choose"
    gone = survey(owned(allowed="cloud key"))
    assert asked(flow_at(Refused(MISSING), Surveyed(gone, always="key"))[1]).place == "cloud"


def test_beside_moving_the_cloud_session_other_places_are_offered() -> None:
    found = survey(owned("cloud", count=2, allowed="cloud key"), cloud=ELSEWHERE, keys=(KEY,))
    flow, turn = flow_at(Refused(MISSING), Surveyed(found))
    step = asked(turn)
    assert [one.name for one in step.choices] == ["move", "key", "leave"]
    assert step.default.leaves
    assert flow.answered(Answer("key")) == OntoKey(ONE, "keys/12")


def test_a_key_that_can_not_be_written_is_told_and_can_be_tried_again() -> None:
    flow, _ = flow_at(Refused(MISSING), Surveyed(BOTH), Answer("key"))
    step = asked(flow.happened(Refused(errors.KeyMissing("The key was unplugged."))))
    assert (step.name, step.sentence) == ("told", "The key was unplugged.")
    assert flow.answered(Answer("again")) == Look()


CLOUDS = (CLOSED, MANAGED, OPEN_HERE, ELSEWHERE)
REFUSALS = [
    Refused(MISSING),
    Refused(NOBODY),
    Refused(CLOUD_CLOSED),
    Refused(errors.Unreachable("Gone.")),
    Refused(errors.SignInPending("Not yet.")),
    Refused(errors.FieldInvalid("Sealed."), is_sealed=True),
]
SURVEYS = [
    Surveyed(survey(*licenses, cloud=cloud, keys=keys), always=always)
    for licenses in ((), (owned(allowed="cloud key host"),), (owned("cloud", count=2),))
    for cloud in CLOUDS
    for keys in ((), (KEY,))
    for always in ("", "cloud", "key", "host")
]
USES = {OpenCloud: "cloud", OntoKey: "key", OntoHost: "host"}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 999)), max_size=40))
def test_whatever_happens_nothing_is_taken_or_used_unasked_but_what_is_remembered_and_once(
    picks: list[tuple[int, int]],
) -> None:
    flow = LaunchFlow(TERMS)
    turn: Turn = flow.begin()
    unasked: list[str] = []
    for first, second in picks:
        if isinstance(turn, End):
            assert flow.state in OVER
            return
        if isinstance(turn, Step):
            assert flow.state in ASKING
            choice = turn.choices[first % len(turn.choices)]
            wanted = {"yes": turn.place, "always": turn.place, "move": "cloud"}
            place = wanted.get(choice.name, choice.name)
            turn = flow.answered(Answer(choice.name))
            if isinstance(turn, OpenCloud | OntoKey | OntoHost):
                assert USES[type(turn)] == place, "what the person said"
                assert not isinstance(turn, OpenCloud) or turn.move == (choice.name == "move")
            continue
        assert flow.state not in ASKING | OVER
        fitting: list[Any] = list(REFUSALS)
        if isinstance(turn, Find):
            fitting += SURVEYS
        elif isinstance(turn, BeginCode):
            fitting.append(CODE)
        elif not isinstance(turn, Look):
            fitting.append(Done())
        outcome = fitting[second % len(fitting)]
        turn = flow.happened(outcome)
        if isinstance(turn, OpenCloud | OntoKey | OntoHost):
            assert isinstance(outcome, Surveyed)
            assert USES[type(turn)] == outcome.always, "what is remembered"
            assert not isinstance(turn, OpenCloud) or not turn.move
            unasked.append(outcome.always)
            assert len(set(unasked)) == len(unasked), "each place once"


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
