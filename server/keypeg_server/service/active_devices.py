"""On how many devices an account is in use at once, for the use cases that add one.

Promises: looked at in the transaction that adds the device, so that of two that come at once one is refused.

Leaves to others: the rule (domain/active_devices.py), signing in (credentials.py), the cloud session (cloud.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keypeg import names
from keypeg_server.domain import active_devices as rules
from keypeg_server.domain.active_devices import ActiveDevice
from keypeg_server.service.accounts import not_found
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Request, Store, Unit


@dataclass(frozen=True)
class ActiveView:
    """The devices on which an account is in use, and how many may be."""

    devices: tuple[ActiveDevice, ...]
    limit: int
    own_limit: bool


class ActiveDevices:
    """Counts devices."""

    def __init__(self, store: Store, clock: Clock, limit: int) -> None:
        """`limit` holds for accounts that have none of their own."""
        self._store = store
        self._clock = clock
        self._limit = limit

    def check_room(
        self,
        unit: Unit,
        account: str,
        device: str,
        now: datetime,
        member: str = "",
        *,
        opens_cloud: bool = False,
    ) -> None:
        """Refuse a device that would be one too many in the account (id); in a group, of that member (user id)."""
        lent = _by_credentials(unit, account, now, member)
        if opens_cloud and not lent:
            return  # else at most one is active: who has the cloud session, and loses it
        active = rules.merged(lent + _by_cloud(unit, account, member), now)
        own = unit.credentials.device_limit(account)
        limit = self._limit if own is None else own
        rules.check_room(account, active, device, limit, moves_cloud=opens_cloud)

    async def show(self, account: str) -> ActiveView:
        def look(unit: Unit) -> ActiveView:
            if unit.accounts.account(account) is None:
                raise not_found(names.ACCOUNT.build(account))
            own = unit.credentials.device_limit(account)
            now = self._clock.wall()
            active = rules.merged(
                _by_credentials(unit, account, now) + _by_cloud(unit, account), now
            )
            return ActiveView(active, self._limit if own is None else own, own is not None)

        return await self._store.read(look)

    async def set_limit(self, request: Request[int], account: str, limit: int) -> bytes:
        """0 for the server's setting."""

        def change(unit: Unit) -> int:
            if unit.accounts.account(account) is None:
                raise not_found(names.ACCOUNT.build(account))
            unit.credentials.set_device_limit(account, limit or None)
            unit.record(
                names.ACCOUNT.build(account), "device_limit_set", limit=limit or self._limit
            )
            return limit or self._limit

        return await self._store.once(request, change)


def _by_credentials(
    unit: Unit, account: str, now: datetime, member: str = ""
) -> list[ActiveDevice]:
    """Where credentials are in use: of an account, or of one member of a group."""
    return [
        ActiveDevice(
            one.device,
            one.host_name,
            credential.user_name,
            credential.name,
            until=one.active_until,
        )
        for credential in unit.credentials.list_of(account, member or None)
        for one in credential.devices
        if one.is_active(now)
    ]


def _by_cloud(unit: Unit, account: str, member: str = "") -> list[ActiveDevice]:
    """Where cloud sessions are open: of an account, or of one member of a group."""
    return [
        ActiveDevice(holder.device, holder.host_name, session.user, holds_cloud=True)
        for session in unit.places.list_cloud_sessions(account)
        if (holder := session.holder) is not None
        and session.member in ("", member or session.member)
    ]
