"""The streams that are open, and whether anything new may be promised on one.

Promises: while the server ends, or can not be sure that the accounts are still its own, nothing is promised;
whoever drains waits for streams that end by themselves, for so long and no longer.

Leaves to others: sessions, which outlive their streams (presence.py), frames (conversation.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Protocol

from keypeg.v1 import session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from keypeg_server.service import frames
from keypeg_server.service.outbox import Outbox
from keypeg_server.service.refusals import doubtful, draining


class Stream(Protocol):
    """A stream that a session is on."""

    @property
    def outbox(self) -> Outbox: ...


class Streams:
    """All of them."""

    def __init__(self, alive: Callable[[], bool]) -> None:
        """`alive` says whether nobody else can have taken this server's accounts."""
        self.alive = alive
        self._open: set[Stream] = set()
        self.draining = False
        self._all_left: asyncio.Event | None = None  # while draining

    def __iter__(self) -> Iterator[Stream]:
        return iter(tuple(self._open))

    def joined(self, stream: Stream) -> None:
        """A session is on this stream."""
        self._open.add(stream)

    def left(self, stream: Stream) -> None:
        """A stream is gone."""
        self._open.discard(stream)
        if self._all_left is not None and not self._open:
            self._all_left.set()

    def may_begin(self) -> None:
        """ServerDraining when no session may begin or come back now."""
        if self.draining:
            raise draining()
        self.may_promise()

    def may_promise(self) -> None:
        """ServerDraining when nobody may be given more time now."""
        if not self.alive():
            raise doubtful()

    def disconnect(self) -> None:
        """End every stream: their sessions resume, here or elsewhere."""
        for stream in self:
            stream.outbox.end(doubtful())

    async def drain(self, within: timedelta) -> None:
        """Tell every app to go elsewhere; after `within` at most, end the streams that are left."""
        self.draining = True
        closes_in = frames.duration(within)
        for stream in self:
            stream.outbox.push(
                HoldSessionResponse(draining=session_pb2.Draining(closes_in=closes_in))
            )
        self._all_left = asyncio.Event()
        if self._open:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_left.wait(), within.total_seconds())
        for stream in self:
            stream.outbox.end(draining())
