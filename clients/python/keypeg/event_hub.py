"""From a session to whoever listens: a callback, and any number of iterators.

Promises: publishing never waits. A callback that is a plain function runs on a thread of its own, one event
after the other, so that a slow one delays nothing but itself; a coroutine function runs as a task. An
iterator starts with the events that came before it, as far as they are kept, and ends after `Stopped`.

Leaves to others: what happens and when (session_machine).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from keypeg.events import Event, Stopped

OnEvent = Callable[[Event], Any]
"""A plain function, or a coroutine function."""

KEPT: Final = 1_000  # events that are kept for iterators; a session has a few an hour

_LOG: Final = logging.getLogger(__name__)


class EventHub:
    """The events of one session."""

    def __init__(self, on_event: OnEvent | None = None) -> None:
        self._kept: deque[tuple[int, Event]] = deque(maxlen=KEPT)
        self._count = 0
        self._more = asyncio.Event()
        self._stopped = False
        self._callback = _callback(on_event)

    def publish(self, event: Event) -> None:
        """Takes an event, on the loop's thread; returns at once."""
        self._kept.append((self._count, event))
        self._count += 1
        self._stopped = self._stopped or isinstance(event, Stopped)
        more, self._more = self._more, asyncio.Event()
        more.set()
        if self._callback is not None:
            self._callback(event)

    async def listen(self) -> AsyncIterator[Event]:
        """Every event from the first that is kept, until the session has stopped."""
        reached = 0
        while True:
            more = self._more
            for number, event in tuple(self._kept):
                if number >= reached:
                    reached = number + 1
                    yield event
            if self._more is more:
                if self._stopped:
                    return
                await more.wait()


def _callback(on_event: OnEvent | None) -> Callable[[Event], None] | None:
    if on_event is None:
        return None
    if inspect.iscoroutinefunction(on_event):
        return _TaskCallback(on_event)
    return _ThreadCallback(on_event)


class _ThreadCallback:
    """Calls a plain function on a daemon thread that lives from the first event to the last."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._started = False

    def __call__(self, event: Event) -> None:
        self._events.put(event)
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name="keypeg-events", daemon=True).start()

    def _run(self) -> None:
        while True:
            event = self._events.get()
            try:
                self._on_event(event)
            except Exception:  # the app's own code: its failure is no failure of the session
                _LOG.exception("event callback failed")
            if isinstance(event, Stopped):
                return


class _TaskCallback:
    """Awaits a coroutine function, one event after the other."""

    def __init__(self, on_event: Callable[[Event], Awaitable[Any]]) -> None:
        self._on_event = on_event
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def __call__(self, event: Event) -> None:
        self._events.put_nowait(event)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            event = await self._events.get()
            try:
                await self._on_event(event)
            except Exception:  # the app's own code: its failure is no failure of the session
                _LOG.exception("event callback failed")
            if isinstance(event, Stopped):
                return
