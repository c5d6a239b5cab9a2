"""A session without its stream: frames, errors and moments in, frames, events and the next deadline out.

Promises: pure: no I/O, no clock, no randomness of its own. It says when to renew, when to connect again, what
to repeat afterwards, and what an event says. An answer that fails a check stops the session with the error
of that check. What the peer sends never raises.

Leaves to others: streams and timers (aio), what each frame does (session_answers), the checks (session_guard), the
seats (seat_ledger), what the app may do (session_core).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keypeg.device_mark import Mark
from keypeg.errors import (
    KeypegError,
    ProtocolViolation,
    TimedOut,
    Unreachable,
)
from keypeg.seat import SeatRecord, Wish
from keypeg.session_answers import SessionAnswers
from keypeg.session_frames import Effect, HangUp, Moment, open_frame, resume_frame
from keypeg.session_state import OPEN_TIME, Happening, State
from keypeg.v1 import session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse


class SessionMachine(SessionAnswers):
    """One session; every method returns what is to be done now, in order."""

    # What the driver says.

    def begin(self, now: Moment) -> list[Effect]:
        """Starts."""
        self._begun = now.monotonic
        return self._connect()

    def connected(self, now: Moment) -> list[Effect]:
        """A stream is being opened: its first frame is written after this."""
        if self.state is State.STOPPED:
            return [HangUp()]  # ended while the stream was being made
        self._streaming = True
        self._sequence += 1
        self._first = (self._sequence, now.monotonic)
        self._resuming = self.held is not None
        if self.held is None:
            nonce, share = self._guard.opening()
            frame = open_frame(self._asking, self._protocol, self._sequence, nonce, share)
        else:
            nonce, share, mac = self._guard.resuming(self._sequence, self.held.session)
            session = self.held.session
            frame = resume_frame(
                self._asking,
                self._protocol,
                session,
                self._ticket,
                self._sequence,
                nonce,
                share,
                mac,
            )
        self._send(frame)
        return self._taken()

    def received(self, response: HoldSessionResponse, now: Moment) -> list[Effect]:
        """A frame has come."""
        name = response.WhichOneof("frame")
        if self.state is State.STOPPED or not self._streaming or name is None:
            return []
        try:
            if self._first is not None and name not in ("opened", "draining"):
                raise ProtocolViolation(
                    f"The other side sent {name!r} before 'opened'.", frame=name
                )
            handler: Callable[[Any, Moment], None] = getattr(self, f"_on_{name}")
            handler(getattr(response, name), now)
        except KeypegError as error:
            self._stop(error)
        return self._taken()

    def lost(self, error: KeypegError | None, now: Moment) -> list[Effect]:
        """The stream has ended, with this error or without a word."""
        if self.state is State.STOPPED or not self._streaming:
            return []
        self._lost(error or Unreachable("The other side ended the connection."), now)
        return self._taken()

    def tick(self, now: Moment) -> list[Effect]:
        """Time has passed."""
        moment = now.monotonic
        if self.state is State.STOPPED:
            return []
        if self.deadline is not None and moment >= self.deadline:
            self._stop(self._time_over_error(), Happening.TIME_OVER)
        elif self.state is State.CONNECTING and moment >= self._begun + OPEN_TIME:
            late = TimedOut(f"The session could not be opened within {OPEN_TIME:.0f} s; try again.")
            self._stop(self.route.refusal(late))
        elif self._is_unanswered(moment):
            self._out.append(HangUp())
            self._lost(TimedOut("The other side does not answer any more."), now)
        elif self._connect_at is not None and moment >= self._connect_at:
            return self._connect()
        elif self._may_renew() and self._renew_at is not None and moment >= self._renew_at:
            self._renew(now, proof=False)
        return self._taken()

    # What the app wants.

    def acquire(self, wish: Wish) -> tuple[str, list[Effect]]:
        """Asks for a seat; returns its key. Asked later when there is no connection now."""
        assert self.state is not State.STOPPED
        assert not self._closing
        self._keys += 1
        key = f"seat-{self._keys}"
        self._news(
            self._ledger.ask(key, self._randomness.request_id(), wish, self._guard.fencing())
        )
        return key, self._taken()

    def leave(self, key: str) -> list[Effect]:
        """Gives a seat back, or leaves the queue."""
        self._news(self._ledger.leave(key))
        return self._taken()

    def seat(self, key: str) -> SeatRecord | None:
        """What is known of a seat that is not over."""
        return self._ledger.record(key)

    def marked(self, mark: Mark | None) -> None:
        """The next stream begins with this mark: one of its own, that no copy of this memory has."""
        self._asking = replace(self._asking, mark=mark)

    def device_proof(self, mark: str, mac: bytes) -> list[Effect]:
        """Answers whether the mark of another session is here."""
        if self._open and not self._closing:
            proof = session_pb2.DeviceProof(sequence=self._next(), mark=mark, mac=mac)
            self._send(HoldSessionRequest(device_proof=proof))
        return self._taken()

    def close(self) -> list[Effect]:
        """Ends the session; `closed`, or the end of the stream, finishes it."""
        if self.state is State.STOPPED or self._closing:
            return []
        self._closing = True
        if self._open:
            self._send(HoldSessionRequest(close=session_pb2.Close(sequence=self._next())))
        else:
            self._stop(None)
        return self._taken()

    def fail(self, error: KeypegError) -> list[Effect]:
        """Ends the session for a reason of this side."""
        if self.state is not State.STOPPED:
            self._stop(error)
        return self._taken()

    def give_up(self) -> list[Effect]:
        """Ends the session here, whatever the other side knows."""
        if self.state is not State.STOPPED:
            self._stop(None)
        return self._taken()
