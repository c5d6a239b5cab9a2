"""Which sessions there are, and until when: memory only.

Promises: a session lives by the last proof that its key gave: the time that this lets the app run, and its license's grace; what
ends it ends its stream with the reason. What the frames say is `sessions`, what keys do to them is `key_news`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from keypeg.errors import KeypegError, ServerDraining, SessionExpired
from keypeg_bridge.rack.ports import Time
from keypeg_bridge.rpc import replies
from keypeg_bridge.rpc.protocol import Event, Phase, after
from keypeg_bridge.rpc.session import Session, Stream

MARGIN: Final = timedelta(seconds=1)
"""How much longer than the app a session is remembered."""
_LOG = structlog.get_logger(__name__)


class Lives:
    """The sessions of this bridge."""

    def __init__(self, time: Time, valid_for: timedelta) -> None:
        self._time = time
        self._valid_for = valid_for
        self._sessions: dict[str, Session] = {}
        self.draining = False
        self.left = asyncio.Event()
        """Set once the bridge drains and no session has a stream any more."""

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, name: str) -> Session | None:
        """A session that lives."""
        return self._sessions.get(name)

    def on(self, key: str) -> list[Session]:
        """Those that live on one key."""
        return [one for one in self._sessions.values() if one.key == key]

    def begin(self, session: Session) -> None:
        """A new one."""
        self._sessions[session.name] = session
        self.go_on(session)
        _LOG.info("session opened", session=session.name, key=session.key, product=session.product)

    def go_on(self, session: Session) -> None:
        """Its key has just proved itself."""
        self.until(session, self._valid_for + session.grace + MARGIN, self._time_over)

    def until(self, session: Session, delay: timedelta, then: Callable[[Session], None]) -> None:
        """What happens to it next, unless something else happens before."""
        if session.timer is not None:
            session.timer.cancel()
        session.timer = self._time.call_later(delay.total_seconds(), lambda: then(session))

    def end(self, session: Session, error: KeypegError) -> None:
        """It is over, and its stream says why."""
        stream = session.stream
        self.forget(session, error.reason.name)
        if stream is not None:
            stream.end(error)

    def forget(self, session: Session, why: str) -> None:
        """It is over."""
        session.phase = Phase.ENDED
        session.stream = None
        if session.timer is not None:
            session.timer.cancel()
        if self._sessions.pop(session.name, None) is not None:
            _LOG.info("session ended", session=session.name, key=session.key, why=why)
        self._look_whether_left()

    def lost(self, session: Session, stream: Stream) -> None:
        """A stream has ended. The session lives on, unless it has ended or another stream has it."""
        if session.stream is stream:
            session.stream = None
            session.pending = None
            self._look_whether_left()

    def drain(self, closes_in: timedelta) -> None:
        """Tell all apps that the bridge goes away."""
        self.draining = True
        for session in self._sessions.values():
            if session.stream is not None:
                session.stream.push(replies.draining(closes_in))
        self._look_whether_left()

    def end_all(self) -> None:
        """End all streams, after `drain`."""
        for session in list(self._sessions.values()):
            if session.stream is not None:
                session.stream.end(going())
            self.forget(session, "the bridge ends")

    def _time_over(self, session: Session) -> None:
        session.phase = after(session.phase, Event.TIME_OVER)
        error = SessionExpired(
            f"{session.name} has run out: its app did not renew it. Open a new session.",
            session=session.name,
        )
        self.end(session, error)

    def _look_whether_left(self) -> None:
        if self.draining and all(one.stream is None for one in self._sessions.values()):
            self.left.set()


def going() -> ServerDraining:
    """What whoever comes now is told."""
    return ServerDraining(
        "The bridge is ending. Connect again in a moment.", retry_after=timedelta(seconds=1)
    )
