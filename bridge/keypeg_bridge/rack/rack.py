"""The rack itself: ties the ways to keys, the threads of the keys and the rules of plugs and shelf to one event loop.

Promises: everything public is called in the event loop and none of it blocks; each job ends by its limit, whatever its key
does; the keys' states change in one place, and every change is in the log and told to whoever listens. Documents and writes
are others' (`choice`, `writes`), and so is the record of changes (`journal`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from keypeg.errors import KeyFaulty, KeypegError, KeyRolledBack, KeyUnplugged, NotFound
from keypeg_bridge.rack.jobs import Jobs
from keypeg_bridge.rack.news import News
from keypeg_bridge.rack.ports import KeySource, OpenKey, Place, Time, Timer
from keypeg_bridge.rack.reading import Reading
from keypeg_bridge.rack.record import KeyRecord, Namer
from keypeg_bridge.rack.shelf import KeyChange, Shelf
from keypeg_bridge.rack.sides import Opener
from keypeg_bridge.rack.states import State
from keypeg_bridge.rack.ways import Ways
from keypeg_bridge.rack.worker import PAUSES, Job, Worker

T = TypeVar("T")

PROVE_LIMIT: Final = 3.0
"""Seconds for one signature: the slowest cards take a third of one."""
USABLE: Final = frozenset({State.PRESENT, State.DRAINING})


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
    sides: tuple[str, ...] = ()
    """The drivers in the order in which a key with several sides is tried."""


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
        self._ways = Ways(
            sources, time, self._settings.poll_interval, self._post, self._ways_changed
        )
        self._opener = Opener({source.name: source for source in sources}, self._settings.sides)
        self._jobs = Jobs(time, self._settings.queue_limit, self._on_failed)
        self._workers: dict[Place, Worker] = {}
        self._opening: set[Worker] = set()
        self._leaving: set[Worker] = set()
        self._news = News()
        self._timer: Timer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._first_look = asyncio.Event()
        self._draining = False

    async def start(self) -> None:
        """Begin to look for keys."""
        self._loop = asyncio.get_running_loop()
        self._ways.start()

    def drain(self) -> None:
        """Take no new keys; those that are there serve those who use them, until `stop`."""
        if self._draining:
            return
        self._draining = True
        self._ways.stop()
        if self._timer is not None:
            self._timer.cancel()
        self._announce(self._shelf.drained())

    async def stop(self) -> None:
        """Let go of all keys; what blocks for longer than the limit is left to the end of the process."""
        self.drain()
        workers = [*self._workers.values(), *self._leaving]
        for worker in workers:
            worker.stop()
            self._jobs.fail_waiting(worker, KeyUnplugged("The bridge is ending."))
        self._announce(self._shelf.released(self._time.monotonic()))
        limit = self._settings.stop_limit
        joins = [self._ways.join, *(one.join for one in workers)]
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
        return self._ways.problems()

    def listen(self, listener: Callable[[KeyChange], None]) -> Callable[[], None]:
        """Call `listener` with each change, in the event loop; the answer ends that."""
        return self._news.listen(listener)

    async def prove(self, name: str, caller: str, challenge: bytes) -> bytes:
        """The key's signature over a challenge. Raises what `run` raises."""
        signature, signals = await self.run(
            name, caller, lambda key: _proof(key, challenge), PROVE_LIMIT
        )
        record = self._shelf.find(name)
        if record is not None and record.reading is not None and record.state is State.PRESENT:
            reading = record.reading
            if signals != reading.signals:  # told to whoever watches keys, and in the log
                self.rewritten(name, replace(reading, signals=signals))
        if isinstance(signature, KeyRolledBack):
            raise signature
        return signature

    async def run(self, name: str, caller: str, work: Callable[[OpenKey], T], limit: float) -> T:
        """Do `work` on the key's thread, in `caller`'s turn, for at most `limit` seconds once it has begun.

        Raises KeyUnplugged, KeyFaulty, KeyBusy (its queue is too long), Busy, NotFound, and what `work` raises.
        """
        worker = self._usable(self.key(name))
        return await self._jobs.run(worker, name, caller, work, limit)

    def rewritten(self, name: str, reading: Reading) -> KeyRecord:
        """Take note of what was just written to a key; its record, which may have a new name."""
        changes = self._shelf.rewritten(name, reading, self._time.monotonic())
        self._announce(changes)
        return changes[-1].record if changes else self.key(name)

    def _usable(self, record: KeyRecord) -> Worker:
        if record.state in USABLE and record.place in self._workers:
            return self._workers[record.place]
        if record.state is State.FAULTY:
            raise KeyFaulty(
                f"The key {record.name} cannot be used: {record.fault}",
                key=record.name,
                detail=record.fault,
            )
        raise KeyUnplugged(
            f"The key {record.name} is not plugged in. Plug it in again.", key=record.name
        )

    # What threads report, brought into the event loop

    def _post(self, callback: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)

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
        self._post(self._jobs.begun, worker, job)

    def done(self, worker: Worker, job: Job, result: Any, error: KeypegError | None) -> None:
        """A worker's report."""
        self._post(self._jobs.done, job, result, error)

    # The event loop's side

    def _ways_changed(self) -> None:
        """Meet what is new, and let go of what is not there any more."""
        if self._draining:
            return
        for place in [place for place in self._workers if self._ways.shows(place) is None]:
            self._depart(self._workers[place])
        for plug in self._ways.ripe():
            known = self._workers.get(plug.place)
            if known is not None:
                known.reached(plug)
                continue
            worker = Worker(self._opener, plug, self, self._settings.pauses)
            self._workers[plug.place] = worker
            self._opening.add(worker)
            worker.start()
        self._note_settled()

    def _note_settled(self, done: Worker | None = None) -> None:
        self._opening = {one for one in self._opening if one is not done}
        if self._ways.are_settled and not self._opening:
            self._first_look.set()

    def _on_opened(self, worker: Worker, reading: Reading) -> None:
        if self._workers.get(worker.place) is worker and not self._draining:
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
            known = self._shelf.at(worker.place)
            if not self._draining or (known is not None and known.state is State.DRAINING):
                self._announce(self._shelf.failed(worker.place, sentence, now, wall))
            error = KeyFaulty(f"The key failed: {sentence}", detail=sentence)
            self._jobs.fail_waiting(worker, error)
        self._note_settled(worker)

    def _on_left(self, worker: Worker) -> None:
        if self._workers.get(worker.place) is worker:
            self._ways.left(worker.place)
            self._depart(worker)
        self._note_settled(worker)

    def _depart(self, worker: Worker) -> None:
        del self._workers[worker.place]
        self._leaving.add(worker)
        worker.stop()
        self._announce(self._shelf.departed(worker.place, self._time.monotonic()))
        error = KeyUnplugged("The key was unplugged. Plug it in again.")
        self._jobs.fail_waiting(worker, error)
        self._leaving = {one for one in self._leaving if not one.join(0)}
        self._note_settled(worker)

    def _announce(self, changes: Sequence[KeyChange]) -> None:
        self._news.tell(changes)
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = None if self._draining else self._shelf.next_deadline()
        if deadline is not None:
            delay = max(0.0, deadline - self._time.monotonic())
            self._timer = self._time.call_later(delay, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._announce(self._shelf.expire(self._time.monotonic()))


def _proof(key: OpenKey, challenge: bytes) -> tuple[bytes | KeyRolledBack, tuple[str, ...]]:
    """What the key signed, or why that is not passed on, and what is suspicious of it since then."""
    try:
        return key.prove(challenge), key.signals()
    except KeyRolledBack as error:
        return error, key.signals()
