"""The rack itself: ties the ways to keys, the threads of the keys and the rules of the shelf to one event loop.

Promises: everything public is called in the event loop and none of it blocks; each job ends by its limit, whatever its key
does; the keys' states change in one place and every change is in the log. Documents and writes are others' (`choice`,
`writes`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, TypeVar

import structlog

from keypeg.errors import Busy, KeyBusy, KeyFaulty, KeypegError, KeyUnplugged, NotFound
from keypeg_bridge.rack.fair_queue import QueueFull
from keypeg_bridge.rack.ports import KeySource, Look, OpenKey, Place, Time, Timer
from keypeg_bridge.rack.reading import Reading
from keypeg_bridge.rack.record import KeyRecord, Namer
from keypeg_bridge.rack.scanner import Scanner
from keypeg_bridge.rack.shelf import KeyChange, Shelf
from keypeg_bridge.rack.states import Happening, State
from keypeg_bridge.rack.worker import PAUSES, Job, Worker

T = TypeVar("T")

PROVE_LIMIT: Final = 3.0
"""Seconds for one signature: the slowest cards take a third of one."""
_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RackSettings:
    """How the rack behaves."""

    poll_interval: float = 0.2
    """Seconds between two looks at a way to keys: how late an arrival is seen."""
    queue_limit: float = 5.0
    """Seconds that a job may wait for its turn."""
    pauses: tuple[float, float] = PAUSES
    """Seconds until a faulty key is tried again: at first, and at most."""
    stop_limit: float = 2.0
    """Seconds that ending waits for keys to be let go."""


@dataclass(eq=False, slots=True)
class _Waiting:
    """Who waits for a job, and what will end the wait."""

    future: asyncio.Future[Any]
    timer: Timer
    name: str


class Rack:
    """The keys of this computer."""

    def __init__(
        self,
        sources: Sequence[KeySource],
        namer: Namer,
        time: Time,
        settings: RackSettings | None = None,
    ) -> None:
        self._settings = settings or RackSettings()
        self._time = time
        self._shelf = Shelf(namer)
        self._scanners = [
            Scanner(source, self._settings.poll_interval, self._saw) for source in sources
        ]
        self._workers: dict[Place, Worker] = {}
        self._opening: set[Worker] = set()
        self._leaving: set[Worker] = set()
        self._problems: dict[str, tuple[str, ...]] = {}
        self._looked: dict[str, bool] = {source.name: False for source in sources}
        self._listeners: list[Callable[[KeyChange], None]] = []
        self._timer: Timer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._first_look = asyncio.Event()

    async def start(self) -> None:
        """Begin to look for keys."""
        self._loop = asyncio.get_running_loop()
        for scanner in self._scanners:
            scanner.start()

    async def stop(self) -> None:
        """Let go of all keys; what blocks for longer than the limit is left to the end of the process."""
        for scanner in self._scanners:
            scanner.stop()
        workers = [*self._workers.values(), *self._leaving]
        for worker in workers:
            worker.stop()
            self._fail_waiting(worker, KeyUnplugged("The bridge is ending."))
        if self._timer is not None:
            self._timer.cancel()
        limit = self._settings.stop_limit
        joins = [one.join for one in self._scanners] + [one.join for one in workers]
        await asyncio.gather(*(asyncio.to_thread(join, limit) for join in joins))

    async def first_look(self, timeout: float) -> bool:
        """Wait until each way has been looked at once, and what was there been read; False when that took longer."""
        try:
            async with asyncio.timeout(timeout):
                await self._first_look.wait()
        except TimeoutError:
            return False
        return True

    def records(self) -> tuple[KeyRecord, ...]:
        """The keys that are there, or were a moment ago, in the order in which they came."""
        return self._shelf.listed()

    def key(self, name: str) -> KeyRecord:
        """One key. Raises NotFound."""
        record = self._shelf.find(name)
        if record is None:
            raise NotFound(f"No key {name} has been seen here. List the keys.", name=name)
        return record

    def problems(self) -> tuple[str, ...]:
        """Ways to keys that do not work at the moment, one sentence each."""
        return tuple(sentence for each in self._problems.values() for sentence in each)

    def listen(self, listener: Callable[[KeyChange], None]) -> Callable[[], None]:
        """Call `listener` with each change, in the event loop; the answer ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def prove(self, name: str, caller: str, challenge: bytes) -> bytes:
        """The key's signature over a challenge. Raises what `run` raises."""
        signature, signals = await self.run(
            name, caller, lambda key: (key.prove(challenge), key.signals()), PROVE_LIMIT
        )
        record = self._shelf.find(name)
        if record is not None and record.reading is not None and record.state is State.PRESENT:
            reading = record.reading
            if signals != reading.signals:  # told to whoever watches keys, and in the log
                self.rewritten(name, replace(reading, signals=signals))
        return signature

    async def run(self, name: str, caller: str, work: Callable[[OpenKey], T], limit: float) -> T:
        """Do `work` on the key's thread, in `caller`'s turn, for at most `limit` seconds once it has begun.

        Raises KeyUnplugged, KeyFaulty, KeyBusy (its queue is too long), Busy, NotFound, and what `work` raises.
        """
        record = self.key(name)
        worker = self._usable(record)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        job = Job(work, limit)
        timer = self._time.call_later(
            self._settings.queue_limit, lambda: self._waited_too_long(job)
        )
        job.outcome = _Waiting(future, timer, name)
        try:
            worker.submit(caller, job)
        except QueueFull:
            timer.cancel()
            raise Busy(
                f"Too much is waiting for {name}. Try again in a second.",
                retry_after=timedelta(seconds=1),
            ) from None
        try:
            return await future
        finally:
            job.dropped = True
            job.outcome.timer.cancel()

    def rewritten(self, name: str, reading: Reading) -> KeyRecord:
        """Take note of what was just written to a key; its record, which may have a new name."""
        changes = self._shelf.rewritten(name, reading, self._time.monotonic())
        self._announce(changes)
        return changes[-1].record if changes else self.key(name)

    def _usable(self, record: KeyRecord) -> Worker:
        match record.state:
            case State.PRESENT if record.place in self._workers:
                return self._workers[record.place]
            case State.FAULTY:
                raise KeyFaulty(
                    f"The key {record.name} cannot be used: {record.fault}",
                    key=record.name,
                    detail=record.fault,
                )
            case _:
                raise KeyUnplugged(
                    f"The key {record.name} is not plugged in. Plug it in again.", key=record.name
                )

    # What threads report, brought into the event loop

    def _post(self, callback: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _saw(self, source: KeySource, look: Look | None, problem: str) -> None:
        self._post(self._seen, source, look, problem)

    def opened(self, worker: Worker, reading: Reading) -> None:
        """A worker's report."""
        self._post(self._on_opened, worker, reading)

    def failed(self, worker: Worker, sentence: str) -> None:
        """A worker's report."""
        self._post(self._on_failed, worker, sentence)

    def left(self, worker: Worker) -> None:
        """A worker's report."""
        self._post(self._on_left, worker)

    def begun(self, worker: Worker, job: Job) -> None:
        """A worker's report."""
        self._post(self._on_begun, worker, job)

    def done(self, worker: Worker, job: Job, result: Any, error: KeypegError | None) -> None:
        """A worker's report."""
        self._post(self._on_done, worker, job, result, error)

    # The event loop's side

    def _seen(self, source: KeySource, look: Look | None, problem: str) -> None:
        sentences = (problem,) if look is None else look.problems
        if sentences != self._problems.get(source.name, ()):
            _LOG.warning("way to keys", source=source.name, problems=sentences or "none any more")
        self._problems[source.name] = sentences
        self._looked[source.name] = True
        if look is not None:  # else nothing is known: neither new nor gone
            self._compare(source, look)
        self._note_settled()

    def _compare(self, source: KeySource, look: Look) -> None:
        """Meet what is new, and let go of what is not there any more."""
        there = {Place(source.name, bus_id) for bus_id in look.bus_ids}
        for place in there - self._workers.keys():
            worker = Worker(source, place, self, self._settings.pauses)
            self._workers[place] = worker
            self._opening.add(worker)
            worker.start()
        for place in [p for p in self._workers if p.source == source.name and p not in there]:
            self._on_left(self._workers[place])

    def _note_settled(self, done: Worker | None = None) -> None:
        self._opening = {one for one in self._opening if one is not done}
        if all(self._looked.values()) and not self._opening:
            self._first_look.set()

    def _on_opened(self, worker: Worker, reading: Reading) -> None:
        if self._workers.get(worker.place) is worker:
            now, wall = self._time.monotonic(), self._time.wall()
            known = self._shelf.at(worker.place)
            if known is not None and known.state is State.PRESENT:
                self._announce(self._shelf.rewritten(known.name, reading, now))
            else:
                self._announce(self._shelf.arrived(worker.place, reading, now, wall))
        self._note_settled(worker)

    def _on_failed(self, worker: Worker, sentence: str) -> None:
        if self._workers.get(worker.place) is worker:
            now, wall = self._time.monotonic(), self._time.wall()
            self._announce(self._shelf.failed(worker.place, sentence, now, wall))
            self._fail_waiting(worker, KeyFaulty(f"The key failed: {sentence}", detail=sentence))
        self._note_settled(worker)

    def _on_left(self, worker: Worker) -> None:
        self._note_settled(worker)
        if self._workers.get(worker.place) is not worker:
            return
        del self._workers[worker.place]
        self._leaving.add(worker)
        worker.stop()
        self._announce(self._shelf.departed(worker.place, self._time.monotonic()))
        self._fail_waiting(worker, KeyUnplugged("The key was unplugged. Plug it in again."))
        self._leaving = {one for one in self._leaving if not one.join(0)}

    def _on_begun(self, worker: Worker, job: Job) -> None:
        waiting: _Waiting = job.outcome
        waiting.timer.cancel()
        if not waiting.future.done():
            waiting.timer = self._time.call_later(job.limit, lambda: self._overrun(worker, job))

    def _on_done(self, worker: Worker, job: Job, result: Any, error: KeypegError | None) -> None:
        waiting: _Waiting = job.outcome
        waiting.timer.cancel()
        if waiting.future.done():
            return
        if error is None:
            waiting.future.set_result(result)
        else:
            waiting.future.set_exception(error)

    def _overrun(self, worker: Worker, job: Job) -> None:
        """The key does not answer: its callers hear so now, and it is opened anew once its thread is free."""
        waiting: _Waiting = job.outcome
        sentence = f"It did not answer within {job.limit:g} s."
        worker.reopen()
        self._fail(job, KeyFaulty(f"The key {waiting.name} failed: {sentence}", detail=sentence))
        self._on_failed(worker, sentence)

    def _waited_too_long(self, job: Job) -> None:
        waiting: _Waiting = job.outcome
        self._fail(
            job,
            KeyBusy(
                f"The key {waiting.name} has too much to do. Try again.",
                retry_after=timedelta(seconds=1),
                key=waiting.name,
            ),
        )

    def _fail_waiting(self, worker: Worker, error: KeypegError) -> None:
        for job in worker.drain():
            self._fail(job, error)

    def _fail(self, job: Job, error: KeypegError) -> None:
        waiting: _Waiting = job.outcome
        waiting.timer.cancel()
        if not waiting.future.done():
            waiting.future.set_exception(error)

    def _announce(self, changes: Sequence[KeyChange]) -> None:
        for change in changes:
            record = change.record
            report = _LOG.warning if change.happening is Happening.FAILED else _LOG.info
            report(
                "key",
                key=record.name,
                happening=change.happening.value,
                before=change.before.name.lower(),
                after=record.state.name.lower(),
                place=str(record.place) if record.place else None,
                fault=record.fault or None,
            )
            for listener in list(self._listeners):
                listener(change)
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._shelf.next_deadline()
        if deadline is not None:
            delay = max(0.0, deadline - self._time.monotonic())
            self._timer = self._time.call_later(delay, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._announce(self._shelf.expire(self._time.monotonic()))
