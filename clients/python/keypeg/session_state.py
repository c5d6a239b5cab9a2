"""The states of a session as a table, and its times as pure rules.

Promises: every change of state is in TRANSITIONS, anything else is an error. How long the app may run
counts from when the request was *sent*, on a clock that the caller brings. Nothing here reads a clock,
draws a random number or imports grpc.

Leaves to others: the frames (session_machine) and the stream (aio).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from keypeg.errors import Reason


class State(enum.Enum):
    """What a session is doing."""

    CONNECTING = "connecting"  # not open yet: the app may not run
    RUNNING = "running"  # open and connected
    GRACE = "grace"  # the connection is lost; the app may go on until the deadline
    MISSING = "missing"  # connected, but the key is not there; the app may go on until the deadline
    STOPPED = "stopped"  # over; the app may not run


class Happening(enum.Enum):
    """What may happen to a session."""

    OPENED = "a verified answer opened it, or went on with it"
    PROVEN = "a verified answer gave more time"
    LOST = "the connection is lost"
    MISSED = "what opened it is not there"
    ENDED = "it was refused, ended or closed"
    TIME_OVER = "the time for which the app may run is over"


TRANSITIONS: Final[Mapping[tuple[State, Happening], State]] = {
    (State.CONNECTING, Happening.OPENED): State.RUNNING,
    (State.CONNECTING, Happening.LOST): State.CONNECTING,
    (State.CONNECTING, Happening.ENDED): State.STOPPED,
    (State.RUNNING, Happening.PROVEN): State.RUNNING,
    (State.RUNNING, Happening.LOST): State.GRACE,
    (State.RUNNING, Happening.MISSED): State.MISSING,
    (State.RUNNING, Happening.ENDED): State.STOPPED,
    (State.RUNNING, Happening.TIME_OVER): State.STOPPED,
    (State.GRACE, Happening.OPENED): State.RUNNING,
    (State.GRACE, Happening.LOST): State.GRACE,
    (State.GRACE, Happening.ENDED): State.STOPPED,
    (State.GRACE, Happening.TIME_OVER): State.STOPPED,
    (State.MISSING, Happening.PROVEN): State.RUNNING,
    (State.MISSING, Happening.MISSED): State.MISSING,
    (State.MISSING, Happening.LOST): State.GRACE,
    (State.MISSING, Happening.ENDED): State.STOPPED,
    (State.MISSING, Happening.TIME_OVER): State.STOPPED,
}

MAY_RUN: Final = frozenset({State.RUNNING, State.GRACE, State.MISSING})

# Reasons that pass by themselves: worth another try while there is time.
PASSING: Final = frozenset(
    {
        Reason.UNREACHABLE,
        Reason.TIMED_OUT,
        Reason.SERVER_DRAINING,
        Reason.STORAGE_UNAVAILABLE,
        Reason.BUSY,
        Reason.LIMIT_EXCEEDED,
        Reason.INTERNAL,
        Reason.ELSEWHERE,
    }
)
# While a session goes on from an earlier connection, a bridge that has just started may not have found
# its keys yet.
PASSING_IN_GRACE: Final = PASSING | {Reason.KEY_MISSING, Reason.KEY_BUSY}
# The first open is repeated only for a server that is there and said: later.
PASSING_AT_OPEN: Final = frozenset(
    {Reason.BUSY, Reason.SERVER_DRAINING, Reason.STORAGE_UNAVAILABLE, Reason.ELSEWHERE}
)
# The server does not know the session any more: a new one is opened in its place.
FORGOTTEN: Final = frozenset({Reason.SESSION_EXPIRED, Reason.RESUME_INVALID})

OPEN_TIME: Final = 10.0  # s in which the first open must succeed
LONGEST_ANSWER: Final = 10.0  # s after which an unanswered frame means: the connection is dead
SHORTEST_ANSWER: Final = 1.0  # s
HURRIED_ANSWER: Final = 3.0  # s for `opened`, while there is another server to ask
FIRST_PAUSE: Final = 0.2  # s before the second attempt to connect, doubled from attempt to attempt
LONGEST_PAUSE: Final = 10.0  # s
SHORTEST_LONG_PAUSE: Final = 0.5  # s; the bound on pauses never falls below it
DRAIN_JITTER: Final = 0.1  # s over which the clients of a draining server spread
LONGEST_SPREAD: Final = 1.0  # s over which the clients of a dead server spread over the others
SPREAD_SHARE: Final = 60  # that spread takes at most such a part of the time that the app has
SHORTEST_RENEW: Final = 0.05  # s; a server that asks for more is not obeyed
RENEW_SHARE: Final = 2  # a renewal is asked for at least so often within `valid_for`


def next_state(state: State, happening: Happening) -> State:
    """The state after what happened; AssertionError for what the table does not have."""
    following = TRANSITIONS.get((state, happening))
    assert following is not None, (
        f"a session that is {state.value} can not go on: {happening.value}"
    )
    return following


@dataclass(frozen=True)
class Term:
    """For how long the app may run, from the last answer that said so; times are monotonic seconds."""

    sequence: int  # of the frame that was answered
    sent: float  # when that frame was sent
    valid_for: float  # s
    renew_interval: float  # s

    @property
    def deadline(self) -> float:
        """Until when the app may run."""
        return self.sent + self.valid_for

    @property
    def renew_at(self) -> float:
        """When to ask for more: as the server wishes, and in time for a second try."""
        interval = max(SHORTEST_RENEW, min(self.renew_interval, self.valid_for / RENEW_SHARE))
        return self.sent + interval

    @property
    def answer_time(self) -> float:
        """How long to wait for an answer before the connection counts as dead."""
        return max(SHORTEST_ANSWER, min(LONGEST_ANSWER, self.valid_for / 4))

    def newer(self, other: Term) -> Term:
        """The one that answers the later frame."""
        return other if other.sequence > self.sequence else self

    def wants_proof(self, now: float, proven: float) -> bool:
        """Whether a renewal sent now must bring a signed proof; `proven`: when the last one was asked for.

        A signed proof comes at least at every half of `valid_for`: now, if the next renewal is too late.
        """
        next_one = now + min(self.renew_interval, self.valid_for / RENEW_SHARE)
        return next_one - proven > self.valid_for / 2


def pause(attempt: int, valid_for: float, jitter: float) -> float:
    """Seconds to wait before attempt number `attempt` (from 1) to connect again; `jitter` from 0 to 1.

    Grows from attempt to attempt, within a twelfth of the time that the app has.
    """
    longest = max(SHORTEST_LONG_PAUSE, min(LONGEST_PAUSE, valid_for / 12))
    reached = min(longest, FIRST_PAUSE * 2.0 ** min(attempt - 1, 16))
    return reached * (0.5 + jitter / 2)


def spread(valid_for: float, jitter: float) -> float:
    """Seconds to wait before a session goes on at another server; `jitter` from 0 to 1."""
    return min(LONGEST_SPREAD, valid_for / SPREAD_SHARE) * jitter
