"""The machine of a cloud session, as a table.

Promises: `(state, mode, event) -> (state, mode, effects)` is the whole machine; what is absent can not happen.

Leaves to others: who holds it, and what goes with each step (cloud_session.py).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class CloudMode(enum.IntEnum):
    """keypeg.v1.CloudMode, but for its zero."""

    AUTOMATIC = 1
    MANAGED = 2

    @property
    def letter(self) -> str:
        """`A` or `M`, as it is always shown."""
        return self.name[0]


class CloudState(enum.IntEnum):
    """keypeg.v1.CloudSessionState, but for its zero."""

    CLOSED = 1
    OPEN = 2


class CloudEvent(enum.Enum):
    """What can happen to it."""

    OPEN = "open"  # by the device that holds it, or by any when it is closed
    MOVE = "move"  # opened by another device than the one that holds it
    CLOSE = "close"  # by the device that holds it, or by any when it is closed
    CLOSE_ELSEWHERE = "close elsewhere"  # by another device: moved there, and closed
    END = "end"  # from outside: by an administrator, or since its member goes
    SET_AUTOMATIC = "set automatic"
    SET_MANAGED = "set managed"
    PUT_IN = "put in"  # one license was chosen for the cloud
    TAKE_OUT = "take out"  # one activation leaves the cloud
    LICENSE_FREED = "license freed"  # deposited, given back by another location, usable again


class CloudEffect(enum.Enum):
    """What must happen in the same transaction."""

    ARRANGE = "activate what is free, and free what is there twice"
    RELEASE_ALL = "release all cloud activations"


_CLOSED, _OPEN = CloudState.CLOSED, CloudState.OPEN
_AUTOMATIC, _MANAGED = CloudMode.AUTOMATIC, CloudMode.MANAGED
_ARRANGE, _RELEASE = (CloudEffect.ARRANGE,), (CloudEffect.RELEASE_ALL,)

Step = tuple[CloudState, CloudMode, tuple[CloudEffect, ...]]

# Absent is only what can not happen: nobody has what is closed, so that it is not moved or closed from elsewhere.
TABLE: Final[Mapping[tuple[CloudState, CloudMode, CloudEvent], Step]] = MappingProxyType(
    {
        (_CLOSED, _AUTOMATIC, CloudEvent.OPEN): (_OPEN, _AUTOMATIC, _ARRANGE),
        (_CLOSED, _AUTOMATIC, CloudEvent.CLOSE): (_CLOSED, _AUTOMATIC, ()),
        (_CLOSED, _AUTOMATIC, CloudEvent.END): (_CLOSED, _AUTOMATIC, _RELEASE),
        (_CLOSED, _AUTOMATIC, CloudEvent.SET_AUTOMATIC): (_CLOSED, _AUTOMATIC, ()),
        (_CLOSED, _AUTOMATIC, CloudEvent.SET_MANAGED): (_CLOSED, _MANAGED, ()),
        (_CLOSED, _AUTOMATIC, CloudEvent.PUT_IN): (_CLOSED, _AUTOMATIC, ()),
        (_CLOSED, _AUTOMATIC, CloudEvent.TAKE_OUT): (_CLOSED, _MANAGED, ()),
        (_CLOSED, _AUTOMATIC, CloudEvent.LICENSE_FREED): (_CLOSED, _AUTOMATIC, ()),
        (_OPEN, _AUTOMATIC, CloudEvent.OPEN): (_OPEN, _AUTOMATIC, _ARRANGE),
        (_OPEN, _AUTOMATIC, CloudEvent.MOVE): (_OPEN, _AUTOMATIC, _ARRANGE),
        (_OPEN, _AUTOMATIC, CloudEvent.CLOSE): (_CLOSED, _AUTOMATIC, _RELEASE),
        (_OPEN, _AUTOMATIC, CloudEvent.CLOSE_ELSEWHERE): (_CLOSED, _AUTOMATIC, _RELEASE),
        (_OPEN, _AUTOMATIC, CloudEvent.END): (_CLOSED, _AUTOMATIC, _RELEASE),
        (_OPEN, _AUTOMATIC, CloudEvent.SET_AUTOMATIC): (_OPEN, _AUTOMATIC, _ARRANGE),
        (_OPEN, _AUTOMATIC, CloudEvent.SET_MANAGED): (_OPEN, _MANAGED, ()),
        (_OPEN, _AUTOMATIC, CloudEvent.PUT_IN): (_OPEN, _AUTOMATIC, ()),
        (_OPEN, _AUTOMATIC, CloudEvent.TAKE_OUT): (_OPEN, _MANAGED, ()),
        (_OPEN, _AUTOMATIC, CloudEvent.LICENSE_FREED): (_OPEN, _AUTOMATIC, _ARRANGE),
        (_CLOSED, _MANAGED, CloudEvent.OPEN): (_OPEN, _MANAGED, ()),
        (_CLOSED, _MANAGED, CloudEvent.CLOSE): (_CLOSED, _MANAGED, ()),
        (_CLOSED, _MANAGED, CloudEvent.END): (_CLOSED, _MANAGED, _RELEASE),
        (_CLOSED, _MANAGED, CloudEvent.SET_AUTOMATIC): (_CLOSED, _AUTOMATIC, _RELEASE),
        (_CLOSED, _MANAGED, CloudEvent.SET_MANAGED): (_CLOSED, _MANAGED, ()),
        (_CLOSED, _MANAGED, CloudEvent.PUT_IN): (_CLOSED, _MANAGED, ()),
        (_CLOSED, _MANAGED, CloudEvent.TAKE_OUT): (_CLOSED, _MANAGED, ()),
        (_CLOSED, _MANAGED, CloudEvent.LICENSE_FREED): (_CLOSED, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.OPEN): (_OPEN, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.MOVE): (_OPEN, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.CLOSE): (_CLOSED, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.CLOSE_ELSEWHERE): (_CLOSED, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.END): (_CLOSED, _MANAGED, _RELEASE),
        (_OPEN, _MANAGED, CloudEvent.SET_AUTOMATIC): (_OPEN, _AUTOMATIC, _ARRANGE),
        (_OPEN, _MANAGED, CloudEvent.SET_MANAGED): (_OPEN, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.PUT_IN): (_OPEN, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.TAKE_OUT): (_OPEN, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.LICENSE_FREED): (_OPEN, _MANAGED, ()),
    }
)

# What people are told that the mode means for them now.
IMPLIES: Final[Mapping[tuple[CloudState, CloudMode], str]] = MappingProxyType(
    {
        (
            _CLOSED,
            _AUTOMATIC,
        ): "automatic: opening it activates every free license that may live in the "
        "cloud, and closing it frees them all",
        (
            _OPEN,
            _AUTOMATIC,
        ): "automatic: every free license that may live in the cloud is activated, also what "
        "is deposited later; closing frees them all",
        (
            _CLOSED,
            _MANAGED,
        ): "managed: the licenses chosen for the cloud stay reserved for it, and are there "
        "again when it is opened",
        (
            _OPEN,
            _MANAGED,
        ): "managed: only the licenses chosen for the cloud are used there; closing keeps "
        "them reserved",
    }
)
assert set(IMPLIES) == {(state, mode) for state in CloudState for mode in CloudMode}
