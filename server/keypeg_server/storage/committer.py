"""The committer: decide in memory at once, put many decisions on disk in one transaction, then answer each.

Promises: an answer means on disk. Operations are decided and answered in the order of `submit`; what depends
on a decision is answered with it or later. When the disk fails, every decision that is not on disk is undone,
the newest first, before anyone has seen it, and its operation is refused with StorageUnavailable; the next one
is tried afresh. A request that comes again is answered by its first result and changes nothing, also over
a restart. One event loop; the queue is bounded.

Leaves to others: what is decided (service/pools.py), what a batch writes (batches.py), sweeping old requests (requests.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from keypeg.errors import Busy, KeypegError
from keypeg_server.clock import Clock
from keypeg_server.domain.record import Entry
from keypeg_server.service.commits import Operation
from keypeg_server.service.homes_port import HomesLost
from keypeg_server.storage import batches, requests
from keypeg_server.storage.batches import Believed, Found, Item, Key, Recorded
from keypeg_server.storage.database import Database, unavailable
from keypeg_server.storage.log_writer import LogWriter

_LOG: Final = logging.getLogger(__name__)

PENDING_LIMIT: Final = 10_000  # operations: more would only wait longer than callers do
RECENT_LIMIT: Final = 20_000  # requests remembered in memory: more than can be pending
LINGER: Final = 0.001  # seconds to let a batch grow, only under load
LINGER_TURNS: Final = 4  # at most, while GROWTH operations or more come in each
GROWTH: Final = 2
RETRY_AFTER: Final = timedelta(milliseconds=250)

Recorder = Callable[[Sequence[Entry], Sequence[int]], None]
"""Hears which records are on disk, and their numbers in their logs, when what they tell of is answered."""


class BatchCommitter:
    """`Committer` on a database."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        log: LogWriter | None = None,
        pending_limit: int = PENDING_LIMIT,
        linger: float = LINGER,
    ) -> None:
        self._database = database
        self._clock = clock
        self._log = log
        self._pending_limit = pending_limit
        self._linger = linger
        self._pending: list[Item] = []
        self._writing = False  # a batch is with the writer, or its start is scheduled
        self._last_size = 0
        # Ordered for its quick end at the front: a plain dict searches there among what was deleted.
        self._recent: OrderedDict[Key, Recorded] = OrderedDict()
        self._idle: list[asyncio.Future[None]] = []
        self.recorded: Recorder | None = None

    def submit(self, operation: Operation) -> None:
        """Decide it now; it ends later, after all that was submitted before."""
        if len(self._pending) >= self._pending_limit:
            operation.refuse(
                Busy(
                    f"{self._pending_limit} operations wait for the disk already; try again shortly.",
                    retry_after=RETRY_AFTER,
                )
            )
            return
        fence = self._database.fence
        self._take(operation, {} if fence is None else fence.believed(operation.parents()))

    async def close(self) -> None:
        """Return when everything that was submitted has ended."""
        while self._writing:
            idle = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle

    def _take(self, operation: Operation, believed: Believed) -> None:
        item = Item(operation, believed)
        request = operation.request
        recorded = None if request is None else self._recent.get((request.caller, request.id))
        if request is not None and recorded is not None:
            digest, result = recorded
            if digest == request.digest:
                item.recorded = result
            else:
                item.error = requests.reused(request.id)
        else:
            try:
                item.changes = operation.decide()
            except KeypegError as error:
                item.error = error
                item.unsure = request is not None
            else:
                if self._log is not None:
                    item.entries = operation.records()
                    if (
                        self._database.fence is not None
                    ):  # it looks at the homes of these, and no others
                        for entry in item.entries:
                            assert entry.parent in believed, (
                                f"{operation} writes for {entry.parent}"
                            )
                if request is not None:
                    item.result = operation.result()
                    self._remember((request.caller, request.id), (request.digest, item.result))
        if self._writing or item.needs_disk:
            self._pending.append(item)
            if not self._writing:
                self._writing = True
                self._schedule()
        else:
            self._end(item)  # nothing to write, and nothing before it is still on its way

    def _remember(self, key: Key, recorded: Recorded) -> None:
        recent = self._recent
        recent[key] = recorded
        if len(recent) > RECENT_LIMIT:
            recent.popitem(last=False)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        if self._last_size > 1 and self._linger:
            self._let_grow(loop, LINGER_TURNS)
        else:
            loop.call_soon(self._start, loop)  # with whatever else this turn of the loop brings

    def _let_grow(self, loop: asyncio.AbstractEventLoop, turns: int) -> None:
        """Start a little later, and again while much comes: unary calls come one after the other."""
        enough = len(self._pending) + GROWTH

        def look() -> None:
            if turns > 1 and enough <= len(self._pending):
                self._let_grow(loop, turns - 1)
            else:
                self._start(loop)

        loop.call_later(self._linger, look)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._pending = self._pending, []
        self._last_size = len(batch)
        if not any(item.needs_disk for item in batch):
            self._finished(batch, None)
            return
        expire_time_us = self._clock.served_us() + requests.KEPT_US
        log = self._log

        def write(connection: Connection) -> Found:
            return batches.write(connection, batch, expire_time_us, log)

        self._submit(batch, write, self._finished, None if log is None else log.committed)

    def _submit(
        self,
        batch: list[Item],
        work: Callable[[Connection], Found],
        then: Callable[[list[Item], Future[Found]], None],
        committed: Callable[[], None] | None = None,
    ) -> None:
        """Let the writer do something for a batch, and go on with its outcome in the event loop."""
        loop = asyncio.get_running_loop()
        believed = batches.believed(batch)

        def done(future: Future[Found]) -> None:
            loop.call_soon_threadsafe(then, batch, future)

        try:
            future = self._database.submit(work, parents=believed, committed=committed)
        except RuntimeError as error:  # the database is closed
            self._fail(batch, unavailable(error))
        else:
            future.add_done_callback(done)

    def _finished(self, batch: list[Item], future: Future[Found] | None) -> None:
        if future is not None:
            error = future.exception()
            if isinstance(error, IntegrityError):
                _LOG.info("repeated request", extra={"error": str(error.orig)})
                keys = batches.keys(batch)
                self._submit(batch, lambda c: requests.recorded(c, keys), self._looked_up)
                return
            if isinstance(error, HomesLost):
                self._move(batch, error)
                return
            if error is not None:
                refusal = error if isinstance(error, KeypegError) else unavailable(error)
                self._fail(batch, refusal)
                return
            on_record = future.result()
            if on_record:
                self._answer_unsure(batch, on_record)
        self._go_on()
        for item in batch:
            self._end(item)

    def _looked_up(self, batch: list[Item], future: Future[Found]) -> None:
        error = future.exception()
        if isinstance(error, HomesLost):
            self._move(batch, error)
        elif error is not None:
            self._fail(batch, error if isinstance(error, KeypegError) else unavailable(error))
        else:
            self._repeat(batch, future.result())

    def _go_on(self) -> None:
        """Write what came meanwhile; called before answering, so that the writer need not wait for that."""
        if self._pending:
            self._schedule()
            return
        self._writing = False
        idle, self._idle = self._idle, []
        for future in idle:
            if not future.done():
                future.set_result(None)

    def _undo(self, batch: list[Item]) -> list[Item]:
        """Take back all that is not on disk; gives it in order."""
        undecided = batch + self._pending
        self._pending = []
        for item in reversed(undecided):
            if item.error is None and item.recorded is None:
                item.operation.undo()
            request = item.operation.request
            if request is not None and item.result is not None:
                self._recent.pop((request.caller, request.id), None)
        return undecided

    def _fail(self, batch: list[Item], error: KeypegError) -> None:
        undecided = self._undo(batch)
        self._go_on()
        for item in undecided:
            item.error = error
            self._end(item)

    def _repeat(self, batch: list[Item], conflicts: dict[Key, Recorded]) -> None:
        """Some requests were answered before this server started: answer them so, decide the others again."""
        undecided = self._undo(batch)
        if not conflicts:
            error = unavailable(
                RuntimeError("a constraint failed, and not that of a repeated request")
            )
            self._go_on()
            for item in undecided:
                item.error = error
                self._end(item)
            return
        for key, recorded in conflicts.items():
            self._remember(key, recorded)
        self._decide_again(undecided)

    def _move(self, batch: list[Item], error: HomesLost) -> None:
        """Some parents are another server's: refuse what is about them, and decide the rest again."""
        undecided = self._undo(batch)
        assert self._database.fence is not None
        refusal = self._database.fence.homes.lost(error.believed)
        again = []
        for item in undecided:
            if error.lost.isdisjoint(item.believed):
                again.append(item)
            else:
                item.error = refusal
                self._end(item)
        self._decide_again(again)

    def _decide_again(self, undecided: list[Item]) -> None:
        self._writing = True  # so that they are answered in order, after what is decided again
        for item in undecided:
            self._take(item.operation, item.believed)  # what it is about is that of then
        self._go_on()

    def _answer_unsure(self, batch: list[Item], on_record: dict[Key, Recorded]) -> None:
        """What would be refused now, but was answered before, is answered so again."""
        for item in batch:
            request = item.operation.request
            recorded = on_record.get((request.caller, request.id)) if request else None
            if item.unsure and request is not None and recorded is not None:
                self._remember((request.caller, request.id), recorded)
                digest, result = recorded
                if digest == request.digest:
                    item.error, item.recorded = None, result
                else:
                    item.error = requests.reused(request.id)

    def _end(self, item: Item) -> None:
        operation = item.operation
        try:
            if item.error is not None:
                operation.refuse(item.error)
            elif item.recorded is not None:
                operation.repeat(item.recorded)
            else:
                operation.answer()
                if item.entries and self.recorded is not None:
                    self.recorded(item.entries, item.numbers)
        except Exception:  # the fault of one operation is not that of the others in its batch
            _LOG.exception("answering failed", extra={"operation": type(operation).__name__})
