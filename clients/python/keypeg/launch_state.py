"""The states of a launch as a table: from an app that finds no license to one that runs, or leaves it.

Promises: every change of state is in TRANSITIONS, anything else is an error. A launch ends as running or as left,
and nothing goes round without a person's answer but the looking after what was changed.

Leaves to others: what is asked and what is done (launch_flow), doing it (launch_work).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final


class LaunchState(enum.Enum):
    """What a launch is doing."""

    LOOKING = "looking"  # for a license, wherever one may be
    SIGN_IN = "sign in?"  # a person is asked
    SIGNING_IN = "signing in"
    SURVEYING = "surveying"  # what the account owns, and where it could be used
    OFFER = "open the cloud session?"  # a person is asked
    MOVE = "move the cloud session?"  # a person is asked
    OPENING = "opening the cloud session"
    PLACES = "where else?"  # a person is asked
    PUTTING = "putting into the cloud"
    TOLD = "what now?"  # a person is asked
    RUNNING = "running"
    LEFT = "left"


class Happening(enum.Enum):
    """What may happen in a launch."""

    FOUND = "a license was found"
    NOBODY = "nobody is signed in"
    MISSING = "there is no license here"
    FAILED = "something else is in the way"
    SIGNS_IN = "the person signs in"
    SIGNED_IN = "they are signed in"
    WARNED = "they are signed in, and have to hear something"
    CLOSED = "the cloud session would help, and is closed"
    ALWAYS = "the same, and always was the answer once"
    ELSEWHERE = "the cloud session would help, and another device has it"
    NO_CLOUD = "the cloud session would not help"
    OPENS = "the person wants it here"
    OPENED = "it is open here"
    PUTS = "the person puts a license into the cloud"
    PUT = "it is there"
    AGAIN = "the person tries again"
    OTHER = "the person signs in as another"
    LEAVES = "the person leaves it"


_L, _H = LaunchState, Happening

TRANSITIONS: Final[Mapping[tuple[LaunchState, Happening], LaunchState]] = {
    (_L.LOOKING, _H.FOUND): _L.RUNNING,
    (_L.LOOKING, _H.NOBODY): _L.SIGN_IN,
    (_L.LOOKING, _H.MISSING): _L.SURVEYING,
    (_L.LOOKING, _H.FAILED): _L.TOLD,
    (_L.SIGN_IN, _H.SIGNS_IN): _L.SIGNING_IN,
    (_L.SIGN_IN, _H.LEAVES): _L.LEFT,
    (_L.SIGNING_IN, _H.SIGNED_IN): _L.LOOKING,
    (_L.SIGNING_IN, _H.WARNED): _L.TOLD,
    (_L.SIGNING_IN, _H.FAILED): _L.SIGN_IN,
    (_L.SURVEYING, _H.NOBODY): _L.SIGN_IN,
    (_L.SURVEYING, _H.CLOSED): _L.OFFER,
    (_L.SURVEYING, _H.ALWAYS): _L.OPENING,
    (_L.SURVEYING, _H.ELSEWHERE): _L.MOVE,
    (_L.SURVEYING, _H.NO_CLOUD): _L.PLACES,
    (_L.SURVEYING, _H.FAILED): _L.TOLD,
    (_L.OFFER, _H.OPENS): _L.OPENING,
    (_L.OFFER, _H.LEAVES): _L.LEFT,
    (_L.MOVE, _H.OPENS): _L.OPENING,
    (_L.MOVE, _H.LEAVES): _L.LEFT,
    (_L.OPENING, _H.OPENED): _L.LOOKING,
    (_L.OPENING, _H.ELSEWHERE): _L.SURVEYING,
    (_L.OPENING, _H.FAILED): _L.TOLD,
    (_L.PLACES, _H.PUTS): _L.PUTTING,
    (_L.PLACES, _H.AGAIN): _L.LOOKING,
    (_L.PLACES, _H.OTHER): _L.SIGN_IN,
    (_L.PLACES, _H.LEAVES): _L.LEFT,
    (_L.PUTTING, _H.PUT): _L.LOOKING,
    (_L.PUTTING, _H.FAILED): _L.TOLD,
    (_L.TOLD, _H.AGAIN): _L.LOOKING,
    (_L.TOLD, _H.OTHER): _L.SIGN_IN,
    (_L.TOLD, _H.LEAVES): _L.LEFT,
}

ASKING: Final = frozenset({_L.SIGN_IN, _L.OFFER, _L.MOVE, _L.PLACES, _L.TOLD})
OVER: Final = frozenset({_L.RUNNING, _L.LEFT})


def next_state(state: LaunchState, happening: Happening) -> LaunchState:
    """The state after what happened; AssertionError for what the table does not have."""
    following = TRANSITIONS.get((state, happening))
    assert following is not None, f"a launch at {state.value!r} can not go on: {happening.value}"
    return following
