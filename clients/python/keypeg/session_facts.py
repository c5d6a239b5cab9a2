"""The state of a session, and what can be read off it.

Promises: pure; nothing is changed. What the app may do, and until when, is answered here and nowhere else.

Leaves to others: the steps that change it (session_core).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from keypeg.errors import KeypegError
from keypeg.seat_ledger import Ledger
from keypeg.servers import Route
from keypeg.session_frames import (
    Asking,
    Effect,
    Held,
    Moment,
)
from keypeg.session_guard import Guard, Randomness
from keypeg.session_state import (
    HURRIED_ANSWER,
    LONGEST_ANSWER,
    MAY_RUN,
    OPEN_TIME,
    State,
    Term,
)
from keypeg.session_view import View, time_over

INFINITE: Final = float("inf")
TERM_SLACK: Final = 2.0  # s: time that runs out so near to the end of a term runs out because of it


class SessionFacts:
    """What every part of the machine shares, and what follows from it."""

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

    def _may_renew(self) -> bool:
        return (
            self._open and not self._closing and not self._renewals and self.state is State.RUNNING
        )

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

    def _left(self, now: Moment) -> timedelta:
        deadline = self.deadline
        return timedelta(seconds=max(0.0, deadline - now.monotonic) if deadline else 0.0)
