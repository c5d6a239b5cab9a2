"""Waiting for what a key is asked: turns, time limits and results, brought from the key's thread to the event loop.

Promises: everything public is called in the event loop and nothing blocks; each job ends by its limit, in its queue and on
its key, whatever that key does; nobody waits for what was dropped. Which key, and what becomes of one that failed, is the rack's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from keypeg.errors import Busy, KeyBusy, KeyFaulty, KeypegError
from keypeg_bridge.rack.fair_queue import QueueFull
from keypeg_bridge.rack.ports import OpenKey, Time, Timer
from keypeg_bridge.rack.worker import Job, Worker

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class _Waiting:
    """Who waits for a job, and what will end the wait."""

    future: asyncio.Future[Any]
    timer: Timer
    key: str


class Jobs:
    """What is asked of all keys."""

    def __init__(
        self, time: Time, queue_limit: float, overrun: Callable[[Worker, str], None]
    ) -> None:
        self._time = time
        self._queue_limit = queue_limit
        self._overrun = overrun
        """Told of a key that did not answer in time, and the sentence for it."""

    async def run(
        self, worker: Worker, key: str, caller: str, work: Callable[[OpenKey], T], limit: float
    ) -> T:
        """Do `work` on the key's thread, in `caller`'s turn, for at most `limit` seconds once it has begun."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        job = Job(work, limit)
        timer = self._time.call_later(self._queue_limit, lambda: self._waited_too_long(job))
        job.outcome = _Waiting(future, timer, key)
        try:
            worker.submit(caller, job)
        except QueueFull:
            timer.cancel()
            raise Busy(
                f"Too much is waiting for {key}. Try again in a second.",
                retry_after=timedelta(seconds=1),
            ) from None
        try:
            return await future
        finally:
            job.dropped = True
            job.outcome.timer.cancel()

    def begun(self, worker: Worker, job: Job) -> None:
        """Its turn has come."""
        waiting: _Waiting = job.outcome
        waiting.timer.cancel()
        if not waiting.future.done():
            waiting.timer = self._time.call_later(
                job.limit, lambda: self._took_too_long(worker, job)
            )

    def done(self, job: Job, result: Any, error: KeypegError | None) -> None:
        """It has ended."""
        waiting: _Waiting = job.outcome
        waiting.timer.cancel()
        if waiting.future.done():
            return
        if error is None:
            waiting.future.set_result(result)
        else:
            waiting.future.set_exception(error)

    def fail_waiting(self, worker: Worker, error: KeypegError) -> None:
        """Nothing that has not begun will be."""
        for job in worker.drain():
            self.done(job, None, error)

    def _took_too_long(self, worker: Worker, job: Job) -> None:
        """The key does not answer: its callers hear so now, and it is opened anew once its thread is free."""
        waiting: _Waiting = job.outcome
        sentence = f"It did not answer within {job.limit:g} s."
        worker.reopen()
        error = KeyFaulty(f"The key {waiting.key} failed: {sentence}", detail=sentence)
        self.done(job, None, error)
        self._overrun(worker, sentence)

    def _waited_too_long(self, job: Job) -> None:
        waiting: _Waiting = job.outcome
        error = KeyBusy(
            f"The key {waiting.key} has too much to do. Try again.",
            retry_after=timedelta(seconds=1),
            key=waiting.key,
        )
        self.done(job, None, error)
