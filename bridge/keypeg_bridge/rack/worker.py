"""One key's own thread: opens it, reads it, then does one job after the other, each caller in turn.

Promises: nothing that the key does blocks anyone but this thread; a job that failed by the key's fault closes the key, and
it is opened and read anew after a pause that grows; a key that left ends the thread. What is told, and to whom the results
go, is the rack's: its reports are called from this thread.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from keypeg.errors import KeyFaulty, KeypegError, KeyUnplugged
from keypeg_bridge.rack.fair_queue import FairQueue
from keypeg_bridge.rack.plugs import Plug
from keypeg_bridge.rack.ports import OpenKey, SlotMalformed
from keypeg_bridge.rack.reading import Reading, read_key
from keypeg_bridge.rack.sides import Opener, Side

PAUSES: Final = (0.5, 8.0)
"""Seconds until a faulty key is tried again: at first, doubled each time, and at most. It is tried for ever,
as people repair things by waiting."""

_LOG = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class Job:
    """One thing to do with a key."""

    work: Callable[[OpenKey], Any]
    limit: float
    """Seconds that it may take once it has begun."""
    outcome: Any = field(default=None)
    """Where its result goes; the rack's own."""
    dropped: bool = False
    """Set by the rack when nobody waits for it any more: it then is not begun."""


class Reports(Protocol):
    """What a worker tells, from its own thread."""

    def opened(self, worker: Worker, reading: Reading) -> None:
        """The key is open and read."""
        ...

    def failed(self, worker: Worker, sentence: str) -> None:
        """The key does not answer as it should; it will be tried again."""
        ...

    def left(self, worker: Worker) -> None:
        """The key was unplugged."""
        ...

    def begun(self, worker: Worker, job: Job) -> None:
        """A job has begun."""
        ...

    def done(self, worker: Worker, job: Job, result: Any, error: KeypegError | None) -> None:
        """A job has ended, with a result or an error."""
        ...


class _Left(Exception):
    """The key is gone, or the worker is told to stop."""


class Worker:
    """The thread of the key at one place."""

    def __init__(
        self,
        opener: Opener,
        plug: Plug,
        reports: Reports,
        pauses: tuple[float, float] = PAUSES,
    ) -> None:
        self.place = plug.place
        self.side: Side | None = None
        """What is in use; None before the first opening."""
        self._ways = plug.ways
        self._first_pause, self._last_pause = pauses
        self._pause = self._first_pause
        self._opener = opener
        self._reports = reports
        self._queue: FairQueue[Job] = FairQueue()
        self._changed = threading.Condition()
        self._stopping = False
        self._gone = False
        self._reopen = False
        self._thread = threading.Thread(target=self._run, name=f"key {plug.place}", daemon=True)

    def start(self) -> None:
        """Open the key."""
        self._thread.start()

    def submit(self, caller: str, job: Job) -> None:
        """Add a job. Raises fair_queue.QueueFull."""
        with self._changed:
            self._queue.push(caller, job)
            self._changed.notify()

    def reopen(self) -> None:
        """Once the job under way has ended, however it ends: close the key, and open and read it anew."""
        with self._changed:
            self._reopen = True
            self._changed.notify()

    def reached(self, plug: Plug) -> None:
        """Take note of the ways to the key; a better one than that in use is changed to."""
        with self._changed:
            before, self._ways = self._ways, plug.ways
            if self.side is not None and self._opener.improved(before, plug.ways, self.side):
                self._reopen = True
                self._changed.notify()

    def drain(self) -> list[Job]:
        """Take out all jobs that have not begun."""
        with self._changed:
            return list(self._queue.drain())

    def stop(self) -> None:
        """Close the key and end, as soon as the job under way has ended."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def join(self, timeout: float) -> bool:
        """Wait for the end of the thread; False when it is still blocked in its key."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._ending():
            try:
                self._hold()
            except (_Left, KeyUnplugged):
                break
            except KeypegError as error:
                self._reports.failed(self, error.sentence)
            except Exception as error:  # the boundary to drivers: whatever it is, it is this key's
                _LOG.error("driver failed", place=str(self.place), exc_info=error)
                self._reports.failed(self, "Its driver failed; the bridge's log says how.")
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._gone, self._pause)
            self._pause = min(self._last_pause, self._pause * 2)
        if not self._stopping:
            self._reports.left(self)

    def _hold(self) -> None:
        """Open the key and work until it has to be opened anew."""
        with self._changed:
            ways, self._reopen = self._ways, False
        opened = self._opener.open(ways, self._on_gone)
        key, self.side = opened.key, opened.side
        try:
            self._reports.opened(self, read_key(key))
            self._pause = self._first_pause
            while True:
                job = self._next()
                if job is None:
                    return
                if not job.dropped:
                    self._reports.begun(self, job)
                    self._do(key, job)
        finally:
            with contextlib.suppress(Exception):
                key.close()

    def _do(self, key: OpenKey, job: Job) -> None:
        try:
            result = job.work(key)
        except (KeyFaulty, KeyUnplugged) as error:
            self._reports.done(self, job, None, error)
            raise
        except KeypegError as error:
            self._reports.done(self, job, None, error)
        except SlotMalformed as error:
            self._reports.done(self, job, None, KeyFaulty(f"The key cannot be read: {error}."))
        except Exception:
            sentence = "The key's driver failed; the bridge's log says how."
            self._reports.done(self, job, None, KeyFaulty(sentence))
            raise
        else:
            self._reports.done(self, job, result, None)

    def _next(self) -> Job | None:
        """The next job; None when the key is to be opened anew."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or self._gone or self._reopen or len(self._queue)
            )
            if self._stopping or self._gone:
                raise _Left
            return None if self._reopen else self._queue.pop()

    def _ending(self) -> bool:
        with self._changed:
            return self._stopping or self._gone

    def _on_gone(self) -> None:
        with self._changed:
            self._gone = True
            self._changed.notify()
        self._reports.left(self)
