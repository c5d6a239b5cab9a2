"""Places in queues that belong to no session: who asks for them, and for how long they are kept.

A caller without a stream waits by calls that stay open for a while (polls), one after the other, each for the
same place. What is served while a call is open is its answer.

Promises: a place is kept for as long as a call is open for it, and for ATTENDED after the last one; after a
restart for ATTENDED again. A seat that was given while no call was open is kept for ATTENDED, for its holder
to ask; nobody can believe in it before. A holder counts its time from when it sent its call, however long that
was open: what it is told, and what the server keeps, begin there.

Leaves to others: the queue (domain/pool.py), the end of leases (holds.py), who may ask (seats.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from keypeg.errors import KeypegError, LeaseExpired, ServerDraining
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.service.deadlines import RETRY_PAUSE, Deadlines
from keypeg_server.service.ports import Clock
from keypeg_server.service.refusals import doubtful, draining, elsewhere

ATTENDED: Final = timedelta(seconds=60)
CALLS_LIMIT: Final = 4  # open for one place: one, and some whose clients are gone unseen
_US: Final = timedelta(microseconds=1)

Hold = Callable[
    [Pool, Lease, timedelta, float | None], None
]  # from a time on the monotonic clock; None: nobody asked
_Request = tuple[str, str]  # a user and a request id
Leave = Callable[[Pool, str, Callable[[KeypegError | None], None]], None]


@dataclass(frozen=True, slots=True)
class Held:
    """A lease and for how long its holder may believe in it, from when it asked."""

    lease: Lease
    valid_for: timedelta
    asked_before: timedelta = timedelta(0)  # so much of it is over when this is answered


@dataclass(frozen=True, slots=True)
class LookAgain:
    """The call's time is over, or what lets it wait may have changed."""


Told = Held | LookAgain


class Call:
    """One call, from when it came."""

    __slots__ = ("begun", "ends_at", "id", "told", "until", "waited")

    def __init__(self, begun: float, until: float, ends_at: datetime | None) -> None:
        """`until` it may stay open, both on the monotonic clock; `ends_at` is the end of its license."""
        self.begun = begun
        self.until = until
        self.ends_at = ends_at
        self.id = ""  # of the place, once there is one
        self.waited = False
        self.told: asyncio.Future[Told] | None = None  # while it waits

    @property
    def hears(self) -> bool:
        """Whether it waits, and nothing has answered it yet."""
        return self.told is not None and not self.told.done()

    def tell(self, what: Told | KeypegError) -> None:
        """Answer it, if nothing has yet."""
        if self.told is None or self.told.done():
            return
        if isinstance(what, KeypegError):
            self.told.set_exception(what)
        else:
            self.told.set_result(what)


class _Wait:
    """A place, or the lease that it has become and that no answer has told of."""

    __slots__ = ("calls", "deadline", "id", "pool", "request", "served")

    def __init__(self, pool: Pool, id: str, request: _Request, deadline: float) -> None:
        self.pool = pool
        self.id = id
        self.request = request
        self.deadline = deadline  # for when no call is open
        self.calls: set[Call] = set()
        self.served = False


class Polls:
    """All places without a session, by id."""

    def __init__(
        self, clock: Clock, hold: Hold, leave: Leave, *, alive: Callable[[], bool] = lambda: True
    ) -> None:
        """`hold` keeps a lease for its holder, `leave` gives up a place that nobody asks for.

        `alive` says whether this server may promise anything at the moment (service/pools.py).
        """
        self._clock = clock
        self._hold = hold
        self._leave = leave
        self._alive = alive
        self._waits: dict[str, _Wait] = {}
        self._by_request: dict[_Request, str] = {}
        self._abandoned: Deadlines[_Wait] = Deadlines(clock, self._due)
        self._over: Deadlines[Call] = Deadlines(clock, self._call_over)
        self._draining = False

    # Calls.

    def known(self, user: str, request_id: str) -> tuple[Pool, str] | None:
        """The pool, and the id of the place (or lease), that a user's request has here."""
        id = self._by_request.get((user, request_id))
        return None if id is None else (self._waits[id].pool, id)

    def open(self, pool: Pool, place: Place, call: Call) -> None:
        """A call is there for a place; `call.told` is what it is told. The place is on disk."""
        wait = self._attend(pool, place.id, (place.holder.user, place.request_id))
        call.id, call.waited = place.id, True
        call.told = asyncio.get_running_loop().create_future()
        if len(wait.calls) >= CALLS_LIMIT:
            oldest = min(wait.calls, key=lambda one: one.begun)
            oldest.until = self._clock.monotonic()
            oldest.tell(LookAgain())  # and find that its time is over
        wait.calls.add(call)
        if self._draining:
            call.tell(draining())
        self._over.watch(call, call.until)

    def closed(self, call: Call) -> None:
        """A call is over for now, answered or not; its place stays for a while."""
        if call.told is not None:
            if call.told.done() and not call.told.cancelled():
                call.told.exception()  # perhaps nobody is there to hear it
            call.told = None
        wait = self._waits.get(call.id)
        if wait is not None and call in wait.calls:
            wait.calls.remove(call)
            wait.deadline = self._clock.monotonic() + ATTENDED.total_seconds()

    def taken(self, pool: Pool, place: Place) -> None:
        """A place is on disk, and perhaps no call is there any more."""
        self._attend(pool, place.id, (place.holder.user, place.request_id))

    def claimed(self, id: str) -> None:
        """An answer tells of a lease: it is its holder's from now on."""
        self._forget(id)

    def look_again(self) -> None:
        """What lets calls wait may have changed: each looks for itself."""
        for wait in self._waits.values():
            for call in wait.calls:
                call.tell(LookAgain())

    # What befalls places.

    def came(self, pool: Pool) -> None:
        """A pool was read from disk."""
        for place in pool.queue():
            if not place.holder.session:
                self.taken(pool, place)

    def drop(self, pools: Iterable[Pool]) -> None:
        """These pools are here no more: nothing is done for them."""
        gone = set(pools)
        for wait in [wait for wait in self._waits.values() if wait.pool in gone]:
            self._end(wait.id, elsewhere(wait.pool.account))

    def served(self, pool: Pool, lease: Lease) -> None:
        """Who waited holds a seat now; that is on disk."""
        wait = self._waits.get(lease.id)
        now = self._clock.monotonic()
        # One that was just told something else hears no more: it asks for the seat, or nobody does.
        calls = [] if wait is None else [call for call in wait.calls if call.hears]
        error = None if self._alive() else doubtful()
        if not calls or error is not None:
            if wait is not None:
                wait.served = True
                wait.deadline = now + ATTENDED.total_seconds()
            self._hold(pool, lease, ATTENDED, None)
            if error is not None:
                for call in calls:
                    call.tell(error)
            return
        self._forget(lease.id)
        for call in calls:
            call.tell(self.give(pool, lease, call))

    def give(self, pool: Pool, lease: Lease, call: Call) -> Held:
        """Keep a lease for who asks for it in this call, from when it came if it has waited."""
        now = self._clock.monotonic()
        valid_for = within(self._clock, call.ends_at, lease.valid_for_us * _US)
        begun = call.begun if call.waited else now
        asked_before = timedelta(seconds=now - begun)
        self._hold(pool, lease, asked_before + valid_for, begun)
        return Held(lease, asked_before + valid_for, asked_before)

    def ended(self, id: str, error: KeypegError) -> None:
        """A place is there no more, and was not served."""
        self._end(id, error)

    def tick(self) -> None:
        """Look at deadlines now; the timers do so by themselves."""
        self._over.tick()
        self._abandoned.tick()

    def drain(self) -> None:
        """End all calls: those who wait come again, to another server or to the next one here."""
        self._draining = True
        self._tell_all(draining())

    def stop(self) -> None:
        """Give up no place any more; for the end of the server."""
        self.drain()
        self._over.stop()
        self._abandoned.stop()

    # Inside.

    def _tell_all(self, error: ServerDraining) -> None:
        for wait in self._waits.values():
            for call in wait.calls:
                call.tell(error)

    def _attend(self, pool: Pool, id: str, request: _Request) -> _Wait:
        """The place is kept for ATTENDED from now on at least."""
        deadline = self._clock.monotonic() + ATTENDED.total_seconds()
        wait = self._waits.get(id)
        if wait is None:
            wait = self._waits[id] = _Wait(pool, id, request, deadline)
            self._by_request[request] = id
            self._abandoned.watch(wait, deadline)
        wait.deadline = deadline
        return wait

    def _forget(self, id: str) -> _Wait | None:
        wait = self._waits.pop(id, None)
        if wait is not None and self._by_request.get(wait.request) == id:
            del self._by_request[wait.request]
        return wait

    def _end(self, id: str, error: KeypegError) -> None:
        wait = self._forget(id)
        if wait is not None:
            for call in wait.calls:
                call.tell(error)

    def _call_over(self, call: Call, now: float) -> float | None:
        call.tell(LookAgain())
        return None

    def _due(self, wait: _Wait, now: float) -> float | None:
        if self._waits.get(wait.id) is not wait:
            return None
        if wait.calls:
            return now + ATTENDED.total_seconds()
        if now < wait.deadline:
            return wait.deadline
        if wait.served:  # it ends by its own deadline
            self._forget(wait.id)
            return None

        def done(error: KeypegError | None) -> None:
            if self._waits.get(wait.id) is not wait:
                return
            if error is None and not wait.served:  # when it was: served in the same moment
                self._end(wait.id, gone(wait.pool, wait.id))
            else:
                self._abandoned.watch(wait, self._clock.monotonic() + RETRY_PAUSE)

        self._leave(wait.pool, wait.id, done)
        return None


def gone(pool: Pool, id: str) -> LeaseExpired:
    """The refusal for a place that was given up."""
    return LeaseExpired(
        f"The place in the queue of {pool.name} was given up; ask with a new request id.",
        place=pool.place_prefix + id,
    )


def within(clock: Clock, ends_at: datetime | None, valid_for: timedelta) -> timedelta:
    """A time cut to the term of a license."""
    if ends_at is None:
        return valid_for
    return min(valid_for, max(_US, ends_at - clock.wall()))
