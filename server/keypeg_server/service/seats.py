"""Seats without a stream, and looking at pools: what SeatService does, in the domain's words.

Promises: the same pools and the same committer as on streams; a lease ends at its own deadline on the
monotonic clock; an older holder (by its fencing number) is refused. Nobody learns of another account's pools.

Leaves to others: decoding and encoding (rpc/seat_service.py), the rules (domain/pool.py), taking seats
(seat_taking.py), what administrators do (seat_keeping.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from keypeg import names
from keypeg.errors import FencingStale, KeypegError, NotFound, PoolRule
from keypeg.status import explain as explained
from keypeg.v1 import explanation_pb2
from keypeg_server.domain import explain
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.decision import Ask
from keypeg_server.domain.explain import Sight
from keypeg_server.domain.lease import Features, Holder, Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.service.admissions import Admissions
from keypeg_server.service.commits import settled
from keypeg_server.service.events import EventHub
from keypeg_server.service.polls import Held, within
from keypeg_server.service.pool_reports import check_not_borrowed, lease_ended
from keypeg_server.service.pools import Engine
from keypeg_server.service.ports import AppInfo, Clock, DeviceInfo, Entitlements
from keypeg_server.service.refusals import doubtful, no_pool
from keypeg_server.service.seat_keeping import SeatKeeping
from keypeg_server.service.seat_taking import SeatTaking

_T = TypeVar("_T")

TTL_DEFAULT: Final = timedelta(seconds=60)  # as the contract says
_US: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an acquire would get: a lease, a place and its position, or None for a refusal; and why."""

    outcome: Lease | Place | None
    position: int
    estimated_wait: timedelta | None
    explanation: explanation_pb2.Explanation | None


@dataclass(frozen=True, slots=True)
class Times:
    """Of a lease, in microseconds since 1970; None for what is not known."""

    seen_us: int | None  # when its holder was last heard of, since the server started
    ends_us: int | None  # when it ends unless its holder is heard of before


class Seats:
    """The use cases."""

    def __init__(
        self, engine: Engine, entitlements: Entitlements, clock: Clock, hub: EventHub
    ) -> None:
        self._engine = engine
        self._clock = clock
        changed = engine.aftermath.polls.look_again
        self._admissions = Admissions(entitlements, clock, hub, changed)
        self.taking: Final = SeatTaking(engine, self._admissions, clock)
        self.keeping: Final = SeatKeeping(engine)

    async def explain(
        self,
        caller: Caller,
        pool_name: str,
        units: int,
        features: Features,
        device: DeviceInfo,
        app: AppInfo,
        *,
        wait: bool,
        priority: int,
        address: str = "",
    ) -> Answer:
        """What an acquire would get now; nothing is taken, and no refusal is raised but for a pool not seen."""
        await self._engine.present((pool_name,), caller)
        pool = self._visible(caller, pool_name)
        holder = Holder(
            "", caller.user, device.id, device.host_name, app.name, app.process_id, address
        )
        try:
            await self._admissions.admit(caller, device, app, pool)
        except KeypegError as error:
            return Answer(None, 0, None, explained(error))
        ask = Ask("", holder, units, features, wait, priority, 0, "", self._engine.clock_us())
        sight = self._engine.sight(caller)

        def look() -> Answer:
            try:
                decision, position = pool.tried(ask, self._engine.now_us())
            except KeypegError as error:
                return Answer(None, 0, None, explained(explain.refused(pool, ask, error, sight)))
            found = decision.outcome
            if not isinstance(found, Place):
                return Answer(found, 0, None, None)
            why = explain.why_not(pool, ask, sight)
            return Answer(found, position, explain.estimated_wait(pool, found, position), why)

        return await self._engine.looked(look)

    async def renew(
        self, caller: Caller, name: str, fencing_number: int, valid_for: timedelta | None
    ) -> Held:
        """Holds a lease longer; LeaseExpired, FencingStale or NotFound when it can not be."""
        pool, lease = self._own(caller, name, fencing_number)
        ends_at: datetime | None = None
        if lease is not None:  # its license may have ended since it was acquired
            device = DeviceInfo(lease.holder.device, lease.holder.host_name)
            ends_at = await self._admissions.admit(caller, device, None, pool)
            pool, lease = self._own(caller, name, fencing_number)
            recalled = None if lease is None else self._engine.recalled(lease.id)
            if recalled is not None:
                raise recalled
        if lease is None or not self._engine.held(lease.id):
            raise lease_ended(name)
        held: Lease = lease
        valid_for = within(self._clock, ends_at, valid_for or lease.valid_for_us * _US)
        if valid_for // _US > lease.valid_for_us:
            # A restart gives back what the row says: the longer time must be there first.
            id, longer_us = lease.id, valid_for // _US
            held = await settled(lambda done: self._engine.extend(pool, id, longer_us, done))
            if (recalled := self._engine.recalled(id)) is not None:  # meanwhile
                raise recalled
            if not self._engine.held(id):
                raise lease_ended(name)
        if not self._engine.alive():
            raise doubtful()
        self._engine.hold(pool, held, valid_for)
        return Held(held, valid_for)

    async def release(self, caller: Caller, name: str, fencing_number: int) -> bool:
        """Gives a lease back; whether it was held."""
        pool, lease = self._own(caller, name, fencing_number)
        if lease is None:  # that it has ended may still be on its way to the disk
            return await self._engine.looked(lambda: False)
        id = lease.id
        released: Lease | Place | None = await settled(
            lambda done: self._engine.release(pool, id, done)
        )
        return released is not None

    def times(self, lease: Lease) -> Times:
        """When a lease's holder was last heard of, and when it ends without that."""
        now, wall_us = self._clock.monotonic(), self._engine.now_us()

        def at_us(moment: float | None) -> int | None:
            return None if moment is None else wall_us + round((moment - now) * 1e6)

        return Times(
            at_us(self._engine.aftermath.seen_at(lease)),
            at_us(self._engine.aftermath.ends_at(lease)),
        )

    async def present(self, parent: str, caller: Caller) -> None:
        """See to it that a pool that was just created is there, when this is a pool's name."""
        if names.POOL.matches(parent):
            await self._engine.present((parent,), caller)

    def sight(self, caller: Caller) -> Sight:
        """What explanations for this caller are made from."""
        return self._engine.sight(caller)

    async def look(self, caller: Caller, name: str, read: Callable[[Pool], _T]) -> _T:
        """What `read` finds in a pool of the caller's, when it is on disk."""
        pool = self._visible(caller, name)
        return await self._engine.looked(lambda: read(pool))

    async def look_at_all(
        self, caller: Caller, account: str, read: Callable[[list[Pool]], _T]
    ) -> _T:
        """What `read` finds in an account's pools, by id, when it is on disk."""
        names.ACCOUNT.parse(account, "parent")
        if not caller.sees_account(account):
            raise NotFound(f"There is no {account} that you can see.", resource=account)
        return await self._engine.looked(lambda: read(self._engine.pools_of_account(account)))

    def _visible(self, caller: Caller, name: str) -> Pool:
        pool = self._engine.pool(name)
        if pool is None or not caller.sees_account(pool.account):
            raise no_pool(name)
        return pool

    def _own(self, caller: Caller, name: str, fencing_number: int) -> tuple[Pool, Lease | None]:
        """A lease of the caller's own, without a stream; None when it has ended."""
        pool_id, id = names.LEASE.parse(name)
        pool = self._engine.by_id(pool_id)
        if pool is None or not caller.sees_account(pool.account):
            raise _no_lease(name)
        lease = pool.lease(id)
        if lease is None:
            if pool.place(id) is not None:  # of a session that waits; its lease will have this id
                raise _no_lease(name)
            return pool, None
        if lease.holder.user != caller.user:
            raise _no_lease(name)
        check_not_borrowed(pool, id)
        if lease.holder.session:
            raise PoolRule(
                f"{name} is held by a session; it is renewed and released on that session's stream.",
                lease=name,
                rule="held_by_session",
            )
        if fencing_number != lease.fencing_number:
            raise FencingStale(
                f"Fencing number {fencing_number} is not the one of {name}, which is "
                f"{lease.fencing_number}; use the lease that you were given.",
                lease=name,
                fencing_number=str(fencing_number),
            )
        return pool, lease


def _no_lease(name: str) -> NotFound:
    return NotFound(f"There is no {name} that you hold.", resource=name)
