"""Who is there: every session of this server, in memory alone.

Promises: a renewal costs an attribute; a session past its deadline is dead from that moment on, whether or
not the timer has said so; what is neither held nor streamed to is forgotten, for a ticket brings it back.

Leaves to others: what a session may do (conversation.py), its seats (pools.py). No rows: a restart knows
sessions only by their leases and places.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

from keypeg import names
from keypeg.errors import KeypegError
from keypeg.sessionkey import FrameAuthenticator
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.lease import Holder
from keypeg_server.service.deadlines import Deadlines, server_deadline
from keypeg_server.service.ports import AppInfo, Clock, DeviceInfo, Entitlement
from keypeg_server.service.streams import Stream

LOOK: Final = 300.0  # seconds: at least so often a session is looked at, to forget idle ones


class State(enum.Enum):
    """What a session is."""

    LIVE = "live"  # may renew, resume, take seats
    ENDED = "ended"  # by the server: renews no more, keeps its seats until its deadline
    DYING = "dying"  # its seats are being released
    FORGOTTEN = "forgotten"


class Waiting:
    """What a session remembers of a request that waits, for the frames that answer it."""

    __slots__ = ("position", "request_id", "sequence")

    def __init__(self, sequence: int, request_id: str, position: int) -> None:
        self.sequence = sequence  # 0 when it came on an earlier stream
        self.request_id = request_id
        self.position = position  # as last told


class Session:
    """One running app. Some hundred bytes, beside its names and keys."""

    __slots__ = (
        "admitted_at",
        "app",
        "authenticator",
        "caller",
        "client_share",
        "deadline",
        "device",
        "doubted",
        "ended",
        "entitlement",
        "extent",
        "holder",
        "id",
        "kinds",
        "link",
        "name",
        "product",
        "sequence",
        "server_share",
        "state",
        "ticket_sequence",
        "valid_for_us",
        "waiting",
    )

    def __init__(self, id: str, holder: Holder, deadline: float) -> None:
        self.id = id
        self.name = names.SESSION.build(id)
        self.holder = holder
        self.deadline = deadline
        self.state = State.LIVE
        self.sequence = 0  # the highest that came
        self.ticket_sequence = 0  # of the frame that its newest ticket came with
        self.doubted = False  # it must show that it is not on a copy of its computer
        self.link: Stream | None = None
        self.ended: KeypegError | None = None  # why, for ENDED
        self.waiting: dict[str, Waiting] | None = None  # by place
        # Set by admission; a session found on disk at start has none of these until it resumes.
        self.caller: Caller | None = None
        self.device: DeviceInfo | None = None
        self.app: AppInfo | None = None
        self.product = ""
        self.kinds: tuple[int, ...] = ()
        self.entitlement: Entitlement | None = None
        self.authenticator: FrameAuthenticator | None = None
        self.client_share = b""
        self.server_share = b""
        self.valid_for_us = 0
        self.extent = 0.0  # seconds from an answer to the deadline that it gives
        self.admitted_at = 0.0

    @property
    def admitted(self) -> Entitlement:
        """What lets it run; for a session that was admitted."""
        assert self.entitlement is not None
        return self.entitlement

    def __repr__(self) -> str:
        return f"Session({self.id}, {self.state.value})"


class Presence:
    """All sessions, by id and by account, and their deadlines."""

    def __init__(self, clock: Clock, expired: Callable[[Session], None]) -> None:
        """`expired` is called once the deadline of a session has passed."""
        self._clock = clock
        self._expired = expired
        self._sessions: dict[str, Session] = {}
        self._of_account: dict[str, set[Session]] = {}
        self._deadlines: Deadlines[Session] = Deadlines(clock, self._due)
        self.is_idle: Callable[[Session], bool] = lambda _: False
        self.bounded: Callable[[Session], None] = lambda _: None  # hears of licenses that end

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._sessions.values()))

    def get(self, id: str) -> Session | None:
        """The session with this id."""
        return self._sessions.get(id)

    def of_account(self, account: str) -> tuple[Session, ...]:
        """The admitted sessions of an account."""
        return tuple(self._of_account.get(account, ()))

    def add(self, session: Session) -> None:
        """A session is there; its deadline is watched."""
        self._sessions[session.id] = session
        self._deadlines.watch(session, min(session.deadline, self._clock.monotonic() + LOOK))

    def admit(self, session: Session, entitlement: Entitlement) -> None:
        """A session runs by this now."""
        if session.entitlement is None or session.entitlement.account != entitlement.account:
            self._leave_account(session)
            self._of_account.setdefault(entitlement.account, set()).add(session)
        session.entitlement = entitlement
        session.valid_for_us = entitlement.valid_for // timedelta(microseconds=1)
        session.extent = server_deadline(0.0, entitlement.valid_for)
        if entitlement.ends_at is not None:
            self.bounded(session)

    def forget(self, session: Session) -> None:
        """A session is gone."""
        session.state = State.FORGOTTEN
        self._leave_account(session)
        if self._sessions.get(session.id) is session:
            del self._sessions[session.id]

    def watch(self, session: Session, when: float) -> None:
        """Look at it again then."""
        self._deadlines.watch(session, when)

    def tick(self) -> None:
        """Look at deadlines now; the timer does so by itself."""
        self._deadlines.tick()

    def stop(self) -> None:
        """End no session any more; for the end of the server."""
        self._deadlines.stop()

    def _leave_account(self, session: Session) -> None:
        if session.entitlement is not None:
            account = session.entitlement.account
            others = self._of_account.get(account)
            if others is not None:
                others.discard(session)
                if not others:
                    del self._of_account[account]

    def _due(self, session: Session, now: float) -> float | None:
        if session.state is State.FORGOTTEN:
            return None
        if now < session.deadline:
            if session.link is None and self.is_idle(session):
                self.forget(session)
                return None
            return min(session.deadline, now + LOOK)
        self._expired(session)
        return None
