"""What waits to be sent on one stream: answers in order, and pushes between them.

Promises: bounded: a client that does not read makes its own answers wait, and ends its own stream when pushes pile up; the
end comes after everything put before it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Final, Generic, TypeVar

from keypeg.errors import LimitExceeded

T = TypeVar("T")

ANSWERS: Final = 16
"""Answers that may wait; more wait where they are made."""
FRAMES: Final = 256
"""Answers and pushes that may wait: months of plugging."""


class Outbox(Generic[T]):
    """The sending side of a stream."""

    def __init__(self, answers: int = ANSWERS, frames: int = FRAMES) -> None:
        self._answers = answers
        self._limit = frames
        self._frames: deque[T] = deque()
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = False
        self._error: Exception | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more is taken."""
        return self._ended

    async def answer(self, frame: T) -> None:
        """Add an answer, once there is room for it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._ended or len(self._frames) < self._answers)
            if not self._ended:
                self._frames.append(frame)
                self._changed.notify_all()

    def push(self, frame: T) -> None:
        """Add what was not asked for."""
        if self._ended:
            return
        if len(self._frames) >= self._limit:
            self._frames.clear()
            self.end(LimitExceeded("The app does not read its stream.", limit="stream.frames"))
            return
        self._frames.append(frame)
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        """Take nothing more; the stream ends after what waits, with a status or well. The first end counts."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake()

    def follow(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that ends in answers; an error of it ends the stream."""

        async def run() -> None:
            try:
                await work
            except Exception as error:  # the stream's boundary: its reader gets it
                self.end(error)

        self._keep(asyncio.ensure_future(run()))

    async def frames(self) -> AsyncGenerator[T, None]:
        """What is to be sent, to the end. Raises what `end` was given."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._ended or len(self._frames) > 0)
                frame = self._frames.popleft() if self._frames else None
                self._changed.notify_all()
            if frame is None:
                if self._error is not None:
                    raise self._error
                return
            yield frame

    def _wake(self) -> None:
        self._keep(asyncio.ensure_future(self._notify()))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
