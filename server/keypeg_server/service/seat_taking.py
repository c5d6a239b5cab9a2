"""Taking seats without a stream: at once, or waiting by calls that stay open.

Promises: a request has one place in a queue and one lease, however often it comes; what is answered is on
disk; a call that is gone leaves its place as it was, to be asked for again.

Leaves to others: for how long a place is kept while nobody asks (polls.py), the rules (domain/pool.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from keypeg import names
from keypeg.errors import KeypegError, NotFound, PoolRule
from keypeg.v1 import explanation_pb2
from keypeg_server.domain import explain
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.lease import Features, Holder, Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.service import frames
from keypeg_server.service.admissions import Admissions
from keypeg_server.service.commits import RequestKey, settled
from keypeg_server.service.polls import Call, Held, gone
from keypeg_server.service.pool_reports import lease_ended
from keypeg_server.service.pools import Engine
from keypeg_server.service.ports import AppInfo, Clock, DeviceInfo
from keypeg_server.service.refusals import doubtful, no_pool

_US: Final = timedelta(microseconds=1)

Done = Callable[[Lease | Place | KeypegError], None]


@lru_cache(frames.DIGESTS_KNOWN)
def _digest(*parts: object) -> bytes:
    """The digest of a request: who asks again mostly asks for the same."""
    return frames.digest(*parts)


class Wanted(NamedTuple):
    """A request for seats, as it came."""

    request_id: str
    pool: str  # its name
    units: int
    features: Features
    valid_for: timedelta
    device: DeviceInfo
    app: AppInfo
    wait: timedelta = timedelta(0)  # for which its call may stay open
    priority: int = 0
    address: str = ""

    def digest(self, pool: str) -> bytes:
        """What tells it from another request under the same id; `pool` is the pool's id.

        How long its call may stay open is not a part of it.
        """
        parts = (pool, self.units, self.features, self.valid_for, self.device, self.app)
        return _digest(*parts, self.priority) if self.priority else _digest(*parts)


@dataclass(frozen=True, slots=True)
class Queued:
    """Where a request waits, and why."""

    place: Place
    position: int
    waiting: int
    estimated_wait: timedelta | None
    explanation: explanation_pb2.Explanation


class SeatTaking:
    """The use cases."""

    def __init__(self, engine: Engine, admissions: Admissions, clock: Clock) -> None:
        self._engine = engine
        self._polls = engine.aftermath.polls
        self._admissions = admissions
        self._clock = clock

    async def acquire(self, caller: Caller, wanted: Wanted) -> Held | Queued:
        """Seats for a time, or a place in the queue when the call may stay open, or the refusal.

        The same request again gives the same lease, as if renewed, or goes on waiting in the same place.
        """
        begun = self._clock.monotonic()
        await self._engine.present((wanted.pool,), caller)
        pool = self._engine.pool(wanted.pool)
        if pool is None or not caller.sees_account(pool.account):
            raise no_pool(wanted.pool)
        try:
            ends_at = await self._admissions.admit(caller, wanted.device, wanted.app, pool)
        except KeypegError as error:
            holder = _holder(caller, wanted)
            self._engine.aftermath.not_admitted(pool, holder, wanted.units, wanted.features, error)
            raise
        call = Call(begun, begun + wanted.wait.total_seconds(), ends_at)
        try:
            found = await self._answered(pool, call, self._asking(caller, wanted, pool))
            while isinstance(found, Place):
                again = await self._waited(caller, wanted, pool, call, found.id)
                if again is not None:
                    return again
                found = await self._answered(pool, call, self._looking(pool, found.id))
        finally:
            self._polls.closed(call)
        return found

    async def leave(self, caller: Caller, name: str) -> bool:
        """Gives up a place of the caller's own; whether it was there."""
        pool_id, id = names.PLACE.parse(name)
        pool = self._engine.by_id(pool_id)
        if pool is None or not caller.sees_account(pool.account):
            raise _no_place(name)
        place = pool.place(id)
        if place is not None and place.holder.user != caller.user:
            raise _no_place(name)
        if place is not None and place.holder.session:
            raise PoolRule(
                f"{name} is a session's; it is given up on that session's stream.",
                place=name,
                rule="held_by_session",
            )
        left: Lease | Place | None = await settled(lambda done: self._engine.leave(pool, id, done))
        if left is not None:
            self._polls.ended(id, gone(pool, id))
        return left is not None

    def _asking(self, caller: Caller, wanted: Wanted, pool: Pool) -> Callable[[Done], None]:
        """The way to what a request gets."""
        holder = _holder(caller, wanted)
        known = self._polls.known(caller.user, wanted.request_id)
        if known is not None and _is_for(known, wanted, holder, pool):
            return self._looking(*known)  # longer than requests are remembered on disk

        def ask(done: Done) -> None:
            self._engine.acquire(
                pool,
                holder,
                caller,
                wanted.units,
                wanted.features,
                wait=bool(wanted.wait),
                priority=wanted.priority,
                valid_for_us=wanted.valid_for // _US,
                request=RequestKey(caller.user, wanted.request_id, wanted.digest(pool.id)),
                done=done,
            )

        return ask

    def _looking(self, pool: Pool, id: str) -> Callable[[Done], None]:
        """The way to what a place is by now."""

        def read() -> Lease | Place | KeypegError:
            recalled = self._engine.recalled(id)
            return recalled or pool.lease(id) or pool.place(id) or gone(pool, id)

        return lambda done: self._engine.look(read, done)

    async def _answered(
        self, pool: Pool, call: Call, submit: Callable[[Done], None]
    ) -> Held | Place:
        """What is on disk for a call. A place is waited in from now on, if the call has time left."""
        future: asyncio.Future[Held | Place] = asyncio.get_running_loop().create_future()

        def done(outcome: Lease | Place | KeypegError) -> None:
            held: Held | None = None
            if isinstance(outcome, Lease):
                # Also when nobody waits for the answer any more: the lease is there, and must end.
                if self._engine.overdue(outcome.id):
                    outcome = lease_ended(frames.lease_name(outcome))
                else:
                    self._polls.claimed(outcome.id)
                    held = self._polls.give(pool, outcome, call)
                    if not self._engine.alive():
                        outcome = doubtful()  # the same request again gets it, here or elsewhere
            elif isinstance(outcome, Place):
                self._polls.taken(pool, outcome)
                if not future.done() and self._clock.monotonic() < call.until:
                    self._polls.open(pool, outcome, call)
            if future.done():
                return
            if isinstance(outcome, KeypegError):
                future.set_exception(outcome)
            elif isinstance(outcome, Place):
                future.set_result(outcome)
            else:
                assert held is not None
                future.set_result(held)

        submit(done)
        return await future

    async def _waited(
        self, caller: Caller, wanted: Wanted, pool: Pool, call: Call, id: str
    ) -> Held | Queued | None:
        """What comes of a place while a call is open; None when that is to be looked at again."""
        if call.told is not None:
            told = await call.told
            self._polls.closed(call)
            if isinstance(told, Held):
                return told
            # The license may have ended, or the user is gone; who still may goes on.
            call.ends_at = await self._admissions.admit(caller, wanted.device, wanted.app, pool)
            return None
        sight = self._engine.sight(caller)

        def read() -> Queued | None:
            place = pool.place(id)
            if place is None:
                return None
            position = pool.position(place)
            why = explain.why_not(pool, place, sight, position=position)
            about = explain.estimated_wait(pool, place, position)
            return Queued(place, position, pool.waiting, about, why)

        return await self._engine.looked(read)


def _holder(caller: Caller, wanted: Wanted) -> Holder:
    device, app = wanted.device, wanted.app
    return Holder(
        "", caller.user, device.id, device.host_name, app.name, app.process_id, wanted.address
    )


def _is_for(known: tuple[Pool, str], wanted: Wanted, holder: Holder, pool: Pool) -> bool:
    """Whether a place (or the lease that it became) is of this very request; the address may differ."""
    found, id = known
    has = found.place(id) or found.lease(id)
    if has is None or found is not pool:
        return False
    priority = has.priority if isinstance(has, Place) else wanted.priority
    return (has.units, has.features, has.valid_for_us, priority) == (
        wanted.units,
        wanted.features,
        wanted.valid_for // _US,
        wanted.priority,
    ) and replace(has.holder, address=holder.address) == holder


def _no_place(name: str) -> NotFound:
    return NotFound(f"There is no {name} in which you wait.", resource=name)
