"""A launch without I/O: what has happened and what was answered in; what to do, or to ask, out.

    flow = LaunchFlow(terms)
    turn = flow.begin()            # Work, Step or End
    turn = flow.happened(outcome)  # after a Work
    turn = flow.answered(answer)   # after a Step

Promises: pure. A license is never taken from another device unless a person said so at this launch; a place is
used unasked only for who said `always` of it, and once in a launch. No leaves everything as it is. A
password is in the one Work that needs it, and in no repr.

Leaves to others: doing the work (launch_work), the words (launch_words), showing steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from keypeg import launch_words as words
from keypeg.errors import KeypegError, LicenseMissing, Reason
from keypeg.launch_reasons import MISSING, NOBODY
from keypeg.launch_state import Happening, LaunchState, next_state
from keypeg.launch_steps import Answer, Step
from keypeg.launch_survey import CLOUD, HOST, KEY, PUT, Survey
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
    Outcome,
    PutIntoCloud,
    Refused,
    SignIn,
    Surveyed,
    Terms,
    Turn,
)

_UNASKED: Final = {
    CLOUD: Happening.ALWAYS_CLOUD,
    KEY: Happening.ALWAYS_KEY,
    HOST: Happening.ALWAYS_HOST,
}
_ASKED: Final = {
    CLOUD: Happening.OPENS,
    PUT: Happening.PUTS,
    KEY: Happening.TO_KEY,
    HOST: Happening.TO_HOST,
}
_NOT_YET: Final = frozenset({Reason.SIGN_IN_PENDING, Reason.CODE_REQUIRED})
_SIGNS_IN: Final = frozenset({LaunchState.SIGNING_IN, LaunchState.IMPORTING, LaunchState.FINISHING})


class LaunchFlow:
    """One launch."""

    def __init__(self, terms: Terms) -> None:
        self.state: LaunchState = LaunchState.LOOKING
        self._terms = terms
        self._step: Step | None = None
        self._why: KeypegError = LicenseMissing(f"There is no license for {terms.called}.")
        self._server = ""
        self._login = ""
        self._providers: tuple[str, ...] = ()
        self._path = ""
        self._is_sealed = False
        self._code: CodeShown | None = None
        self._survey: Survey | None = None
        self._unasked: set[str] = set()

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
                self._providers = outcome.providers or self._providers
                return self._refused(outcome)
            case CodeShown():
                self._code = outcome
                self._goes(Happening.SHOWN)
                return self._ask(self._code_step())
            case Surveyed():
                self._survey = outcome.survey
                return self._surveyed(outcome)
            case Done(tells) if tells:
                self._goes(Happening.WARNED)
                return self._ask(words.warned(tells, self._why))
            case Done():
                signed_in = self.state in _SIGNS_IN
                self._goes(Happening.SIGNED_IN if signed_in else Happening.PLACED)
                return Look()

    def answered(self, answer: Answer) -> Turn:
        """A person has answered the step: what to do or ask now."""
        assert self._step is not None, "nothing was asked"
        self._step.check(answer)
        step, self._step = self._step, None
        if next(one for one in step.choices if one.name == answer.choice).leaves:
            self._goes(Happening.LEAVES)
            return End(error=self._why)
        answers: Mapping[str, Callable[[Answer], Turn]] = {
            "sign_in": self._signs_in,
            "by_code": self._by_code,
            "by_file": self._by_file,
            "use": self._imports,
            "go_on": self._approved,
            "back": self._back,
            "again": self._again,
            "other": self._other,
        }
        if answer.choice.startswith(words.AT):
            return self._by_code(answer)
        if answer.choice in answers:
            return answers[answer.choice](answer)
        place = step.place if answer.choice in ("yes", "always") else answer.choice
        always = answer.choice == "always" or answer.fields.get("always") == words.YES
        is_move = place == "move"
        place = CLOUD if is_move else place
        self._goes(_ASKED[place])
        return self._use(place, move=is_move, always=always)

    # What has happened.

    def _refused(self, outcome: Refused) -> Turn:
        error = outcome.error
        match self.state:
            case LaunchState.SIGNING_IN | LaunchState.BEGINNING:
                self._goes(Happening.FAILED)
                return self._ask(self._sign_in(problem=error))
            case LaunchState.FINISHING if error.reason in _NOT_YET:
                self._goes(Happening.PENDING)
                return self._ask(self._code_step(error))
            case LaunchState.FINISHING:
                self._goes(Happening.FAILED)
                return self._ask(self._sign_in(problem=error))
            case LaunchState.IMPORTING:
                self._is_sealed = self._is_sealed or outcome.is_sealed
                self._goes(Happening.FAILED)
                return self._ask(self._file(problem=error))
            case LaunchState.OPENING if error.reason is Reason.CLOUD_SESSION_ELSEWHERE:
                self._goes(Happening.ELSEWHERE)  # another device was faster: it is offered by name
                return Find()
            case LaunchState.LOOKING:
                self._why = error
                return self._not_found(outcome)
        if error.reason in NOBODY and self.state is LaunchState.SURVEYING:
            return self._nobody()
        first = self._why if self.state is LaunchState.SURVEYING else None
        return self._failed(error, first)

    def _not_found(self, outcome: Refused) -> Turn:
        reason = outcome.error.reason
        if reason in NOBODY or (reason in MISSING and not outcome.signed_in):
            return self._nobody()
        if reason in MISSING:
            self._goes(Happening.MISSING)
            return Find()
        return self._failed(outcome.error)

    def _nobody(self) -> Turn:
        self._goes(Happening.NOBODY)
        return self._ask(self._sign_in())

    def _failed(self, error: KeypegError, first: KeypegError | None = None) -> Turn:
        self._goes(Happening.FAILED)
        return self._ask(words.told(self._terms.called, error, first))

    def _surveyed(self, outcome: Surveyed) -> Turn:
        survey, terms = outcome.survey, self._terms
        self._login = survey.login
        helping = survey.helps(terms.kinds)
        place = outcome.always
        if place in helping and place in _UNASKED and place not in self._unasked:
            self._unasked.add(place)
            self._goes(_UNASKED[place])
            return self._use(place)
        if CLOUD in terms.kinds and survey.is_elsewhere:
            self._goes(Happening.ELSEWHERE)
            return self._ask(words.move(survey, self._why, helping))
        family = terms.called if terms.family == terms.product else terms.family
        if helping in ((), (PUT,)):
            self._goes(Happening.NO_PLACE)
            return self._ask(words.places(terms.called, survey, self._why, put=bool(helping)))
        if len(helping) == 1:
            self._goes(Happening.ONE)
            return self._ask(words.offer(helping[0], terms.called, family, survey, self._why))
        self._goes(Happening.SEVERAL)
        return self._ask(words.choose(helping, terms.called, family, survey, self._why))

    def _use(self, place: str, *, move: bool = False, always: bool = False) -> Turn:
        """The work that uses a place that was chosen, or remembered."""
        survey = self._survey
        assert survey is not None
        if place == CLOUD:
            return OpenCloud(move=move, always=always)
        if place == KEY:
            assert survey.onto_key is not None
            key, owned = survey.onto_key
            return OntoKey(owned.name, key.name, always=always)
        chosen = survey.to_put if place == PUT else survey.onto_host
        assert chosen is not None
        return PutIntoCloud(chosen.name) if place == PUT else OntoHost(chosen.name, always=always)

    # What was answered.

    def _signs_in(self, answer: Answer) -> Turn:
        fields = answer.fields
        self._login = fields.get("login", self._login).strip()
        self._goes(Happening.SIGNS_IN)
        return SignIn(
            server=fields.get("server", "").strip(),
            login=self._login,
            password=fields.get("password", ""),
            remember=_remembers(answer),
            code=fields.get("code", "").strip(),
        )

    def _by_code(self, answer: Answer) -> Turn:
        self._goes(Happening.BY_CODE)
        _, _, provider = answer.choice.partition(words.AT)
        return BeginCode(answer.fields.get("server", "").strip(), provider)

    def _by_file(self, answer: Answer) -> Turn:
        self._goes(Happening.BY_FILE)
        self._path, self._is_sealed = "", False
        return self._ask(self._file())

    def _imports(self, answer: Answer) -> Turn:
        path = answer.fields.get("path", "").strip()
        self._is_sealed = self._is_sealed and path == self._path
        self._path = path
        self._goes(Happening.IMPORTS)
        return Import(path, answer.fields.get("passphrase", ""), remember=_remembers(answer))

    def _approved(self, answer: Answer) -> Turn:
        self._goes(Happening.APPROVED)
        code = answer.fields.get("code", "").strip()
        return FinishCode(remember=_remembers(answer), code=code)

    def _back(self, answer: Answer) -> Turn:
        self._goes(Happening.BACK)
        return self._ask(self._sign_in())

    def _again(self, answer: Answer) -> Turn:
        self._goes(Happening.AGAIN)
        return Look()

    def _other(self, answer: Answer) -> Turn:
        self._goes(Happening.OTHER)
        self._login = ""
        return self._ask(self._sign_in())

    def _sign_in(self, problem: KeypegError | None = None) -> Step:
        return words.sign_in(
            self._terms.called, self._server, self._login, problem, self._why, self._providers
        )

    def _file(self, problem: KeypegError | None = None) -> Step:
        return words.file(self._path, is_sealed=self._is_sealed, problem=problem, why=self._why)

    def _code_step(self, problem: KeypegError | None = None) -> Step:
        assert self._code is not None, "no code was shown"
        return words.code(self._code, problem, self._why)

    def _ask(self, step: Step) -> Step:
        self._step = step
        return step

    def _goes(self, happening: Happening) -> None:
        self.state = next_state(self.state, happening)


def _remembers(answer: Answer) -> bool:
    return answer.fields.get("remember", words.YES) == words.YES
