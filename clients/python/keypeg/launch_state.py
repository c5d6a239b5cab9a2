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
    FILE = "which credential file?"  # a person is asked
    IMPORTING = "signing in with the file"
    BEGINNING = "getting a code"
    CODE = "approved elsewhere?"  # a person is asked
    FINISHING = "signing in with the code"
    SURVEYING = "surveying"  # what the account owns, and where it could be used
    OFFER = "use it there?"  # a person is asked, of one place
    CHOOSE = "use it where?"  # a person is asked, of several places
    MOVE = "move the cloud session?"  # a person is asked
    PLACES = "where else?"  # a person is asked
    OPENING = "opening the cloud session"
    PUTTING = "putting into the cloud"
    ONTO_KEY = "activating onto the key"
    ONTO_HOST = "activating onto this computer"
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
    BY_FILE = "the person has a credential file"
    IMPORTS = "the person names it"
    BY_CODE = "the person wants a code"
    SHOWN = "it is there"
    APPROVED = "the person says that it is approved"
    PENDING = "nobody has approved it yet"
    BACK = "the person signs in otherwise"
    SIGNED_IN = "they are signed in"
    WARNED = "they are signed in, and have to hear something"
    ONE = "one place would help"
    SEVERAL = "several places would help"
    ELSEWHERE = "the cloud session would help, and another device has it"
    NO_PLACE = "no place would help"
    ALWAYS_CLOUD = "the cloud would help, and always was the answer once"
    ALWAYS_KEY = "the key would help, and always was the answer once"
    ALWAYS_HOST = "this computer would help, and always was the answer once"
    OPENS = "the person wants the cloud session here"
    PUTS = "the person puts a license into the cloud"
    TO_KEY = "the person wants it on the key"
    TO_HOST = "the person wants it on this computer"
    PLACED = "it is done"
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
    (_L.SIGN_IN, _H.BY_FILE): _L.FILE,
    (_L.SIGN_IN, _H.BY_CODE): _L.BEGINNING,
    (_L.SIGN_IN, _H.LEAVES): _L.LEFT,
    (_L.SIGNING_IN, _H.SIGNED_IN): _L.LOOKING,
    (_L.SIGNING_IN, _H.WARNED): _L.TOLD,
    (_L.SIGNING_IN, _H.FAILED): _L.SIGN_IN,
    (_L.FILE, _H.IMPORTS): _L.IMPORTING,
    (_L.FILE, _H.BACK): _L.SIGN_IN,
    (_L.FILE, _H.LEAVES): _L.LEFT,
    (_L.IMPORTING, _H.SIGNED_IN): _L.LOOKING,
    (_L.IMPORTING, _H.FAILED): _L.FILE,
    (_L.BEGINNING, _H.SHOWN): _L.CODE,
    (_L.BEGINNING, _H.FAILED): _L.SIGN_IN,
    (_L.CODE, _H.APPROVED): _L.FINISHING,
    (_L.CODE, _H.BACK): _L.SIGN_IN,
    (_L.CODE, _H.LEAVES): _L.LEFT,
    (_L.FINISHING, _H.SIGNED_IN): _L.LOOKING,
    (_L.FINISHING, _H.WARNED): _L.TOLD,
    (_L.FINISHING, _H.PENDING): _L.CODE,
    (_L.FINISHING, _H.FAILED): _L.SIGN_IN,
    (_L.SURVEYING, _H.NOBODY): _L.SIGN_IN,
    (_L.SURVEYING, _H.ALWAYS_CLOUD): _L.OPENING,
    (_L.SURVEYING, _H.ALWAYS_KEY): _L.ONTO_KEY,
    (_L.SURVEYING, _H.ALWAYS_HOST): _L.ONTO_HOST,
    (_L.SURVEYING, _H.ELSEWHERE): _L.MOVE,
    (_L.SURVEYING, _H.ONE): _L.OFFER,
    (_L.SURVEYING, _H.SEVERAL): _L.CHOOSE,
    (_L.SURVEYING, _H.NO_PLACE): _L.PLACES,
    (_L.SURVEYING, _H.FAILED): _L.TOLD,
    (_L.OFFER, _H.OPENS): _L.OPENING,
    (_L.OFFER, _H.TO_KEY): _L.ONTO_KEY,
    (_L.OFFER, _H.TO_HOST): _L.ONTO_HOST,
    (_L.OFFER, _H.LEAVES): _L.LEFT,
    (_L.CHOOSE, _H.OPENS): _L.OPENING,
    (_L.CHOOSE, _H.PUTS): _L.PUTTING,
    (_L.CHOOSE, _H.TO_KEY): _L.ONTO_KEY,
    (_L.CHOOSE, _H.TO_HOST): _L.ONTO_HOST,
    (_L.CHOOSE, _H.LEAVES): _L.LEFT,
    (_L.MOVE, _H.OPENS): _L.OPENING,
    (_L.MOVE, _H.TO_KEY): _L.ONTO_KEY,
    (_L.MOVE, _H.TO_HOST): _L.ONTO_HOST,
    (_L.MOVE, _H.LEAVES): _L.LEFT,
    (_L.PLACES, _H.PUTS): _L.PUTTING,
    (_L.PLACES, _H.AGAIN): _L.LOOKING,
    (_L.PLACES, _H.OTHER): _L.SIGN_IN,
    (_L.PLACES, _H.LEAVES): _L.LEFT,
    (_L.OPENING, _H.PLACED): _L.LOOKING,
    (_L.OPENING, _H.ELSEWHERE): _L.SURVEYING,
    (_L.OPENING, _H.FAILED): _L.TOLD,
    (_L.PUTTING, _H.PLACED): _L.LOOKING,
    (_L.PUTTING, _H.FAILED): _L.TOLD,
    (_L.ONTO_KEY, _H.PLACED): _L.LOOKING,
    (_L.ONTO_KEY, _H.FAILED): _L.TOLD,
    (_L.ONTO_HOST, _H.PLACED): _L.LOOKING,
    (_L.ONTO_HOST, _H.FAILED): _L.TOLD,
    (_L.TOLD, _H.AGAIN): _L.LOOKING,
    (_L.TOLD, _H.OTHER): _L.SIGN_IN,
    (_L.TOLD, _H.LEAVES): _L.LEFT,
}

ASKING: Final = frozenset(
    {_L.SIGN_IN, _L.FILE, _L.CODE, _L.OFFER, _L.CHOOSE, _L.MOVE, _L.PLACES, _L.TOLD}
)
OVER: Final = frozenset({_L.RUNNING, _L.LEFT})


def next_state(state: LaunchState, happening: Happening) -> LaunchState:
    """The state after what happened; AssertionError for what the table does not have."""
    following = TRANSITIONS.get((state, happening))
    assert following is not None, f"a launch at {state.value!r} can not go on: {happening.value}"
    return following
