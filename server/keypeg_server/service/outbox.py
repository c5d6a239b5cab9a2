"""What is on its way to one app: a bounded queue of frames, and how the stream ends.

Promises: frames leave in order; a reader too slow for the bound is cut off with LimitExceeded instead of
memory growing; whoever ends the stream first decides how, and nothing is taken after that.

Leaves to others: writing to the stream (rpc/session_service.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keypeg.errors import KeypegError, LimitExceeded
from keypeg.v1.session_service_pb2 import HoldSessionResponse

FRAMES_LIMIT: Final = 256  # a few times what a session with all its seats is told at once


class Outbox:
    """Frames to send, the oldest first."""

    __slots__ = ("_frames", "_limit", "_wake", "cut_off", "ended", "error")

    def __init__(self, wake: Callable[[], None], limit: int = FRAMES_LIMIT) -> None:
        """`wake` is called when there is something to send or the stream is to end."""
        # Made when needed and dropped when empty: most sessions are idle.
        self._frames: list[HoldSessionResponse] | None = None
        self._limit = limit
        self._wake = wake
        self.ended = False
        self.cut_off = False  # ended without sending what is left
        self.error: KeypegError | None = None  # what ended it; None for a good end

    def push(self, frame: HoldSessionResponse) -> None:
        """Send this frame, unless the stream has ended."""
        if self.ended:
            return
        if self._frames is None:
            self._frames = []
        if len(self._frames) >= self._limit:
            self.cut()
            return
        self._frames.append(frame)
        self._wake()

    @property
    def count(self) -> int:
        """How many frames wait."""
        return len(self._frames) if self._frames else 0

    def pop(self) -> HoldSessionResponse | None:
        """The next frame to send."""
        frames = self._frames
        if not frames:
            return None
        frame = frames.pop(0)
        if not frames:
            self._frames = None
        return frame

    def cut(self) -> None:
        """End the stream of who does not read, without what is left; also when it has ended, of which nobody heard."""
        waiting, self._frames = self.count, None
        self.ended = self.cut_off = True
        self.error = LimitExceeded(
            f"{waiting} frames wait to be read; read faster, and resume the session.",
            limit="session.unread_frames",
            value=str(self._limit),
        )
        self._wake()

    def close(self) -> None:
        """Whoever was woken is gone: wake nobody. Takes the cycle of a stream and its outbox apart."""
        self._wake = _nobody

    def end(self, error: KeypegError | None) -> None:
        """End the stream after what is left: well, or with the status of an error."""
        if not self.ended:
            self.ended = True
            self.error = error
            self._wake()


def _nobody() -> None:
    pass
