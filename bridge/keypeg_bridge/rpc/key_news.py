"""What keys do to the sessions on them: they leave, come back, and are written to.

Promises: the apps hear it in the same turn of the event loop in which the rack announces it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from keypeg.errors import KeyUnplugged
from keypeg.v1 import session_pb2
from keypeg_bridge.rack import choice
from keypeg_bridge.rack.ports import Time
from keypeg_bridge.rack.record import KeyRecord, grace_of
from keypeg_bridge.rack.shelf import KeyChange
from keypeg_bridge.rack.states import Happening
from keypeg_bridge.rpc import replies
from keypeg_bridge.rpc.lives import Lives
from keypeg_bridge.rpc.protocol import Event, Phase, after
from keypeg_bridge.rpc.session import Session

Resuming = Callable[[Session, session_pb2.Resume], Coroutine[Any, Any, None]]


class KeyNews:
    """Brings the rack's changes to the sessions."""

    def __init__(self, lives: Lives, time: Time, resumed: Resuming, judge: choice.Judge) -> None:
        self._lives = lives
        self._time = time
        self._resumed = resumed
        """Answers a resume that waited for its key."""
        self._judge = judge

    def heard(self, change: KeyChange) -> None:
        """A change of the rack's."""
        record = change.record
        for session in self._lives.on(record.name):
            match change.happening:
                case Happening.DEPARTED:
                    self.left(session, record)
                case Happening.ARRIVED:
                    self._back(session)
                case Happening.REWRITTEN:
                    self._rewritten(session, record)

    def left(self, session: Session, record: KeyRecord) -> None:
        """The key of a session was unplugged."""
        if session.phase is not Phase.RUNNING:
            return
        session.phase = after(session.phase, Event.KEY_LEFT)
        grace = max(timedelta(), session.grace - record.spent)
        session.away_until = self._time.monotonic() + grace.total_seconds()
        if session.stream is not None:
            session.stream.push(replies.missing(session, grace))
        if grace:
            self._lives.until(session, grace, self._grace_over)
        else:
            self._grace_over(session)

    def _back(self, session: Session) -> None:
        session.phase = after(session.phase, Event.KEY_BACK)
        # The app may have renewed last just before the key left: it gets a whole turn to renew again.
        self._lives.go_on(session)
        pending, session.pending = session.pending, None
        if session.stream is None:
            return
        if pending is not None:
            session.stream.follow(self._resumed(session, pending))
            return
        session.stream.push(replies.changed(session_pb2.CHANGE_KEY_RETURNED, session.key))

    def _rewritten(self, session: Session, record: KeyRecord) -> None:
        fitting = choice.fitting(record, session.product, self._judge)
        own = [one for one in fitting if one.license.document.activation == session.activation]
        if own and grace_of(own[0].license.document) == session.grace:
            change = None  # nothing that matters before the next renewal
        elif own:
            change = session_pb2.CHANGE_LICENSE_CHANGED
        else:
            change = session_pb2.CHANGE_LICENSE_REMOVED
        if change is not None and session.stream is not None:
            session.stream.push(replies.changed(change, session.activation))

    def _grace_over(self, session: Session) -> None:
        session.phase = after(session.phase, Event.GRACE_OVER)
        error = KeyUnplugged(
            f"The key {session.key} was unplugged and did not come back within"
            f" {session.grace.total_seconds():g} s. Plug it in, and open a new session.",
            key=session.key,
        )
        self._lives.end(session, error)
