"""The states of a key in the rack, as a table; anything absent is an error of the rack itself.

Promises: `after` is the only way from one state to another. What follows from a change is the shelf's.
"""

from __future__ import annotations

import enum
from typing import Final


class State(enum.Enum):
    """Whether a key can be used; values are those of the contract's KeyState."""

    PRESENT = 1
    MISSING = 2
    """Unplugged a moment ago: its sessions are in their grace."""
    FAULTY = 3
    GONE = 4
    DRAINING = 5
    """The bridge is ending: those who use the key go on for a moment, nobody else begins."""
    STOPPED = 6
    """The bridge has let go of it."""


class Happening(enum.Enum):
    """What can happen to a key."""

    ARRIVED = "arrived"
    """It was opened and read."""
    REWRITTEN = "rewritten"
    """Its contents were changed through this bridge."""
    FAILED = "failed"
    """It could not be opened or read, or did not answer as it should."""
    DEPARTED = "departed"
    """It was unplugged."""
    GRACE_OVER = "grace over"
    """It stayed away for longer than its licenses allow."""
    DRAINED = "drained"
    """The bridge has begun to end."""
    RELEASED = "released"
    """The bridge has let go of all keys."""


TRANSITIONS: Final = {
    (State.GONE, Happening.ARRIVED): State.PRESENT,
    (State.GONE, Happening.FAILED): State.FAULTY,
    (State.PRESENT, Happening.REWRITTEN): State.PRESENT,
    (State.PRESENT, Happening.FAILED): State.FAULTY,
    (State.PRESENT, Happening.DEPARTED): State.MISSING,
    (State.PRESENT, Happening.DRAINED): State.DRAINING,
    (State.FAULTY, Happening.ARRIVED): State.PRESENT,
    (State.FAULTY, Happening.FAILED): State.FAULTY,
    (State.FAULTY, Happening.DEPARTED): State.MISSING,
    (State.FAULTY, Happening.DRAINED): State.STOPPED,
    (State.MISSING, Happening.ARRIVED): State.PRESENT,
    (State.MISSING, Happening.FAILED): State.FAULTY,
    (State.MISSING, Happening.GRACE_OVER): State.GONE,
    (State.MISSING, Happening.DRAINED): State.STOPPED,
    (State.DRAINING, Happening.FAILED): State.STOPPED,
    (State.DRAINING, Happening.DEPARTED): State.GONE,
    (State.DRAINING, Happening.RELEASED): State.STOPPED,
}


def after(state: State, happening: Happening) -> State:
    """The state that follows; LookupError for what cannot happen in `state`."""
    try:
        return TRANSITIONS[state, happening]
    except KeyError:
        raise LookupError(f"a key that is {state.name} cannot have {happening.value}") from None
