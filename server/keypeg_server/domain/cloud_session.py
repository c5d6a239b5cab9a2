"""The cloud session of an account, or of one member of a group: held by one device.

Promises: a table `(state, mode, event) -> (state, mode, effects)` is the whole machine; what is absent can
not happen. Opening elsewhere moves it and says from where (CLOUD-3); it never ends by itself (CLOUD-4);
automatic mode leaves nothing outside of the open cloud and gives all back when it closes (CLOUD-7, CLOUD-8,
CLOUD-11); managed mode keeps what was chosen, reserved while it is closed (CLOUD-9, CLOUD-11); taking
something out switches to managed, and only asking for it switches back (CLOUD-10). An end from outside (an
administrator's, or since the member goes) leaves nothing there, in either mode (CLOUD-19).

Leaves to others: which licenses those are (cloud_licenses.py), telling apps (events), and storing it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from keypeg import names
from keypeg.errors import CloudSessionClosed, CloudSessionElsewhere, MemberSuspended

from .cloud_machine import IMPLIES, TABLE, CloudEffect, CloudEvent, CloudMode, CloudState
from .location import cloud_id

__all__ = [
    "IMPLIES",
    "TABLE",
    "CloudEffect",
    "CloudEvent",
    "CloudMode",
    "CloudSession",
    "CloudState",
    "Holder",
    "Outcome",
]


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
    member: str = ""  # id of the user whose it is; empty for the one of an account that is no group
    login: str = ""  # of the member
    suspended: str = ""  # why its member may not open it; empty: may

    @property
    def name(self) -> str:
        if self.member:
            return names.MEMBER_CLOUD_SESSION.build(self.account, self.member)
        return names.CLOUD_SESSION.build(self.account)

    @property
    def member_name(self) -> str:
        return names.USER.build(self.account, self.member) if self.member else ""

    @property
    def place(self) -> str:
        """The location (id) of the licenses that it opens."""
        return cloud_id(self.member)

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
    check_not_suspended(session)
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


def ended(session: CloudSession, suspended: str = "") -> Outcome:
    """End it from outside, wherever it is open; `suspended` says why it may not be opened again, if so."""
    before = session.holder
    after, effects = step(session, CloudEvent.END)
    if before is not None:
        after = replace(
            after, holder=None, open_time=None, user="", generation=session.generation + 1
        )
    return Outcome(replace(after, suspended=suspended or session.suspended), effects, left=before)


def switched(session: CloudSession, mode: CloudMode) -> Outcome:
    """Set its mode; the one that it has changes nothing."""
    automatic = mode is CloudMode.AUTOMATIC
    event = CloudEvent.SET_AUTOMATIC if automatic else CloudEvent.SET_MANAGED
    return _mode_after(session, event)


def put_in(session: CloudSession) -> Outcome:
    """One license was chosen for the cloud."""
    check_not_suspended(session)
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


def check_not_suspended(session: CloudSession) -> None:
    """Refuse a member whom an administrator has suspended."""
    if session.suspended:
        raise suspended(session)


def suspended(session: CloudSession) -> MemberSuspended:
    """What such a member hears."""
    return MemberSuspended(
        f"An administrator of {names.ACCOUNT.build(session.account)} has suspended the cloud session of "
        f"{session.login} there ({session.suspended}); ask there.",
        account=names.ACCOUNT.build(session.account),
        cloud_session=session.name,
        why=session.suspended,
    )


def check_held_by(session: CloudSession, device: str) -> None:
    """Refuse a device that does not hold the cloud session."""
    check_not_suspended(session)
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
