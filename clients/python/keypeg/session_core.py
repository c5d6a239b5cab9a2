"""The steps that change a session.

Promises: pure: effects are collected, nothing is done; every change of state goes through the table of
session_state.

Leaves to others: what can be read off it (session_facts), what leads to a step (session_machine), checks (session_guard), seats (seat_ledger).
"""

from __future__ import annotations

from keypeg import events, protocol
from keypeg.errors import KeypegError, Reason
from keypeg.proof import Verified
from keypeg.seat import SeatStage
from keypeg.seat_ledger import News
from keypeg.servers import GOES_ON
from keypeg.session_facts import INFINITE, SessionFacts
from keypeg.session_frames import (
    Connect,
    Effect,
    HangUp,
    Moment,
    SeatChanged,
    Send,
    Tell,
)
from keypeg.session_state import (
    FORGOTTEN,
    LONGEST_ANSWER,
    OPEN_TIME,
    PASSING,
    PASSING_AT_OPEN,
    PASSING_IN_GRACE,
    Happening,
    State,
    Term,
    next_state,
    pause,
    spread,
)
from keypeg.v1 import session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionRequest


class SessionCore(SessionFacts):
    """What may happen to a session, step by step."""

    def _connect(self) -> list[Effect]:
        self._connect_at = None
        self._attempt += 1
        self._out.append(Connect())
        return self._taken()

    def _lost(self, error: KeypegError, now: Moment) -> None:
        resuming = self._resuming and self._first is not None
        was_open = self._open
        self._streaming = self._open = False
        self._first = None
        self._renewals.clear()
        self._releasing.clear()
        self._asked.clear()
        if self._closing:
            self._stop(None)
            return
        spoken = protocol.lower(error, self._protocol, self._asking.protocols)
        at_once = self._go_on(error) or spoken is not None
        if spoken is not None:
            self._protocol = spoken
        elif self.state is State.CONNECTING:
            if not at_once:
                error = self.route.refusal(error) if error.reason in GOES_ON else error
                if error.reason not in PASSING_AT_OPEN and not _says_later(error):
                    self._stop(error)
                    return
        elif error.reason in FORGOTTEN and self.held is not None:
            self.held = None  # opened anew, at once the first time
            self._ticket = b""
        elif error.reason not in (PASSING_IN_GRACE if self.state is State.GRACE else PASSING):
            self._over_there = True
            self._stop(error)
            return
        was = self.state
        self.state = next_state(self.state, Happening.LOST)
        if was is not self.state:
            self._tell(events.ConnectionLost(self._left(now), error))
        self._connect_at = now.monotonic + self._wait(
            error, at_once=at_once or (resuming and error.reason in FORGOTTEN), was_open=was_open
        )

    def _go_on(self, error: KeypegError) -> bool:
        """Turns to the next server, where another may do better; True when it is asked at once."""
        if error.reason not in GOES_ON:
            return False
        if error.reason is Reason.ELSEWHERE:
            return self.route.elsewhere(error)
        return self.route.failed(error)

    def _wait(self, error: KeypegError, *, at_once: bool, was_open: bool) -> float:
        """Seconds until the next try to connect."""
        valid_for = self._term.valid_for if self._term else OPEN_TIME
        if at_once and error.reason in GOES_ON:
            self._attempt = max(0, self._attempt - 1)  # a round through the servers is one
            return spread(valid_for, self._randomness.jitter()) if was_open else 0.0
        if at_once:
            return 0.0
        wait = pause(self._attempt + 1, valid_for, self._randomness.jitter())
        if error.retry_after is not None:
            wait = max(wait, min(error.retry_after.total_seconds(), LONGEST_ANSWER))
        return wait

    def _found(self, happening: Happening) -> None:
        self.state = next_state(self.state, happening)
        self._until = None
        self._why_missing = None

    def _stop(self, error: KeypegError | None, happening: Happening = Happening.ENDED) -> None:
        self.state = next_state(self.state, happening)
        self.error = error
        if self._streaming:
            self._out.append(HangUp())
        self._streaming = self._open = False
        self._connect_at = self._first = None
        self._news(self._ledger.stopped(error))
        self._tell(events.Stopped(error))

    def _extend(self, sequence: int, sent: float, valid_for: float, interval: float) -> None:
        term = Term(sequence, sent, valid_for, interval)
        self._term = term if self._term is None else self._term.newer(term)
        self._renew_at = self._term.renew_at

    def _renew(self, now: Moment, *, proof: bool) -> None:
        if not self._open or self._closing or self._term is None:
            return
        sequence = self._next()
        wanted = proof or self._term.wants_proof(now.monotonic, self._proven)
        nonce, mac = self._guard.renewing(sequence, proof=wanted)
        self._renewals[sequence] = now.monotonic
        self._send(
            HoldSessionRequest(renew=session_pb2.Renew(sequence=sequence, nonce=nonce, mac=mac))
        )

    def _news(self, news: News) -> None:
        for key in news.acquires:
            if self._open:
                frame = self._ledger.acquire_frame(key)
                frame.sequence = self._next()
                self._asked[frame.sequence] = frame.request_id
                self._send(HoldSessionRequest(acquire=frame))
        for name in news.releases:
            if self._open:
                sequence = self._next()
                self._releasing[sequence] = name
                self._send(
                    HoldSessionRequest(release=session_pb2.Release(sequence=sequence, name=name))
                )
        for key in news.changed:
            record = self._ledger.record(key)
            if record is not None:
                self._out.append(SeatChanged(key, record))
                if record.stage is SeatStage.ENDED:
                    self._ledger.forget(key)
        for event in news.events:
            self._tell(event)

    def _prove(self, sent: float, verified: Verified, now: Moment) -> None:
        """A signed proof came, in answer to a frame that was sent then."""
        self._proven = max(self._proven, sent)
        left = verified.term_left(now.wall)
        self._term_ends = INFINITE if left is None else sent + left.total_seconds()

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _send(self, frame: HoldSessionRequest) -> None:
        self._out.append(Send(frame))

    def _tell(self, event: events.Event) -> None:
        self._out.append(Tell(event))

    def _taken(self) -> list[Effect]:
        taken, self._out = self._out, []
        return taken


def _says_later(error: KeypegError) -> bool:
    """Whether a server is there and said when to ask again, as while another server is being succeeded."""
    return error.reason in PASSING and error.retry_after is not None
