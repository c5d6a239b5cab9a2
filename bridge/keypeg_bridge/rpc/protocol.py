"""When which frame may come, and what becomes of a session: one table; anything absent is refused.

Promises: pure. What is done in a phase is `sessions`.
"""

from __future__ import annotations

import enum
from typing import Final

from keypeg.errors import ProtocolViolation


class Phase(enum.Enum):
    """Where a session is."""

    NEW = "new"
    """No first frame yet."""
    RUNNING = "running"
    """Its key is there."""
    AWAY = "away"
    """Its key was unplugged; the grace runs."""
    ENDED = "ended"


class Event(enum.Enum):
    """What can happen to a session: the app's frames, and what its key does."""

    OPEN = "open"
    RESUME = "resume"
    RENEW = "renew"
    ACQUIRE = "acquire"
    RELEASE = "release"
    CLOSE = "close"
    KEY_LEFT = "key left"
    KEY_BACK = "key back"
    GRACE_OVER = "grace over"
    TIME_OVER = "time over"


FRAMES: Final = frozenset(
    {Event.OPEN, Event.RESUME, Event.RENEW, Event.ACQUIRE, Event.RELEASE, Event.CLOSE}
)

PHASES: Final = {
    (Phase.NEW, Event.OPEN): Phase.RUNNING,
    (Phase.NEW, Event.RESUME): Phase.RUNNING,
    (Phase.RUNNING, Event.RENEW): Phase.RUNNING,
    (Phase.RUNNING, Event.ACQUIRE): Phase.RUNNING,
    (Phase.RUNNING, Event.RELEASE): Phase.RUNNING,
    (Phase.RUNNING, Event.CLOSE): Phase.ENDED,
    (Phase.RUNNING, Event.KEY_LEFT): Phase.AWAY,
    (Phase.RUNNING, Event.KEY_BACK): Phase.RUNNING,
    (Phase.RUNNING, Event.TIME_OVER): Phase.ENDED,
    (Phase.AWAY, Event.RENEW): Phase.AWAY,
    (Phase.AWAY, Event.ACQUIRE): Phase.AWAY,
    (Phase.AWAY, Event.RELEASE): Phase.AWAY,
    (Phase.AWAY, Event.CLOSE): Phase.ENDED,
    (Phase.AWAY, Event.KEY_BACK): Phase.RUNNING,
    (Phase.AWAY, Event.GRACE_OVER): Phase.ENDED,
}


def frame(name: str | None) -> Event:
    """The event of a frame, by its name in the contract; None is a frame that holds nothing known."""
    if name is None:
        raise ProtocolViolation(
            "A frame holds nothing that is known here. Send one of open, resume, renew, acquire,"
            " release or close, or update the bridge.",
            frame="",
        )
    return Event(name)


def after(phase: Phase, event: Event) -> Phase:
    """The phase that follows. Raises ProtocolViolation for a frame that may not come now."""
    following = PHASES.get((phase, event))
    if following is not None:
        return following
    if event not in FRAMES:
        raise LookupError(f"a session that is {phase.value} cannot have {event.value}")
    wanted = (
        "The first frame of a stream is open or resume."
        if phase is Phase.NEW
        else "A stream has one open or resume, and it is its first frame."
    )
    raise ProtocolViolation(
        f"The frame {event.value!r} may not come now. {wanted}", frame=event.value
    )
