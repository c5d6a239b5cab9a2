"""Seats without a stream, and looking at pools: what SeatService does, in the domain's words.

Promises: the same pools and the same committer as on streams; a lease ends at its own deadline on the
monotonic clock; an older holder (by its fencing number) is refused. Nobody learns of another account's pools.

Leaves to others: decoding and encoding (rpc/seat_service.py), the rules (domain/pool.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from keypeg import names
from keypeg.errors import FencingStale, KeypegError, NotFound, PermissionDenied, PoolRule
from keypeg.status import explain as explained
from keypeg.v1 import explanation_pb2
from keypeg.v1.location_pb2 import LOCATION_KIND_SITE
from keypeg_server.domain import events, explain, pool_rules
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.domain.decision import Ask
from keypeg_server.domain.explain import Sight
from keypeg_server.domain.freed import Freed
from keypeg_server.domain.lease import Features, Holder, Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_effects import Effect, effects
from keypeg_server.domain.pool_rules import PoolRules
from keypeg_server.service import frames
from keypeg_server.service.commits import RequestKey, settled
from keypeg_server.service.events import EventHub
from keypeg_server.service.pool_operations import check_etag, lease_ended
from keypeg_server.service.pools import Engine
from keypeg_server.service.ports import AppInfo, Clock, DeviceInfo, Entitlements
from keypeg_server.service.refusals import doubtful, no_pool

_T = TypeVar("_T")

TTL_DEFAULT: Final = timedelta(seconds=60)  # as the contract says
ADMITTED_FOR: Final = 60.0  # seconds that an admission is taken for granted, unless licenses change
ADMITTED_LIMIT: Final = 10_000  # admissions remembered
_US: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Held:
    """A lease and for how long its holder may believe in it, from when it asked."""

    lease: Lease
    valid_for: timedelta


@dataclass(frozen=True, slots=True)
class Answer:
    """What an acquire would get: a lease, a place and its position, or None for a refusal; and why."""

    outcome: Lease | Place | None
    position: int
    estimated_wait: timedelta | None
    explanation: explanation_pb2.Explanation | None


class Seats:
    """The use cases."""

    def __init__(
        self, engine: Engine, entitlements: Entitlements, clock: Clock, hub: EventHub
    ) -> None:
        self._engine = engine
        self._entitlements = entitlements
        self._clock = clock
        self._admitted: dict[
            tuple[str, str, AppInfo | None, str], tuple[float, datetime | None]
        ] = {}  # until when, and the end of the license's term
        self._changes = 0  # events that may have made an admission wrong
        for event in (
            events.AccountAbandoned,
            events.LicenseChanged,
            events.LicenseRemoved,
            events.UserRemoved,
        ):
            hub.subscribe(event, self._forget_admissions)

    async def acquire(
        self,
        caller: Caller,
        request_id: str,
        pool_name: str,
        units: int,
        features: Features,
        valid_for: timedelta,
        device: DeviceInfo,
        app: AppInfo,
        address: str = "",
    ) -> Held:
        """Seats for a time, or the refusal; the same request again gives the same lease, as if renewed."""
        await self._engine.present((pool_name,))
        pool = self._visible(caller, pool_name)
        ends_at = await self._admit(caller, device, app, pool)
        holder = Holder(
            "", caller.user, device.id, device.host_name, app.name, app.process_id, address
        )
        future: asyncio.Future[Held] = asyncio.get_running_loop().create_future()

        def done(outcome: Lease | Place | KeypegError) -> None:
            if isinstance(outcome, Lease):
                # Also when nobody waits for the answer any more: the lease is there, and must end.
                if self._engine.overdue(outcome.id):
                    outcome = lease_ended(frames.lease_name(outcome))
                else:
                    held_for = self._within(ends_at, outcome.valid_for_us * _US)
                    self._engine.hold(pool, outcome, held_for)
                    if not self._engine.alive():
                        outcome = doubtful()  # the same request again gets it, here or elsewhere
            if future.done():
                return
            if isinstance(outcome, Lease):
                future.set_result(Held(outcome, held_for))
            else:
                assert isinstance(outcome, KeypegError)  # nobody waits here without a stream
                future.set_exception(outcome)

        self._engine.acquire(
            pool,
            holder,
            caller,
            units,
            features,
            wait=False,
            priority=0,
            valid_for_us=valid_for // _US,
            request=RequestKey(
                caller.user,
                request_id,
                frames.digest(pool.id, units, features, valid_for, device, app),
            ),
            done=done,
        )
        return await future

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
        await self._engine.present((pool_name,))
        pool = self._visible(caller, pool_name)
        holder = Holder(
            "", caller.user, device.id, device.host_name, app.name, app.process_id, address
        )
        try:
            await self._admit(caller, device, app, pool)
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
            ends_at = await self._admit(caller, device, None, pool)
            pool, lease = self._own(caller, name, fencing_number)
            recalled = None if lease is None else self._engine.recalled(lease.id)
            if recalled is not None:
                raise recalled
        if lease is None or not self._engine.held(lease.id):
            raise lease_ended(name)
        held: Lease = lease
        valid_for = self._within(ends_at, valid_for or lease.valid_for_us * _US)
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

    async def free(
        self, caller: Caller, request_id: str, name: str, reason: str, hold_off: timedelta
    ) -> int | None:
        """Take a lease back; until when its user gets none of the pool, None when it may at once."""
        pool_id, id = names.LEASE.parse(name)
        pool = self._engine.by_id(pool_id)
        if pool is None or not caller.sees_account(pool.account):
            raise NotFound(f"There is no {name} that you can see.", resource=name)
        if caller.role is Role.MEMBER:
            raise PermissionDenied(
                f"Only administrators of {pool.account} free seats that others hold; ask one.",
                resource=name,
            )
        now_us = self._engine.now_us()
        lease = pool.lease(id)
        user = "" if lease is None else lease.holder.user
        freed = Freed(id, user, caller.login, reason, now_us, now_us + hold_off // _US)
        request = RequestKey(caller.user, request_id, frames.digest("free", name, reason, hold_off))
        until_us = await self._engine.free(pool, freed, request)
        return until_us or None

    async def rules(self, caller: Caller, name: str) -> PoolRules:
        """The rules of a pool; for its administrators."""
        await self._engine.present((name,))
        pool = self._managed(caller, name)
        return await self._engine.looked(lambda: pool.rules)

    async def set_rules(
        self, caller: Caller, name: str, rules: PoolRules, etag: str, *, dry_run: bool
    ) -> tuple[Pool, list[Effect]]:
        """Other rules for a pool, and what they change for whom; nothing is changed by a dry run."""
        await self._engine.present((name,))
        pool = self._managed(caller, name)
        pool_rules.check(rules, pool.capacity)
        if rules.overdraft > pool.rules.overdraft and caller.role is not Role.PUBLISHER:
            raise PermissionDenied(
                f"Only the publisher may raise the overdraft of {pool.name}, which is"
                f" {pool.rules.overdraft}: it gives more seats than the license does. Ask them.",
                resource=pool.name,
                overdraft=str(pool.rules.overdraft),
            )
        if not dry_run:
            return pool, await self._engine.set_rules(pool, rules, etag, caller.user)

        def look() -> list[Effect]:
            check_etag(pool, etag)
            return effects(pool, rules, self._engine.now_us())

        return pool, await self._engine.looked(look)

    def _managed(self, caller: Caller, name: str) -> Pool:
        pool = self._visible(caller, name)
        if caller.role is Role.MEMBER:
            raise PermissionDenied(
                f"Only administrators of {pool.account} see and change the rules of {name}; ask one.",
                resource=name,
            )
        return pool

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

    def _forget_admissions(self, _: object) -> None:
        self._changes += 1
        self._admitted.clear()

    async def _admit(
        self, caller: Caller, device: DeviceInfo, app: AppInfo | None, pool: Pool
    ) -> datetime | None:
        """The license of these seats must let this app run, as on a stream; remembered for a short time.

        The end of its term.
        """
        key = (caller.user, device.id, app, pool.id)
        until, ends_at = self._admitted.get(key, (0.0, None))
        now = self._clock.monotonic()
        if now >= until or (ends_at is not None and self._clock.wall() >= ends_at):
            changes = self._changes
            entitlement = await self._entitlements.admit(
                caller, device, app, pool.product, (LOCATION_KIND_SITE,), (pool.name,)
            )
            if pool.name not in entitlement.pools:
                raise no_pool(pool.name)
            ends_at = entitlement.ends_at
            if changes != self._changes:
                return ends_at  # true when it was read; the next call reads again
            self._admitted.pop(key, None)
            self._admitted[key] = now + ADMITTED_FOR, ends_at
            if len(self._admitted) > ADMITTED_LIMIT:
                del self._admitted[next(iter(self._admitted))]
        return ends_at

    def _within(self, ends_at: datetime | None, valid_for: timedelta) -> timedelta:
        """A time cut to the term of the license."""
        if ends_at is None:
            return valid_for
        return min(valid_for, max(_US, ends_at - self._clock.wall()))

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
