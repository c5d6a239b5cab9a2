"""The cloud session of an account: one, held by one device.

Promises: a table `(state, mode, event) -> (state, mode, effects)` is the whole machine; what is absent is
refused. Opening elsewhere moves it and says from where (CLOUD-3); it never ends by itself (CLOUD-4);
automatic mode activates what is free when it opens or when something becomes free, and gives all back
when it closes (CLOUD-7, CLOUD-11); managed mode keeps what was chosen.

Leaves to others: which licenses those are (license.py), telling apps (events), and storing it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from keypeg import names
from keypeg.errors import CloudSessionClosed, CloudSessionElsewhere, LicenseUnsuitable


class CloudMode(enum.IntEnum):
    """keypeg.v1.CloudMode, but for its zero."""

    AUTOMATIC = 1
    MANAGED = 2


class CloudState(enum.IntEnum):
    """keypeg.v1.CloudSessionState, but for its zero."""

    CLOSED = 1
    OPEN = 2


class CloudEvent(enum.Enum):
    """What can happen to it."""

    OPEN = "open"  # by the device that holds it, or by any when it is closed
    MOVE = "move"  # opened by another device than the one that holds it
    CLOSE = "close"
    LICENSE_FREED = "license freed"  # deposited, or given back by another location
    TAKE_OUT = "take out"  # one activation leaves the cloud


class CloudEffect(enum.Enum):
    """What must happen in the same transaction."""

    ACTIVATE_FREE = "activate every free license"
    RELEASE_ALL = "release all cloud activations"


_CLOSED, _OPEN = CloudState.CLOSED, CloudState.OPEN
_AUTOMATIC, _MANAGED = CloudMode.AUTOMATIC, CloudMode.MANAGED
_FILL, _RELEASE = (CloudEffect.ACTIVATE_FREE,), (CloudEffect.RELEASE_ALL,)

Step = tuple[CloudState, CloudMode, tuple[CloudEffect, ...]]

TABLE: Final[Mapping[tuple[CloudState, CloudMode, CloudEvent], Step]] = MappingProxyType(
    {
        (_CLOSED, _AUTOMATIC, CloudEvent.OPEN): (_OPEN, _AUTOMATIC, _FILL),
        (_CLOSED, _AUTOMATIC, CloudEvent.CLOSE): (_CLOSED, _AUTOMATIC, ()),
        (_CLOSED, _AUTOMATIC, CloudEvent.LICENSE_FREED): (_CLOSED, _AUTOMATIC, ()),
        (_CLOSED, _AUTOMATIC, CloudEvent.TAKE_OUT): (_CLOSED, _AUTOMATIC, ()),
        (_OPEN, _AUTOMATIC, CloudEvent.OPEN): (_OPEN, _AUTOMATIC, _FILL),
        (_OPEN, _AUTOMATIC, CloudEvent.MOVE): (_OPEN, _AUTOMATIC, _FILL),
        (_OPEN, _AUTOMATIC, CloudEvent.CLOSE): (_CLOSED, _AUTOMATIC, _RELEASE),
        (_OPEN, _AUTOMATIC, CloudEvent.LICENSE_FREED): (_OPEN, _AUTOMATIC, _FILL),
        # (_OPEN, _AUTOMATIC, TAKE_OUT) is absent: it would be activated again at once.
        (_CLOSED, _MANAGED, CloudEvent.OPEN): (_OPEN, _MANAGED, ()),
        (_CLOSED, _MANAGED, CloudEvent.CLOSE): (_CLOSED, _MANAGED, ()),
        (_CLOSED, _MANAGED, CloudEvent.LICENSE_FREED): (_CLOSED, _MANAGED, ()),
        (_CLOSED, _MANAGED, CloudEvent.TAKE_OUT): (_CLOSED, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.OPEN): (_OPEN, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.MOVE): (_OPEN, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.CLOSE): (_CLOSED, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.LICENSE_FREED): (_OPEN, _MANAGED, ()),
        (_OPEN, _MANAGED, CloudEvent.TAKE_OUT): (_OPEN, _MANAGED, ()),
    }
)


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


def closed(session: CloudSession) -> Outcome:
    """Close it, from whatever device; closing what is closed changes nothing."""
    after, effects = step(session, CloudEvent.CLOSE)
    if session.state is CloudState.CLOSED:
        return Outcome(session, effects)
    after = replace(after, holder=None, open_time=None, user="", generation=session.generation + 1)
    return Outcome(after, effects, left=session.holder)


def license_freed(session: CloudSession) -> tuple[CloudEffect, ...]:
    """What goes with a license that was deposited, or that another location gave back."""
    return step(session, CloudEvent.LICENSE_FREED)[1]


def check_take_out(session: CloudSession) -> None:
    """Refuse to take one activation out of the cloud while automatic mode would put it back."""
    if (session.state, session.mode, CloudEvent.TAKE_OUT) not in TABLE:
        raise LicenseUnsuitable(
            f"{session.name} is open in automatic mode, which activates every free license in the cloud; "
            "close it, and this license is free for another location.",
            cloud_session=session.name,
            rule="automatic_mode",
        )


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
