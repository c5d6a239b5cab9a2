"""The frames of one stream: what may come when, and what answers it. Knows no gRPC.

Promises: PROTOCOL is all that may come; anything else ends the stream with PROTOCOL_VIOLATION. Sequence numbers
grow over all streams of a session; a frame with a code is believed only by its code. Seats are told when they
are on disk, to the stream that the session is on then.

Leaves to others: opening and resuming (opening.py), seats (seat_commands.py), the stream (rpc/session_service.py).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from keypeg.errors import FrameReplayed, KeypegError, ProtocolViolation
from keypeg.sessionkey import FrameAuthenticator, check
from keypeg.v1 import session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.lease import Lease
from keypeg_server.service import frames, seat_commands
from keypeg_server.service.outbox import Outbox
from keypeg_server.service.presence import Session, State
from keypeg_server.service.refusals import doubtful

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
    (Phase.OPEN, "device_proof"): Phase.OPEN,
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
            await self._sessions.opening.open(self, request.open)
        else:
            await self._sessions.opening.resume(self, request.resume)
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
            raise sessions.ending.dead(session, now)
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
            limit = sessions.limits.holdings
            return seat_commands.acquire(sessions.engine, self, session, request.acquire, limit)
        if frame == "device_proof":
            sessions.opening.copies.answered(session, request.device_proof)
            return None
        if frame == "release":
            return seat_commands.release(sessions.engine, self, session, request.release)
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
        self._sessions.streams.may_promise()
        session.sequence = sequence
        if session.admitted.ends_at is not None:
            ended = self._sessions.admitting.within_term(session)
            if ended is not None:
                return frames.denied(sequence, "", ended)
        deadline = now + session.extent
        if deadline > session.deadline:
            session.deadline = deadline
        if now - session.admitted_at > READMIT_AFTER:
            self._sessions.admitting.readmit(session)
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
            if not self._sessions.streams.alive():
                self.outbox.end(doubtful())
                return
            try:
                proof = self._sessions.opening.prove(session, nonce, leases)
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
        engine.look(lambda: engine.holdings.of(session.id)[0], done)

    def _close(self, session: Session, sequence: int) -> None:
        def done(error: KeypegError | None) -> None:
            if error is not None:
                self._phase = Phase.OPEN
                self.outbox.push(frames.denied(sequence, "", error))
                return
            self.outbox.push(HoldSessionResponse(closed=session_pb2.Closed(sequence=sequence)))
            self.outbox.end(None)

        self._sessions.ending.finish(session, done)


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


def _violation(phase: Phase, frame: str | None) -> ProtocolViolation:
    allowed = sorted(known for at, known in PROTOCOL if at is phase and known)
    what = f"The frame {frame}" if frame else "A frame of no known kind"
    return ProtocolViolation(
        f"{what} may not come here; on a stream that is {phase.value} may come: "
        f"{', '.join(allowed) or 'nothing'}.",
        frame=frame or "",
        phase=phase.value,
    )
