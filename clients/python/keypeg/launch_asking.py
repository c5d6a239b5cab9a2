"""Who can be asked here: a person at a terminal, at a desktop, or nobody.

Promises: nobody is asked where nobody could answer: a program in a pipe, a service, a test is told so, with what to
do instead. Which one it is decided once for a launch, by what was wanted and by KEYPEG_ASK.

Leaves to others: asking (launch_terminal, launch_dialog).
"""

from __future__ import annotations

import concurrent.futures
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from keypeg.errors import FieldInvalid, KeypegError, LicenseMissing
from keypeg.launch_steps import Answer, Ask, Progress, Step
from keypeg.launch_waiting import Waiting

During = Callable[["concurrent.futures.Future[Any]"], None]
"""Shows on its caller's thread what is told until the future is done; it may return at once."""

VARIABLE: Final = "KEYPEG_ASK"
WAYS: Final = ("auto", "terminal", "dialog", "never")

# What to do by hand instead of answering a step.
INSTEAD: Final[Mapping[str, str]] = {
    "sign_in": "sign in with `keypeg login`",
    "file": "import the credential file with `keypeg credential import`",
    "code": "sign in with `keypeg login --device`",
    "offer": "open the cloud session with `keypeg session open`",
    "choose": "open the cloud session with `keypeg session open`, or use `keypeg activation create`",
    "move": "move the cloud session here with `keypeg session open`",
    "places": "see `keypeg license list` for what the account owns",
}


# The same for an offer of another place than the cloud.
INSTEAD_AT: Final[Mapping[str, str]] = {
    "key": "write the license to the key with `keypeg activation create --key`",
    "host": "activate it here with `keypeg activation create --here`",
}


class Showing:
    """A ready way to ask, which shows what is being done as well; it is found out when it is needed first."""

    def __init__(self, wanted: str | None = None) -> None:
        self._wanted = wanted
        self._ask: Ask | None = None
        self._waiting = Waiting()

    def ask(self, step: Step) -> Answer:
        """Asks; raises where nobody can be asked."""
        return self._way()(step)

    def tell(self, progress: Progress) -> None:
        """Shows what is being done; at a desktop `during` does, on the thread of windows."""
        way = self._way()
        if way is _in_terminal():
            from keypeg.launch_terminal import tell_in_terminal

            tell_in_terminal(progress)
        elif way not in (_refuse, _unaskable):
            self._waiting.tell(progress)

    def during(self, future: concurrent.futures.Future[Any]) -> None:
        """Waits until it is done, and shows at a desktop what is told meanwhile."""
        self._waiting.until(future)

    def _way(self) -> Ask:
        if self._ask is None:
            self._ask = asker(self._wanted)
        return self._ask


def _in_terminal() -> Ask:
    from keypeg.launch_terminal import ask_in_terminal

    return ask_in_terminal


def asker(wanted: str | None = None) -> Ask:
    """Who asks; FieldInvalid for a way that there is not."""
    way = wanted or os.environ.get(VARIABLE) or "auto"
    if way not in WAYS:
        where = "ask" if wanted else VARIABLE
        raise FieldInvalid(f"{where} is one of {', '.join(WAYS)}, not {way!r}.", field="ask")
    if way in ("auto", "terminal") and is_terminal():
        return _in_terminal()
    if way in ("auto", "dialog") and is_desktop():
        from keypeg.launch_dialog import ask_in_dialog

        return ask_in_dialog
    return _unaskable if way != "never" else _refuse


def is_terminal() -> bool:
    """Whether a person sits at both ends: what is said goes to standard error, answers come from standard input."""
    try:
        return sys.stdin.isatty() and sys.stderr.isatty()
    except (AttributeError, ValueError):  # none, or closed
        return False


def is_desktop() -> bool:
    """Whether a window could be shown, and the standard library has what it takes."""
    shown = sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY"))
    return shown and importlib.util.find_spec("_tkinter") is not None


def _refuse(step: Step) -> NoReturn:
    raise _error(step)


def _unaskable(step: Step) -> Answer:
    error = _error(step)
    instead = INSTEAD_AT.get(step.place) or INSTEAD.get(step.name, "")
    then = f"; {instead}, and start again" if instead else ""
    told = type(error)(
        f"{error.sentence} Nobody can be asked here, as there is neither a terminal nor a desktop{then}.",
        explanation=error.explanation,
        retry_after=error.retry_after,
        fields=error.fields,
    )
    told.metadata.update(error.metadata)
    raise told


def _error(step: Step) -> KeypegError:
    return step.error or LicenseMissing(step.sentence)
