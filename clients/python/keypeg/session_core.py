"""The state of a session, what can be read off it, and the steps that change it.

Promises: pure: effects are collected, nothing is done; every change of state goes through the table of
session_state. What the app may do, and until when, is answered here and nowhere else.

Leaves to others: what leads to a step (session_machine), checks (session_guard), seats (seat_ledger).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from keypeg import events, protocol
from keypeg.errors import KeypegError, Reason
from keypeg.proof import Verified
from keypeg.seat import SeatStage
from keypeg.seat_ledger import Ledger, News
from keypeg.servers import GOES_ON, Route
from keypeg.session_frames import (
    Asking,
    Connect,
    Effect,
    HangUp,
    Held,
    Moment,
    SeatChanged,
    Send,
    Tell,
)
from keypeg.session_guard import Guard, Randomness
from keypeg.session_state import (
    FORGOTTEN,
    HURRIED_ANSWER,
    LONGEST_ANSWER,
    MAY_RUN,
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
from keypeg.session_view import View, time_over
from keypeg.v1 import session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionRequest

INFINITE: Final = float("inf")
TERM_SLACK: Final = 2.0  # s: time that runs out so near to the end of a term runs out because of it


class SessionCore:
    """What every part of the machine shares."""

    def __init__(self, asking: Asking, randomness: Randomness, route: Route | None = None) -> None:
        self._asking = asking
        self.route = route or Route()
        self._randomness = randomness
        self._guard = Guard(asking.pinned, to_bridge=asking.to_bridge, randomness=randomness)
        self._ledger = Ledger()
        self._out: list[Effect] = []
        self.state = State.CONNECTING
        self.error: KeypegError | None = None
        self.held: Held | None = None
        self._ticket = b""
        self._protocol = max(asking.protocols)  # until a server says that it speaks older ones only
        self._sequence = 0
        self._term: Term | None = None
        self._proven = 0.0  # when the frame was sent that the last signed proof answers
        self._term_ends = INFINITE  # the end of the license's term, as far as it is known
        self._until: float | None = None  # the end of a grace for something missing
        self._why_missing: KeypegError | None = None
        self._missing = ""
        self._begun = 0.0
        self._attempt = 0
        self._connect_at: float | None = None
        self._streaming = False  # a stream is there, perhaps not open yet
        self._open = False  # the stream is open: commands may be sent
        self._first: tuple[int, float] | None = None  # open or resume under way: sequence, sent
        self._resuming = False
        self._renewals: dict[int, float] = {}  # sequence -> sent
        self._renew_at: float | None = None
        self._releasing: dict[int, str] = {}  # sequence -> name
        self._asked: dict[int, str] = {}  # sequence of acquires on this stream -> request id
        self._keys = 0
        self._closing = False
        self._over_there = False  # the other side has ended the session, or said so

    # What is known.

    @property
    def deadline(self) -> float | None:
        """Until when the app may run, monotonic; None when it may not."""
        if self.state not in MAY_RUN or self._term is None:
            return None
        return self._term.deadline if self._until is None else self._until

    @property
    def is_open(self) -> bool:
        """Whether commands reach the other side now."""
        return self._open

    def view(self) -> View:
        """What can be read off the session now."""
        verified, held = self._guard.verified, self.held
        return View(
            product=self._asking.pinned.product,
            state=self.state,
            error=self.error,
            deadline=self.deadline,
            name=held.session if held else "",
            location=held.location if held else "",
            pools=held.pools if held else (),
            products=verified.products if verified else (),
            features=verified.features if verified else (),
            license_expire_time=verified.license_expire_time if verified else None,
            seat_required=verified is not None and verified.seat_required,
            holds_seat=bool(self._ledger.held),
            missing=self._missing,
            why_missing=self._why_missing,
        )

    @property
    def must_tell(self) -> bool:
        """Whether the other side may still hold a session that is over here."""
        return self.state is State.STOPPED and self.held is not None and not self._over_there

    def next_time(self) -> float | None:
        """When `tick` must be called, monotonic; None when there is nothing to wait for."""
        if self.state is State.STOPPED:
            return None
        times = [self.deadline, self._connect_at]
        if self.state is State.CONNECTING:
            times.append(self._begun + OPEN_TIME)
        if self._first is not None:
            times.append(self._first[1] + self._first_answer_time)
        if self._renewals:
            times.append(min(self._renewals.values()) + self._answer_time)
        elif self._may_renew():
            times.append(self._renew_at)
        return min((time for time in times if time is not None), default=None)

    # Steps.

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

    def _may_renew(self) -> bool:
        return (
            self._open and not self._closing and not self._renewals and self.state is State.RUNNING
        )

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

    def _is_unanswered(self, now: float) -> bool:
        if self._first is not None and now >= self._first[1] + self._first_answer_time:
            return True
        return bool(self._renewals) and now >= min(self._renewals.values()) + self._answer_time

    @property
    def _first_answer_time(self) -> float:
        """How long to wait for `opened`: shorter, while another server may be asked."""
        if self.route.has_others:
            return min(HURRIED_ANSWER, self._answer_time)
        return self._answer_time

    @property
    def _answer_time(self) -> float:
        return self._term.answer_time if self._term else LONGEST_ANSWER

    def _time_over_error(self) -> KeypegError:
        ended, verified = None, self._guard.verified
        by_term = self._term is not None and self._term.deadline >= self._term_ends - TERM_SLACK
        if by_term and verified is not None:
            ended = verified.license_expire_time
        return time_over(self._asking.pinned.product, self._why_missing, self._missing, ended)

    def _prove(self, sent: float, verified: Verified, now: Moment) -> None:
        """A signed proof came, in answer to a frame that was sent then."""
        self._proven = max(self._proven, sent)
        left = verified.term_left(now.wall)
        self._term_ends = INFINITE if left is None else sent + left.total_seconds()

    def _left(self, now: Moment) -> timedelta:
        deadline = self.deadline
        return timedelta(seconds=max(0.0, deadline - now.monotonic) if deadline else 0.0)

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
