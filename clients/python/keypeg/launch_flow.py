"""A launch without I/O: what has happened and what was answered in; what to do, or to ask, out.

    flow = LaunchFlow(terms)
    turn = flow.begin()            # Work, Step or End
    turn = flow.happened(outcome)  # after a Work
    turn = flow.answered(answer)   # after a Step

Promises: pure. A license is never taken from another device unless a person said so at this launch; the cloud
session is opened unasked only for who said `always`, and once in a launch. No leaves everything as it is. A
password is in the one Work that needs it, and in no repr.

Leaves to others: doing the work (launch_work), the words (launch_words), showing steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from keypeg import launch_words as words
from keypeg.errors import KeypegError, LicenseMissing, Reason
from keypeg.launch_state import Happening, LaunchState, next_state
from keypeg.launch_steps import Answer, Step
from keypeg.launch_survey import Survey


@dataclass(frozen=True)
class Terms:
    """What is launched."""

    product: str  # name
    called: str  # what people call it
    family: str  # for which `always` is remembered; the product when the app names none
    offers_cloud: bool = True


# What to do.


@dataclass(frozen=True)
class Look:
    """Open a session, wherever there is a license."""


@dataclass(frozen=True)
class SignIn:
    """Sign in with a password."""

    server: str  # empty: the one that is set
    login: str
    password: str = field(repr=False)
    remember: bool = True
    code: str = field(default="", repr=False)  # a one-time code, of users who have them


@dataclass(frozen=True)
class Find:
    """Find out what the account owns, and where it could be used."""


@dataclass(frozen=True)
class OpenCloud:
    """Open the cloud session here; `move`: also when another device has it."""

    move: bool
    always: bool = False  # remember it first


@dataclass(frozen=True)
class PutIntoCloud:
    """Put a license into the cloud; whether to open the cloud session is asked apart."""

    license: str


@dataclass(frozen=True)
class End:
    """It is over: with a session, or with the reason why not."""

    session: Any = None
    error: KeypegError | None = None


Work = Look | SignIn | Find | OpenCloud | PutIntoCloud
Turn = Work | Step | End


# What has happened.


@dataclass(frozen=True)
class Found:
    """A session is open."""

    session: Any


@dataclass(frozen=True)
class Refused:
    """The work could not be done; `signed_in`: whether there is somebody to ask for."""

    error: KeypegError
    signed_in: bool = True
    server: str = ""
    login: str = ""


@dataclass(frozen=True)
class Surveyed:
    """What was found out; `always` is what the user said once."""

    survey: Survey
    always: bool = False


@dataclass(frozen=True)
class Done:
    """The work is done; `tells` is what the person has to hear first, empty for nothing."""

    tells: str = ""


Outcome = Found | Refused | Surveyed | Done

_NOBODY: Final = frozenset({Reason.SIGN_IN_REQUIRED, Reason.TOKEN_INVALID, Reason.TOKEN_EXPIRED})
# There is no license here, but perhaps the account has one that could be.
_MISSING: Final = frozenset(
    {
        Reason.LICENSE_MISSING,
        Reason.LICENSE_EXPIRED,
        Reason.LICENSE_SUSPENDED,
        Reason.LICENSE_REVOKED,
        Reason.LOCATION_NOT_ALLOWED,
        Reason.CLOUD_SESSION_CLOSED,
        Reason.CLOUD_SESSION_ELSEWHERE,
        Reason.KEY_MISSING,
        Reason.KEY_NOT_ENROLLED,
        Reason.KEY_LOST,
        Reason.DOCUMENT_EXPIRED,
        Reason.DOCUMENT_OTHER_DEVICE,
    }
)


class LaunchFlow:
    """One launch."""

    def __init__(self, terms: Terms) -> None:
        self.state: LaunchState = LaunchState.LOOKING
        self._terms = terms
        self._step: Step | None = None
        self._why: KeypegError = LicenseMissing(f"There is no license for {terms.called}.")
        self._server = ""
        self._login = ""
        self._survey: Survey | None = None
        self._opened_unasked = False

    def begin(self) -> Turn:
        """The first thing to do."""
        return Look()

    def happened(self, outcome: Outcome) -> Turn:
        """A work is over: what to do or ask now."""
        match outcome:
            case Found(session):
                self._goes(Happening.FOUND)
                return End(session=session)
            case Refused():
                self._server = outcome.server or self._server
                self._login = outcome.login or self._login
                return self._refused(outcome)
            case Surveyed():
                self._survey = outcome.survey
                return self._surveyed(outcome)
            case Done():
                return self._warned(outcome.tells) if outcome.tells else self._done()

    def answered(self, answer: Answer) -> Turn:
        """A person has answered the step: what to do or ask now."""
        assert self._step is not None, "nothing was asked"
        self._step.check(answer)
        step, self._step = self._step, None
        answers: Mapping[str, Callable[[Answer], Turn]] = {
            "sign_in": self._signs_in,
            "yes": self._opens,
            "always": self._opens,
            "move": self._opens,
            "put": self._puts,
            "again": self._again,
            "other": self._other,
        }
        if next(one for one in step.choices if one.name == answer.choice).leaves:
            self._goes(Happening.LEAVES)
            return End(error=self._why)
        return answers[answer.choice](answer)

    # What has happened.

    def _refused(self, outcome: Refused) -> Turn:
        error = outcome.error
        if self.state is LaunchState.SIGNING_IN:
            self._goes(Happening.FAILED)
            return self._ask(self._sign_in(problem=error))
        if self.state is LaunchState.OPENING and error.reason is Reason.CLOUD_SESSION_ELSEWHERE:
            self._goes(Happening.ELSEWHERE)  # another device was faster: it is offered by name
            return Find()
        may_sign_in = self.state in (LaunchState.LOOKING, LaunchState.SURVEYING)
        nobody = error.reason in _NOBODY
        if self.state is LaunchState.LOOKING:
            self._why = error
            nobody = nobody or (error.reason in _MISSING and not outcome.signed_in)
            if error.reason in _MISSING and not nobody:
                self._goes(Happening.MISSING)
                return Find()
        if nobody and may_sign_in:
            self._goes(Happening.NOBODY)
            return self._ask(self._sign_in())
        first = self._why if self.state is LaunchState.SURVEYING else None
        self._goes(Happening.FAILED)
        return self._ask(words.told(self._terms.called, error, first))

    def _surveyed(self, outcome: Surveyed) -> Turn:
        survey, terms = outcome.survey, self._terms
        self._login = survey.login
        if not terms.offers_cloud or not survey.opening_helps:
            self._goes(Happening.NO_CLOUD)
            put = terms.offers_cloud and survey.to_put is not None
            return self._ask(words.places(terms.called, survey, self._why, put=put))
        if survey.cloud.is_open:
            self._goes(Happening.ELSEWHERE)
            return self._ask(words.move(survey, self._why))
        if outcome.always and not self._opened_unasked:
            self._opened_unasked = True
            self._goes(Happening.ALWAYS)
            return OpenCloud(move=False)
        self._goes(Happening.CLOSED)
        family = terms.called if terms.family == terms.product else terms.family
        return self._ask(words.offer(terms.called, family, survey, self._why))

    def _warned(self, sentence: str) -> Turn:
        self._goes(Happening.WARNED)
        return self._ask(words.warned(sentence, self._why))

    def _done(self) -> Turn:
        self._goes(
            {
                LaunchState.SIGNING_IN: Happening.SIGNED_IN,
                LaunchState.OPENING: Happening.OPENED,
                LaunchState.PUTTING: Happening.PUT,
            }[self.state]
        )
        return Look()

    # What was answered.

    def _signs_in(self, answer: Answer) -> Turn:
        fields = answer.fields
        self._login = fields.get("login", self._login).strip()
        self._goes(Happening.SIGNS_IN)
        return SignIn(
            server=fields.get("server", "").strip(),
            login=self._login,
            password=fields.get("password", ""),
            remember=fields.get("remember", words.YES) == words.YES,
            code=fields.get("code", "").strip(),
        )

    def _opens(self, answer: Answer) -> Turn:
        self._goes(Happening.OPENS)
        return OpenCloud(move=answer.choice == "move", always=answer.choice == "always")

    def _puts(self, answer: Answer) -> Turn:
        assert self._survey is not None
        assert self._survey.to_put is not None
        self._goes(Happening.PUTS)
        return PutIntoCloud(self._survey.to_put.name)

    def _again(self, answer: Answer) -> Turn:
        self._goes(Happening.AGAIN)
        return Look()

    def _other(self, answer: Answer) -> Turn:
        self._goes(Happening.OTHER)
        self._login = ""
        return self._ask(self._sign_in())

    def _sign_in(self, problem: KeypegError | None = None) -> Step:
        return words.sign_in(self._terms.called, self._server, self._login, problem, self._why)

    def _ask(self, step: Step) -> Step:
        self._step = step
        return step

    def _goes(self, happening: Happening) -> None:
        self.state = next_state(self.state, happening)
