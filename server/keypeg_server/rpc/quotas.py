"""What one caller may take of the server: calls and frames in a second, streams at once, bytes of a message.

Promises: a call over its quota is refused before it is served, with the limit's name, and the time after which it
may come again where that helps. Frames over it, and sessions that are opened, are not refused but come later, each after
those before it; only who would wait long for its session is told when to come again. A message over the size of its
method is not parsed.

Leaves to others: counting (domain/quota.py), the numbers (settings), places in queues (domain/pool_serving.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor

from keypeg.errors import LimitExceeded
from keypeg_server.domain.quota import CallRate, StreamCount
from keypeg_server.service.ports import Clock

SMALL: Final = 16_384
"""Bytes of a message that has neither a list nor a document in it: names, ids and short texts, a hundred of them."""

FRAMES: Final = frozenset({"/keypeg.v1.SessionService/HoldSession"})
"""Of these too: what is asked for on a stream names a few features at most."""

FRAMES_AT_ONCE: Final = 4
"""Frames of a stream that are counted together: a session at rest sends as many in two minutes."""

STREAM_FRAMES: Final = 2.0
"""Frames in a second of one stream that do not count: with the shortest grants, too, an app sends fewer."""

OPENING_SECONDS: Final = 5.0
"""A new session that would wait for longer is refused: apps take a stream without an answer for dead after 10 s."""

PLACE_STREAMS: Final = 100
"""Streams at once from one place of who has not signed in: balancers that watch a server's health."""

STRANGE_STREAMS: Final = 4_096
"""The same of all places together; some 23 KiB each."""

_DOCUMENT: Final = "keypeg.v1.Envelope"


def size_limit(method: str) -> int | None:
    """Bytes that a message of this method may have; None for as many as are read at all."""
    _, service, name = method.split("/")
    if not service.startswith("keypeg.v1."):
        return None
    asked = descriptor_pool.Default().FindMethodByName(f"{service}.{name}").input_type
    return None if method not in FRAMES and _is_long(asked, set()) else SMALL


def _is_long(message: Descriptor, seen: set[str]) -> bool:
    """Whether it has a list or a document somewhere."""
    if message.full_name in seen:
        return False
    seen.add(message.full_name)
    return message.full_name == _DOCUMENT or any(
        field.is_repeated or (field.message_type is not None and _is_long(field.message_type, seen))
        for field in message.fields
    )


@dataclass(frozen=True)
class TooLarge:
    """Stands for a message that was not parsed."""

    method: str
    size: int
    limit: int

    def refusal(self) -> LimitExceeded:
        """The error for who sent it."""
        return LimitExceeded(
            f"A message of {self.size:,} bytes is too large for {self.method.rpartition('.')[2]}, which takes "
            f"{self.limit:,}; send less at once.",
            limit="message_bytes",
            allowed=str(self.limit),
        )


def reader(method: str, parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """`parse`, and TooLarge instead of what is larger than the method takes."""
    limit = size_limit(method)
    if limit is None:
        return parse

    def read(data: bytes) -> Any:
        return parse(data) if len(data) <= limit else TooLarge(method, len(data), limit)

    return read


class Quotas:
    """Of all users."""

    def __init__(
        self, clock: Clock, *, calls: int, streams: int, frames: int, openings: int
    ) -> None:
        """`calls`, `frames` and `openings` in a second; of calls ten times as many in a burst, of frames a twentieth."""
        self._now = clock.monotonic
        self._calls = CallRate(calls, 10 * calls)
        self._call_limit = calls
        self._frames = CallRate(frames / FRAMES_AT_ONCE, max(1.0, frames / 20 / FRAMES_AT_ONCE))
        self._openings = CallRate(openings, max(1.0, openings / 10))
        self._opening_limit = openings
        self._streams = StreamCount(streams)
        self._stream_limit = streams
        self._of_places = StreamCount(PLACE_STREAMS)
        self._strange = StreamCount(STRANGE_STREAMS)

    def call(self, user: str) -> None:
        """One call of a user (name); LimitExceeded when it is one too many."""
        wait = self._calls.take(user, self._now())
        if wait:
            raise LimitExceeded(
                f"{user} has called more than {self._call_limit:,} times a second for a while; wait "
                f"{wait:.1f} s, and ask less often (limits.user_calls).",
                limit="user_calls",
                allowed=str(self._call_limit),
                retry_after=timedelta(seconds=wait),
            )

    def frames(self, user: str) -> Callable[[], float]:
        """A new stream of a user (name): called after every FRAMES_AT_ONCE, it gives the seconds to wait before more are read."""
        counted, now, enough = self._frames, self._now, FRAMES_AT_ONCE / STREAM_FRAMES
        at = now()

        def more() -> float:
            nonlocal at
            before, at = at, now()
            return 0.0 if at - before >= enough else counted.reserve(user, at)

        return more

    def opening(self, user: str) -> float:
        """A new session of a user (name): the seconds until it may be opened; LimitExceeded when they are many."""
        wait = self._openings.reserve(user, self._now(), OPENING_SECONDS)
        if wait >= OPENING_SECONDS:
            raise LimitExceeded(
                f"{user} opens more than {self._opening_limit:,} sessions a second; come again in {wait:.0f} s "
                "(limits.user_openings).",
                limit="user_openings",
                allowed=str(self._opening_limit),
                retry_after=timedelta(seconds=wait),
            )
        return wait

    @contextlib.contextmanager
    def stream(self, user: str) -> Iterator[None]:
        """A stream of a user (name), while it lasts; LimitExceeded when it is one too many."""
        if not self._streams.take(user):
            raise LimitExceeded(
                f"{user} has {self._stream_limit:,} streams open at this server; end some of them, or sign in "
                "as another user (limits.user_streams).",
                limit="user_streams",
                allowed=str(self._stream_limit),
            )
        try:
            yield
        finally:
            self._streams.give(user)

    @contextlib.contextmanager
    def strange_stream(self, place: str) -> Iterator[None]:
        """A stream of who has not signed in, from a place, while it lasts; LimitExceeded when it is one too many."""
        if not self._of_places.take(place):
            raise _too_many_strange("from one place", PLACE_STREAMS)
        try:
            if not self._strange.take(""):
                raise _too_many_strange("in all", STRANGE_STREAMS)
            try:
                yield
            finally:
                self._strange.give("")
        finally:
            self._of_places.give(place)


def _too_many_strange(where: str, limit: int) -> LimitExceeded:
    return LimitExceeded(
        f"{limit:,} streams {where} are open of who has not signed in, which is the limit; end some of them, or ask "
        "with calls that end.",
        limit="strange_streams",
        allowed=str(limit),
    )
