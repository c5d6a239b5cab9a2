"""The frames of one stream: what may come when, and what answers it. Knows no gRPC.

Promises: PROTOCOL is all that may come; anything else ends the stream with PROTOCOL_VIOLATION. Sequence numbers
grow over all streams of a session; a frame with a code is believed only by its code. Seats are told when they
are on disk, to the stream that the session is on then.

Leaves to others: opening and resuming, deadlines and events (sessions.py), the stream (rpc/session_service.py).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from keypeg.errors import (
    FrameReplayed,
    KeypegError,
    LimitExceeded,
    NotFound,
    ProtocolViolation,
    SessionExpired,
)
from keypeg.sessionkey import FrameAuthenticator, check
from keypeg.v1 import session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse
from keypeg_server.domain import explain
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.service import frames
from keypeg_server.service.commits import RequestKey
from keypeg_server.service.outbox import Outbox
from keypeg_server.service.pools import Engine, no_pool
from keypeg_server.service.presence import Session, State, Waiting

if TYPE_CHECKING:
    from keypeg_server.service.sessions import Sessions

READMIT_AFTER: Final = (
    60.0  # seconds: at least so often a running session's license is looked at again
)
LOOK_TRIES: Final = 3  # for a signed renewal, while the disk refuses what others asked before it


class Phase(enum.Enum):
    """Where a stream is."""

    NEW = "new"
    OPEN = "open"
    CLOSING = "closing"


PROTOCOL: Final[Mapping[tuple[Phase, str | None], Phase]] = {
    (Phase.NEW, "open"): Phase.OPEN,
    (Phase.NEW, "resume"): Phase.OPEN,
    (Phase.OPEN, "renew"): Phase.OPEN,
    (Phase.OPEN, "acquire"): Phase.OPEN,
    (Phase.OPEN, "release"): Phase.OPEN,
    (Phase.OPEN, "close"): Phase.CLOSING,
}


class Conversation:
    """One stream. `begin` takes its first frame, `receive` every other, `left` says that it is gone."""

    __slots__ = ("_phase", "_sessions", "address", "caller", "outbox", "session")

    def __init__(
        self, sessions: Sessions, caller: Caller, wake: Callable[[], None], address: str = ""
    ) -> None:
        self._sessions = sessions
        self.address = address  # where it comes from; empty for a local one
        self._phase = Phase.NEW
        self.caller = caller
        self.outbox = Outbox(wake, sessions.limits.unread_frames)
        self.session: Session | None = None

    async def begin(self, request: HoldSessionRequest) -> None:
        """Open or resume; the answer goes to the outbox. KeypegError ends the stream."""
        frame = request.WhichOneof("frame")
        following = PROTOCOL.get((self._phase, frame))
        if following is None:
            raise _violation(self._phase, frame)
        if frame == "open":
            await self._sessions.open(self, request.open)
        else:
            await self._sessions.resume(self, request.resume)
        self._phase = following

    def receive(self, request: HoldSessionRequest) -> HoldSessionResponse | None:
        """Take a frame; what answers it at once, if anything. KeypegError ends the stream."""
        frame = request.WhichOneof("frame")
        following = PROTOCOL.get((self._phase, frame))
        if following is None:
            raise _violation(self._phase, frame)
        if self.outbox.ended:  # what was read before the reader was stopped
            return None
        session = self.session
        assert session is not None
        sessions = self._sessions
        now = sessions.clock.monotonic()
        if session.state is not State.LIVE or now >= session.deadline:
            raise sessions.dead(session, now)
        command = getattr(request, frame) if frame else None
        sequence: int = command.sequence  # type: ignore[union-attr]  # PROTOCOL has no frame without
        if sequence <= session.sequence:
            raise FrameReplayed(
                f"The frame {frame} has sequence number {sequence}, but {session.sequence} came before; "
                "numbers grow over all streams of a session. Resume it with a higher one.",
                session=session.name,
                sequence=str(sequence),
                highest=str(session.sequence),
            )
        self._phase = following
        if frame == "renew":
            return self._renew(session, request.renew, now)
        session.sequence = sequence
        if frame == "acquire":
            return self._acquire(session, request.acquire)
        if frame == "release":
            return self._release(session, request.release)
        self._close(session, sequence)
        return None

    def refuse(self, request: HoldSessionRequest, error: KeypegError) -> HoldSessionResponse:
        """The answer to a malformed frame that an app can act on; other frames end the stream."""
        frame = request.WhichOneof("frame")
        if self._phase is Phase.OPEN and frame == "acquire":
            return frames.denied(request.acquire.sequence, request.acquire.request_id, error)
        if self._phase is Phase.OPEN and frame == "release":
            return frames.denied(request.release.sequence, "", error)
        raise error

    @property
    def closing(self) -> bool:
        """Whether the app has ended the session, and hears of it soon."""
        return self._phase is Phase.CLOSING

    def left(self) -> None:
        """The stream is gone; the session is not."""
        self.outbox.end(None)
        self._sessions.left(self)

    # Commands.

    def _renew(
        self, session: Session, renew: session_pb2.Renew, now: float
    ) -> HoldSessionResponse | None:
        authenticator = session.authenticator
        assert authenticator is not None
        sequence, nonce = renew.sequence, renew.nonce
        check(authenticator.renew(sequence, nonce), renew.mac, "renew")
        session.sequence = sequence
        if session.admitted.ends_at is not None:
            ended = self._sessions.within_term(session)
            if ended is not None:
                return frames.denied(sequence, "", ended)
        deadline = now + session.extent
        if deadline > session.deadline:
            session.deadline = deadline
        if now - session.admitted_at > READMIT_AFTER:
            self._sessions.readmit(session)
        if nonce:
            self._renew_signed(session, sequence, nonce, LOOK_TRIES)
            return None
        return _renewed(sequence, session.valid_for_us, authenticator)

    def _renew_signed(self, session: Session, sequence: int, nonce: bytes, tries: int) -> None:
        """Sign what is on disk: a seat that is still on its way there is in the next one."""

        def done(leases: list[Lease] | KeypegError) -> None:
            if isinstance(leases, KeypegError):
                if tries > 1:
                    self._renew_signed(session, sequence, nonce, tries - 1)
                else:
                    self.outbox.push(frames.denied(sequence, "", leases))
                return
            authenticator = session.authenticator
            if self.outbox.ended or session.link is not self or authenticator is None:
                return
            if session.state is not State.LIVE:
                return
            try:
                proof = self._sessions.prove(session, nonce, leases)
            except KeypegError as error:
                self.outbox.push(frames.denied(sequence, "", error))
                return
            # It may be another license by now, with more time than the renewal was taken for.
            now = self._sessions.clock.monotonic()
            session.deadline = max(session.deadline, now + session.extent)
            answer = _renewed(sequence, session.valid_for_us, authenticator)
            answer.renewed.proof.CopyFrom(proof)
            self.outbox.push(answer)

        engine = self._sessions.engine
        engine.look(lambda: engine.holdings(session.id)[0], done)

    def _acquire(
        self, session: Session, acquire: session_pb2.Acquire
    ) -> HoldSessionResponse | None:
        sequence = acquire.sequence
        engine = self._sessions.engine
        try:
            pool = self._pool(session, acquire.pool)
            limit = self._sessions.limits.holdings
            if engine.count(session.id) >= limit:
                raise LimitExceeded(
                    f"This session has {limit} leases and places already; release some.",
                    limit="session.holdings",
                    value=str(limit),
                )
        except KeypegError as error:
            return frames.denied(sequence, acquire.request_id, error)
        request_id = acquire.request_id.lower()
        units, features = acquire.units or 1, frames.wanted(acquire.features)
        wait, priority = acquire.wait, acquire.priority
        caller = session.caller
        assert caller is not None

        def done(outcome: Lease | Place | KeypegError) -> None:
            if type(outcome) is Lease:
                tell_acquired(session, self, pool, outcome, sequence, request_id)
            elif isinstance(outcome, KeypegError):
                self.outbox.push(frames.denied(sequence, request_id, outcome))
            elif isinstance(outcome, Place) and pool.place(outcome.id) is not None:
                # else it was served or left meanwhile, and the answer to that comes next
                if session.waiting is None:
                    session.waiting = {}
                position = pool.position(outcome)
                session.waiting[outcome.id] = Waiting(sequence, request_id, position)
                tell_queued(session, pool, outcome, engine)

        engine.acquire(
            pool,
            session.holder,
            caller,
            units,
            features,
            wait=wait,
            priority=priority,
            valid_for_us=session.valid_for_us,
            request=RequestKey(
                session.name,
                request_id,
                frames.digest(pool.id, units, features, wait, priority),
            ),
            done=done,
        )
        return None

    def _pool(self, session: Session, name: str) -> Pool:
        allowed = session.admitted.pools
        if not name:
            if not allowed:
                raise NotFound(
                    f"The license of {session.name} has no pool of seats; it needs none to run.",
                    resource=session.name,
                )
            name = allowed[0]
        pool = self._sessions.engine.pool(name) if name in allowed else None
        if pool is None:
            raise no_pool(name)
        return pool

    def _release(
        self, session: Session, release: session_pb2.Release
    ) -> HoldSessionResponse | None:
        sequence, name = release.sequence, release.name
        engine = self._sessions.engine
        try:
            pool_id, id = frames.parse_holding(name)
            pool = engine.by_id(pool_id)
            if pool is None or pool.account != session.admitted.account:
                raise _not_yours(name)
            found = pool.lease(id) or pool.place(id)
            if found is not None and found.holder.session != session.id:
                raise _not_yours(name)
        except KeypegError as error:
            return frames.denied(sequence, "", error)

        def done(released: Lease | Place | KeypegError | None) -> None:
            if isinstance(released, KeypegError):
                self.outbox.push(frames.denied(sequence, "", released))
                return
            if session.waiting is not None:
                session.waiting.pop(id, None)
            # A place that was served meanwhile is a lease now; that is what was released.
            ended = pool.lease_prefix + id if type(released) is Lease else name
            answer = HoldSessionResponse()
            answer.released.sequence = sequence
            answer.released.name = ended
            self.outbox.push(answer)

        engine.release(pool, id, done)
        return None

    def _close(self, session: Session, sequence: int) -> None:
        def done(error: KeypegError | None) -> None:
            if error is not None:
                self._phase = Phase.OPEN
                self.outbox.push(frames.denied(sequence, "", error))
                return
            self.outbox.push(HoldSessionResponse(closed=session_pb2.Closed(sequence=sequence)))
            self.outbox.end(None)

        self._sessions.finish(session, done)


def tell_acquired(
    session: Session,
    asked_on: object,
    pool: Pool,
    lease: Lease,
    sequence: int,
    request_id: str,
) -> None:
    """Say that seats are held, on whichever stream the session is on."""
    link, authenticator = session.link, session.authenticator
    if session.waiting is not None:
        session.waiting.pop(lease.id, None)
    if link is None or authenticator is None:
        return  # it finds the lease when it resumes
    if link is not asked_on:
        sequence = 0
    answer = HoldSessionResponse()
    acquired = answer.acquired
    acquired.sequence = sequence
    acquired.request_id = request_id
    frames.show_lease(acquired.lease, pool.lease_prefix + lease.id, session.name, lease)
    acquired.mac = authenticator.acquired(sequence, request_id, acquired.lease)
    link.outbox.push(answer)


def tell_queued(session: Session, pool: Pool, place: Place, engine: Engine) -> None:
    """Say where a session stands."""
    link = session.link
    waiting = session.waiting.get(place.id) if session.waiting else None
    if link is None or waiting is None or session.caller is None:
        return
    why = explain.why_not(pool, place, engine.sight(session.caller), position=waiting.position)
    estimate = explain.estimated_wait(pool, place, waiting.position)
    shown = frames.queue_place(place, waiting.position, pool.waiting, session.name, why, estimate)
    link.outbox.push(
        HoldSessionResponse(
            queued=session_pb2.Queued(
                sequence=waiting.sequence, request_id=waiting.request_id, place=shown
            )
        )
    )


def expired(session: str) -> SessionExpired:
    """The refusal for a session whose time has run out."""
    return SessionExpired(
        f"{session} has run out, and its seats are free; open a new session.", session=session
    )


def _renewed(
    sequence: int, valid_for_us: int, authenticator: FrameAuthenticator
) -> HoldSessionResponse:
    """More time. Filled in place: a message that is put into another is copied, and this one goes out most."""
    answer = HoldSessionResponse()
    renewed = answer.renewed
    renewed.sequence = sequence
    seconds, us = divmod(valid_for_us, 1_000_000)
    renewed.valid_for.seconds = seconds
    renewed.valid_for.nanos = us * 1_000
    renewed.mac = authenticator.renewed(sequence, valid_for_us)
    return answer


def _not_yours(name: str) -> NotFound:
    return NotFound(f"This session holds no {name}; see what it holds.", resource=name)


def _violation(phase: Phase, frame: str | None) -> ProtocolViolation:
    allowed = sorted(known for at, known in PROTOCOL if at is phase and known)
    what = f"The frame {frame}" if frame else "A frame of no known kind"
    return ProtocolViolation(
        f"{what} may not come here; on a stream that is {phase.value} may come: "
        f"{', '.join(allowed) or 'nothing'}.",
        frame=frame or "",
        phase=phase.value,
    )
