"""Temporary capacity begins and ends by itself, in the pools and activations of the accounts that are served here.

Promises: at its start seats are given to who waits, at its end the newest holders are recalled; it is looked at
whenever something is planned, when a pool comes, at every start and end, and every LOOK seconds: the wall clock,
which never goes back (clock.py), may have been set forward. A server that starts late does then what is due.

Leaves to others: the disk (capacities.py), pools (domain/pool_shrinking.py), the end of sessions (term_watch.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from keypeg import names
from keypeg.errors import KeypegError, PoolRule
from keypeg_server.domain.borrow_refusals import moment
from keypeg_server.domain.capacity import Capacity, falls, next_change_us, seats_at
from keypeg_server.domain.events import CapacityPlanned, PoolCreated
from keypeg_server.domain.license import License
from keypeg_server.domain.pool import Pool
from keypeg_server.service.capacities import CapacityService
from keypeg_server.service.events import EventHub
from keypeg_server.service.homes_port import acting_for
from keypeg_server.service.pool_resizing import Resize
from keypeg_server.service.pools import Engine
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Store

LOOK: Final = 5.0  # seconds between looks at the clock
READ: Final = 60.0  # seconds between readings of what other servers may have planned
SHORTEST: Final = 0.001  # seconds; timers come a little early
AGAIN: Final = 0.5  # seconds after a look that failed
_LOG: Final = structlog.get_logger("keypegd")


class CapacityKeeper:
    """Looks after all that is planned. `start` comes first."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        hub: EventHub,
        engine: Engine,
        service: CapacityService,
    ) -> None:
        self._store = store
        self._clock = clock
        self._engine = engine
        self._service = service
        self._plans: dict[str, tuple[License, int]] = {}  # by name; with the next start or end
        self._woken = asyncio.Event()
        self._read_at = 0.0
        self._looked_us = 0  # of the last look: what comes after it is still to be done
        self._task: asyncio.Task[None] | None = None
        hub.subscribe(CapacityPlanned, self._planned)
        hub.subscribe(PoolCreated, lambda _: self._woken.set())
        engine.heard.append(self._came)

    async def start(self) -> None:
        """Do what is due, and look from now on."""
        await self.look()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def look(self) -> None:
        """Do what is due now."""
        now = self._clock.monotonic()
        if now >= self._read_at:
            self._read_at = now + READ  # first: what is planned during the reading is read again
            try:
                found = await self._store.read(lambda unit: unit.licenses.licenses_with_plans())
            except KeypegError:
                self._read_at = 0.0
                raise
            self._plans = {license.name: (license, change) for license, change in found}
        self._looked_us = now_us = self._clock.wall_us()
        for pool in self._engine.pools.all():
            self._fit(pool, now_us)
        for license, change_us in list(self._plans.values()):
            account = names.ACCOUNT.build(license.account)
            if change_us <= now_us and self._engine.pools.serves(account):
                with acting_for(account):
                    await self._service.settle(license.account, license.id)
                self._read_at = 0.0

    def check_removal(self, license: str, left: Sequence[Capacity], now_us: int) -> None:
        """Implements capacities.Lent."""
        for pool in self._engine.pools.all():
            if _license_of(pool) != license:
                continue
            for fall in [now_us, *falls(pool.plan, now_us, _last(pool.plan))]:
                lasting = pool.base + seats_at(left, fall)
                lent = sum(
                    one.units for one in pool.borrows.values() if one.is_out and one.end_us > fall
                )
                if lent > lasting:
                    raise PoolRule(
                        f"{lent} seats of {pool.name} are borrowed beyond {moment(fall)}, and {lasting} would be left; "
                        "have them returned first.",
                        pool=pool.name,
                        rule="capacity_in_use",
                    )

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._pause())
            self._woken.clear()
            try:
                await self.look()
            except KeypegError as error:  # the disk is away, or an account just moved: again soon
                _LOG.warning("temporary capacity waits", why=error.sentence)
                await asyncio.sleep(AGAIN)

    def _pause(self) -> float:
        """Seconds until something is due that the last look was too early for, as far as it is known."""
        changes = [
            change
            for one, _ in self._plans.values()
            if (change := next_change_us(one.capacities, self._looked_us))
        ]
        left = (min(changes) - self._clock.wall_us()) / 1e6 if changes else LOOK
        until_read = max(0.0, self._read_at - self._clock.monotonic())
        return max(SHORTEST, min(LOOK, left, until_read))

    def _planned(self, event: CapacityPlanned) -> None:
        self._read_at = 0.0
        self._woken.set()

    def _came(self, pool: Pool) -> None:
        self._woken.set()

    def _fit(self, pool: Pool, now_us: int) -> None:
        """Let a pool have the seats that its license has now."""
        planned = self._plans.get(_license_of(pool))
        pool.plan = () if planned is None else planned[0].capacities
        wanted = pool.base + seats_at(pool.plan, now_us)
        if pool.capacity != wanted:
            self._engine.carry(pool, Resize(self._engine.aftermath, pool, wanted, _said(pool)))
        else:
            self._engine.aftermath.resized(pool)


def _said(pool: Pool) -> Callable[[object], None]:
    def done(outcome: object) -> None:
        if isinstance(outcome, KeypegError):  # looked at again soon
            _LOG.warning("pool not resized", pool=pool.name, why=outcome.sentence)

    return done


def _license_of(pool: Pool) -> str:
    return names.parent(pool.activation)


def _last(capacities: Iterable[Capacity]) -> int:
    return max((one.end_us for one in capacities), default=0) + 1
