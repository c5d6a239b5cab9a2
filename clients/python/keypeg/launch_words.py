"""What a launch says to a person: the steps, with their sentences and choices.

Promises: pure. A sentence says what is, and what a choice does that it does not say itself. The choice that the
Enter key takes never stops anything on another computer.

Leaves to others: when each step comes (launch_flow).
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from keypeg.errors import KeypegError, Reason, UpdateRequired
from keypeg.launch_steps import Choice, Field, FieldKind, Place, Step
from keypeg.launch_survey import Survey

YES: Final = "yes"  # of a field to check
NOT_NOW: Final = Choice("leave", "Not now", leaves=True)
QUIT: Final = Choice("leave", "Quit", leaves=True)
AGAIN: Final = Choice("again", "Try again", is_default=True)
OTHER: Final = Choice("other", "Sign in as another")


def sign_in(
    product: str, server: str, login: str, problem: KeypegError | None, why: KeypegError
) -> Step:
    """Who is it?"""
    fields: tuple[Field, ...] = (
        Field("login", "Login", value=login),
        Field("password", "Password", FieldKind.SECRET),
        Field("remember", "Remember me on this computer", FieldKind.CHECK, YES),
    )
    if problem is not None and problem.reason is Reason.CODE_REQUIRED:
        fields = (*fields[:2], Field("code", "One-time code"), *fields[2:])
    if not server:
        fields = (Field("server", "Server (host:port)"), *fields)
    where = f" at {server}" if server else ""
    return Step(
        "sign_in",
        "Sign in",
        f"{product} has found no license on this computer. Sign in{where} to use one of your account.",
        (Choice("sign_in", "Sign in", is_default=True), NOT_NOW),
        fields,
        problem=problem.sentence if problem else "",
        error=why,
    )


def offer(product: str, family: str, survey: Survey, why: KeypegError) -> Step:
    """Open the cloud session?"""
    sentence = (
        f"Your account has a license for {product} that works on this computer while it holds the account's "
        "cloud session. Open it here?"
    )
    if survey.is_blind:
        sentence = (
            "The account of your credential file has a cloud session. Open it on this computer, so that "
            f"{product} runs by a license that is in it?"
        )
    return Step(
        "offer",
        "Open a cloud session?",
        sentence,
        (
            Choice("yes", "Yes", is_default=True),
            Choice("always", f"Always for {family}"),
            Choice("no", "No", leaves=True),
        ),
        places=survey.places,
        note="No leaves your licenses free for other places. Always is remembered until you run "
        "`keypeg launch reset`.",
        error=why,
    )


def move(survey: Survey, why: KeypegError) -> Step:
    """Move the cloud session?"""
    cloud = survey.cloud
    where = cloud.host_name or "another computer"
    since = f" since {_moment(cloud.open_time, survey.now)}" if cloud.open_time else ""
    return Step(
        "move",
        f"In use on {where}",
        f"The cloud session is open on {where}{since}. Move it here? What runs by it there stops at once.",
        (
            Choice("move", "Move it here"),
            Choice("leave", "Leave it there", is_default=True, leaves=True),
        ),
        places=survey.places,
        error=why,
    )


def places(product: str, survey: Survey, why: KeypegError, *, put: bool) -> Step:
    """Where else?"""
    if survey.licenses or survey.is_blind:
        sentence = f"{product} finds no license that it can use on this computer now."
    else:
        sentence = f"The account of {survey.login} has no license for {product}."
    added = (Choice("put", "Put it into the cloud", is_default=True),) if put else ()
    again = Choice("again", "Try again", is_default=not put)
    shown: tuple[Place, ...] = survey.places
    return Step(
        "places",
        f"Where can {product} be used?",
        sentence,
        (*added, again, OTHER, QUIT),
        places=shown,
        error=why,
    )


def told(product: str, why: KeypegError, first: KeypegError | None = None) -> Step:
    """What now? `first`: why no license was found, where `why` is only why no more could be found out."""
    title = (
        "An update is needed"
        if isinstance(why, UpdateRequired)
        else f"{product} can not be started now"
    )
    return Step("told", title, why.sentence, (AGAIN, OTHER, QUIT), error=first or why)


def warned(sentence: str, why: KeypegError) -> Step:
    """What whoever has just signed in has to hear before the app goes on."""
    go_on = Choice("again", "Go on", is_default=True)
    return Step("told", "About your sign-in", sentence, (go_on, OTHER, QUIT), error=why)


def _moment(moment: datetime, now: datetime) -> str:
    local = moment.astimezone(now.tzinfo)
    return f"{local:%H:%M}" if local.date() == now.date() else f"{local:%Y-%m-%d %H:%M}"
