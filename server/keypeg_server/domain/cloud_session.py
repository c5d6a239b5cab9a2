"""The cloud session of an account: one, held by one device.

Promises: a table `(state, mode, event) -> (state, mode, effects)` is the whole machine; what is absent can
not happen. Opening elsewhere moves it and says from where (CLOUD-3); it never ends by itself (CLOUD-4);
automatic mode leaves nothing outside of the open cloud and gives all back when it closes (CLOUD-7, CLOUD-8,
CLOUD-11); managed mode keeps what was chosen, reserved while it is closed (CLOUD-9, CLOUD-11); taking
something out switches to managed, and only asking for it switches back (CLOUD-10).

Leaves to others: which licenses those are (cloud_licenses.py), telling apps (events), and storing it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from keypeg import names
from keypeg.errors import CloudSessionClosed, CloudSessionElsewhere


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
        (_CLOSED, _AUTOMATIC, CloudEvent.SET_AUTOMATIC): (_CLOSED, _AUTOMATIC, ()),
        (_CLOSED, _AUTOMATIC, CloudEvent.SET_MANAGED): (_CLOSED, _MANAGED, ()),
        (_CLOSED, _AUTOMATIC, CloudEvent.PUT_IN): (_CLOSED, _AUTOMATIC, ()),
        (_CLOSED, _AUTOMATIC, CloudEvent.TAKE_OUT): (_CLOSED, _MANAGED, ()),
        (_CLOSED, _AUTOMATIC, CloudEvent.LICENSE_FREED): (_CLOSED, _AUTOMATIC, ()),
        (_OPEN, _AUTOMATIC, CloudEvent.OPEN): (_OPEN, _AUTOMATIC, _ARRANGE),
        (_OPEN, _AUTOMATIC, CloudEvent.MOVE): (_OPEN, _AUTOMATIC, _ARRANGE),
        (_OPEN, _AUTOMATIC, CloudEvent.CLOSE): (_CLOSED, _AUTOMATIC, _RELEASE),
        (_OPEN, _AUTOMATIC, CloudEvent.CLOSE_ELSEWHERE): (_CLOSED, _AUTOMATIC, _RELEASE),
        (_OPEN, _AUTOMATIC, CloudEvent.SET_AUTOMATIC): (_OPEN, _AUTOMATIC, _ARRANGE),
        (_OPEN, _AUTOMATIC, CloudEvent.SET_MANAGED): (_OPEN, _MANAGED, ()),
        (_OPEN, _AUTOMATIC, CloudEvent.PUT_IN): (_OPEN, _AUTOMATIC, ()),
        (_OPEN, _AUTOMATIC, CloudEvent.TAKE_OUT): (_OPEN, _MANAGED, ()),
        (_OPEN, _AUTOMATIC, CloudEvent.LICENSE_FREED): (_OPEN, _AUTOMATIC, _ARRANGE),
        (_CLOSED, _MANAGED, CloudEvent.OPEN): (_OPEN, _MANAGED, ()),
        (_CLOSED, _MANAGED, CloudEvent.CLOSE): (_CLOSED, _MANAGED, ()),
        (_CLOSED, _MANAGED, CloudEvent.SET_AUTOMATIC): (_CLOSED, _AUTOMATIC, _RELEASE),
        (_CLOSED, _MANAGED, CloudEvent.SET_MANAGED): (_CLOSED, _MANAGED, ()),
        (_CLOSED, _MANAGED, CloudEvent.PUT_IN): (_CLOSED, _MANAGED, ()),
        (_CLOSED, _MANAGED, CloudEvent.TAKE_OUT): (_CLOSED, _MANAGED, ()),
        (_CLOSED, _MANAGED, CloudEvent.LICENSE_FREED): (_CLOSED, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.OPEN): (_OPEN, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.MOVE): (_OPEN, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.CLOSE): (_CLOSED, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.CLOSE_ELSEWHERE): (_CLOSED, _MANAGED, ()),
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


@dataclass(frozen=True)
class Holder:
    """A device, as it asks and as it is told to others."""

    device: str  # id
    host_name: str

    @property
    def called(self) -> str:
        """What people know it by."""
        return self.host_name or self.device


@dataclass(frozen=True)
class CloudSession:
    """Whether it is held, by which device, and in which mode."""

    account: str  # id
    mode: CloudMode = CloudMode.AUTOMATIC
    state: CloudState = CloudState.CLOSED
    holder: Holder | None = None
    open_time: datetime | None = None
    user: str = ""  # name of who opened it
    generation: int = 0

    @property
    def name(self) -> str:
        return names.CLOUD_SESSION.build(self.account)

    @property
    def implies(self) -> str:
        """What its mode means now, for a person."""
        return IMPLIES[self.state, self.mode]

    @property
    def reserves(self) -> bool:
        """Whether what is in the cloud waits there, used by nobody."""
        return self.state is CloudState.CLOSED


@dataclass(frozen=True)
class Outcome:
    """The cloud session after an event, and what goes with it."""

    session: CloudSession
    effects: tuple[CloudEffect, ...]
    left: Holder | None = None  # the device that lost it


def step(session: CloudSession, event: CloudEvent) -> tuple[CloudSession, tuple[CloudEffect, ...]]:
    """Look an event up in the table; KeyError when it has no place there."""
    state, mode, effects = TABLE[session.state, session.mode, event]
    return replace(session, state=state, mode=mode), effects


def opened(
    session: CloudSession, holder: Holder, user: str, now: datetime, *, keep_elsewhere: bool
) -> Outcome:
    """Open it on a device, or move it there; opening where it is open changes nothing but the name."""
    before = session.holder
    if before is not None and before.device != holder.device:
        if keep_elsewhere:
            raise elsewhere(session)
        event = CloudEvent.MOVE
    else:
        event = CloudEvent.OPEN
    after, effects = step(session, event)
    if before == holder:
        return Outcome(after, effects)
    moved = before is not None and before.device != holder.device
    kept_time = session.open_time if before is not None and not moved else now
    after = replace(
        after, holder=holder, open_time=kept_time, user=user, generation=session.generation + 1
    )
    return Outcome(after, effects, left=before if moved else None)


def closed(session: CloudSession, device: str) -> Outcome:
    """Close it; from another device than its holder's, it is moved there and closed, which are two changes.

    Closing what is closed changes nothing.
    """
    before = session.holder
    elsewhere = before is not None and before.device != device
    event = CloudEvent.CLOSE_ELSEWHERE if elsewhere else CloudEvent.CLOSE
    after, effects = step(session, event)
    if before is None:
        return Outcome(session, effects)
    generation = session.generation + (2 if elsewhere else 1)
    after = replace(after, holder=None, open_time=None, user="", generation=generation)
    return Outcome(after, effects, left=before)


def switched(session: CloudSession, mode: CloudMode) -> Outcome:
    """Set its mode; the one that it has changes nothing."""
    automatic = mode is CloudMode.AUTOMATIC
    event = CloudEvent.SET_AUTOMATIC if automatic else CloudEvent.SET_MANAGED
    return _mode_after(session, event)


def put_in(session: CloudSession) -> Outcome:
    """One license was chosen for the cloud."""
    return _mode_after(session, CloudEvent.PUT_IN)


def taken_out(session: CloudSession) -> Outcome:
    """One activation leaves the cloud: from then on, a person chooses what is there."""
    return _mode_after(session, CloudEvent.TAKE_OUT)


def license_freed(session: CloudSession) -> tuple[CloudEffect, ...]:
    """What goes with a license that was deposited, that another location gave back, or that is usable again."""
    return step(session, CloudEvent.LICENSE_FREED)[1]


def _mode_after(session: CloudSession, event: CloudEvent) -> Outcome:
    after, effects = step(session, event)
    if after.mode is not session.mode:
        after = replace(after, generation=session.generation + 1)
    return Outcome(after, effects)


def check_held_by(session: CloudSession, device: str) -> None:
    """Refuse a device that does not hold the cloud session."""
    if session.holder is None:
        raise CloudSessionClosed(
            f"{session.name} is closed; open it on this device.",
            account=names.ACCOUNT.build(session.account),
            cloud_session=session.name,
        )
    if session.holder.device != device:
        raise elsewhere(session)


def elsewhere(session: CloudSession) -> CloudSessionElsewhere:
    """Who holds it, and what to do."""
    assert session.holder is not None
    since = "" if session.open_time is None else session.open_time.isoformat()
    return CloudSessionElsewhere(
        f"{session.holder.called} holds {session.name}; open it on this device to move it here.",
        account=names.ACCOUNT.build(session.account),
        cloud_session=session.name,
        device=session.holder.device,
        host_name=session.holder.host_name,
        since=since,
    )
