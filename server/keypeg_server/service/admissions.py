"""Whether the license of a pool's seats lets an app run, for calls without a stream.

Promises: as on a stream, and remembered for a short time, but never over an event that may have changed it.

Leaves to others: what lets an app run (the Entitlements port), streams (admitting.py).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from keypeg.v1.location_pb2 import LOCATION_KIND_SITE
from keypeg_server.domain import events
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.pool import Pool
from keypeg_server.service.events import EventHub
from keypeg_server.service.ports import AppInfo, Clock, DeviceInfo, Entitlements
from keypeg_server.service.refusals import no_pool

ADMITTED_FOR: Final = 60.0  # seconds that an admission is taken for granted, unless licenses change
ADMITTED_LIMIT: Final = 10_000  # admissions remembered


class Admissions:
    """Who may take seats of which pool."""

    def __init__(
        self, entitlements: Entitlements, clock: Clock, hub: EventHub, changed: Callable[[], None]
    ) -> None:
        """`changed` is called when what was admitted may not be any more."""
        self._entitlements = entitlements
        self._clock = clock
        self._changed = changed
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
            hub.subscribe(event, self._forget)

    async def admit(
        self, caller: Caller, device: DeviceInfo, app: AppInfo | None, pool: Pool
    ) -> datetime | None:
        """The end of the license's term; None for one without. What it refuses by is raised."""
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

    def _forget(self, _: object) -> None:
        self._changes += 1
        self._admitted.clear()
        self._changed()
