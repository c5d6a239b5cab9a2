"""What a launch says to a person: the steps, with their sentences and choices.

Promises: pure. A sentence says what is, and what a choice does that it does not say itself. The choice that the
Enter key takes never stops anything on another computer.

Leaves to others: when each step comes (launch_flow), signing in (launch_sign_in_words), what is said of each place
(launch_places).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from keypeg import launch_places
from keypeg.errors import KeypegError, UpdateRequired
from keypeg.launch_sign_in_words import AT, NOT_NOW, YES, code, file, sign_in
from keypeg.launch_steps import Choice, Field, FieldKind, Step
from keypeg.launch_survey import CLOUD, HOST, KEY, PUT, Survey

__all__ = ["AT", "YES", "choose", "code", "file", "move", "offer", "places", "sign_in", "told"]

QUIT: Final = Choice("leave", "Quit", leaves=True)
AGAIN: Final = Choice("again", "Try again", is_default=True)
OTHER: Final = Choice("other", "Sign in as another")
_RESET: Final = "Always is remembered until you run `keypeg launch reset`."
_STAYS: Final = "It stays there until it is taken back with `keypeg activation delete`, with the key plugged in."
_STAYS_HERE: Final = (
    "It stays on this computer for good, unless its publisher takes it back, or lets you run "
    "`keypeg license recover`."
)


def offer(place: str, product: str, family: str, survey: Survey, why: KeypegError) -> Step:
    """Use it at this place? Where one place would help."""
    says = {CLOUD: _offer_cloud, KEY: _offer_key, HOST: _offer_host}
    title, sentence, note = says[place](product, survey)
    return Step(
        "offer",
        title,
        sentence,
        (
            Choice("yes", "Yes", is_default=True),
            Choice("always", f"Always for {family}"),
            Choice("no", "No", leaves=True),
        ),
        places=launch_places.places(survey),
        note=f"{note} {_RESET}",
        error=why,
        place=place,
    )


def _offer_cloud(product: str, survey: Survey) -> tuple[str, str, str]:
    sentence = (
        f"Your account has a license for {product} that works on this computer while it holds the account's "
        "cloud session. Open it here?"
    )
    if survey.is_blind:
        sentence = (
            "The account of your credential file has a cloud session. Open it on this computer, so that "
            f"{product} runs by a license that is in it?"
        )
    return "Open a cloud session?", sentence, "No leaves your licenses free for other places."


def _offer_key(product: str, survey: Survey) -> tuple[str, str, str]:
    called = _key_called(survey)
    return (
        f"Use {called}?",
        f"Your account has a license for {product} that can live on {called}, and works wherever that is "
        "plugged in. Write it there?",
        f"No leaves it free for other places. {_STAYS}",
    )


def _offer_host(product: str, survey: Survey) -> tuple[str, str, str]:
    return (
        "Use it on this computer?",
        f"Your account has a license for {product} that can live on this computer, {survey.host.called}, and "
        "works here without a connection. Activate it here?",
        f"No leaves it free for other places. {_STAYS_HERE}",
    )


def choose(
    helping: Iterable[str], product: str, family: str, survey: Survey, why: KeypegError
) -> Step:
    """Use it where? Where several places would help."""
    found = tuple(helping)
    choices = tuple(
        Choice(place, _labels(survey)[place], is_default=place == found[0], takes=("always",))
        for place in found
    )
    on = {KEY: "On a key: ", HOST: "On this computer: "}
    notes = [
        f"{on[place]}{text[0].lower()}{text[1:]}"
        for place, text in ((KEY, _STAYS), (HOST, _STAYS_HERE))
        if place in found
    ]
    return Step(
        "choose",
        f"Where should {product} be used?",
        f"Your account has a license for {product}. These places could have it.",
        (*choices, NOT_NOW),
        (Field("always", f"Always there, for {family}", FieldKind.CHECK),),
        places=launch_places.places(survey),
        note=" ".join([*notes, _RESET]),
        error=why,
    )


def move(survey: Survey, why: KeypegError, others: Iterable[str] = ()) -> Step:
    """Move the cloud session? `others`: places that would help as well."""
    cloud = survey.cloud
    where = cloud.host_name or "another computer"
    since = f" since {_moment(cloud.open_time, survey.now)}" if cloud.open_time else ""
    added = tuple(Choice(place, _labels(survey)[place]) for place in others)
    return Step(
        "move",
        f"In use on {where}",
        f"The cloud session is open on {where}{since}. Move it here? What runs by it there stops at once.",
        (
            Choice("move", "Move it here"),
            *added,
            Choice("leave", "Leave it there", is_default=True, leaves=True),
        ),
        places=launch_places.places(survey),
        error=why,
    )


def places(product: str, survey: Survey, why: KeypegError, *, put: bool) -> Step:
    """Where else?"""
    if survey.licenses or survey.is_blind:
        sentence = f"{product} finds no license that it can use on this computer now."
    else:
        sentence = f"The account of {survey.login} has no license for {product}."
    added = (Choice(PUT, _labels(survey)[PUT], is_default=True),) if put else ()
    again = Choice("again", "Try again", is_default=not put)
    return Step(
        "places",
        f"Where can {product} be used?",
        sentence,
        (*added, again, OTHER, QUIT),
        places=launch_places.places(survey),
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


def _labels(survey: Survey) -> dict[str, str]:
    return {
        CLOUD: "Open the cloud session",
        PUT: "Put it into the cloud",
        KEY: f"Onto {_key_called(survey)}",
        HOST: "Onto this computer",
    }


def _key_called(survey: Survey) -> str:
    found = survey.onto_key
    return found[0].called if found else "the key"


def _moment(moment: datetime, now: datetime) -> str:
    local = moment.astimezone(now.tzinfo)
    return f"{local:%H:%M}" if local.date() == now.date() else f"{local:%Y-%m-%d %H:%M}"
