"""How sessions end: closed by their app, from outside by a release token, by the server, by their deadline.

Promises: what ends a session from outside is told at once, but its seats go to others only when it is released
or its deadline has passed; what the disk does not take is tried until it does.

Leaves to others: the seats (pools.py), the timer (presence.py), why a session ends (upheavals.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keypeg import errors, names
from keypeg.errors import KeypegError, SessionExpired
from keypeg_server.domain.record import Ending
from keypeg_server.service.commits import settled
from keypeg_server.service.deadlines import RETRY_PAUSE
from keypeg_server.service.pools import Engine
from keypeg_server.service.ports import Clock
from keypeg_server.service.presence import Presence, Session, State
from keypeg_server.service.tickets import TicketBox

Done = Callable[[KeypegError | None], None]


class SessionEnding:
    """Ends sessions."""

    def __init__(self, engine: Engine, clock: Clock, tickets: TicketBox) -> None:
        self._engine = engine
        self._clock = clock
        self._tickets = tickets
        self.presence: Final = Presence(clock, self.expire)
        self.presence.is_idle = lambda session: not engine.holdings.knows(session.id)

    def dead(self, session: Session, now: float) -> KeypegError:
        """Why a session goes on no more; it is ended when its deadline has passed but not yet fired."""
        if now >= session.deadline:
            self.expire(session)
        return session.ended or expired(session.name)

    def end(self, session: Session, error: KeypegError) -> None:
        """The session may renew no more; what it holds stays until its holder can not believe in it."""
        if session.state is State.LIVE:
            session.state = State.ENDED
            session.ended = error
        if session.link is not None:
            session.link.outbox.end(error)

    def expire(self, session: Session) -> None:
        """The deadline has passed: release all that the session has, and forget it."""
        if session.state is State.FORGOTTEN:
            return
        if session.link is not None:
            session.link.outbox.end(session.ended or expired(session.name))

        def done(error: KeypegError | None) -> None:
            if error is not None:  # the disk is away: try until it is back
                self.presence.watch(session, self._clock.monotonic() + RETRY_PAUSE)

        session.state = State.DYING
        self._release_all(session, done, Ending.DEADLINE)

    def finish(self, session: Session, done: Done, how: Ending = Ending.CLOSED) -> None:
        """End a session whose holder is done with it; `done` hears when that is on disk, or why not."""
        before = session.state
        session.state = State.DYING

        def finished(error: KeypegError | None) -> None:
            if error is not None and session.state is State.DYING:
                session.state = before
            done(error)

        self._release_all(session, finished, how)

    async def close(self, name: str, token: bytes) -> bool:
        """End a session from outside by its release token; whether it was there."""
        (id,) = names.SESSION.parse(name, "session")
        if not self._tickets.is_release_token(id, token):
            raise errors.NotFound(
                f"There is no {name} that this token could end; use the token of its last `opened`.",
                resource=name,
            )
        session = self.presence.get(id)
        if session is None:
            return False

        def finish(tell: Done) -> None:
            def done(error: KeypegError | None) -> None:
                if error is None and session.link is not None:
                    session.link.outbox.end(
                        errors.SessionClosed(
                            f"{name} was ended by its release token; open a new session.",
                            session=name,
                        )
                    )
                tell(error)

            self.finish(session, done, Ending.TOKEN)

        await settled(finish)
        return True

    def drop(self, session: Session, error: KeypegError) -> None:
        """The session belongs to another server now: end its stream, forget it, and touch none of its seats."""
        if session.link is not None:
            session.link.outbox.end(error)
        self.presence.forget(session)
        self._engine.holdings.forget(session.id)

    def _release_all(self, session: Session, done: Done, how: Ending) -> None:
        def gone(error: KeypegError | None) -> None:
            if error is None and session.state is not State.FORGOTTEN:
                self.presence.forget(session)
                self._engine.holdings.forget(session.id)
            done(error)

        if self._engine.holdings.knows(session.id):
            self._engine.gone(session.id, gone, how)
        else:
            gone(None)


def expired(session: str) -> SessionExpired:
    """The refusal for a session whose time has run out."""
    return SessionExpired(
        f"{session} has run out, and its seats are free; open a new session.", session=session
    )
