"""The cloud session of an account: one use case a method.

Promises: each change is one transaction of the single writer, so that of two devices that open at the same
instant one comes first and the other finds it there: told who it is, or moving it (CLOUD-2). Apps on a
device that lost it are told after the commit (CLOUD-3). What changes nothing is not recorded.

Leaves to others: the machine (domain/cloud_session.py), what is activated (placing.py), who watches
(cloud_watching.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from keypeg import names
from keypeg_server.domain import cloud_session as cloud
from keypeg_server.domain.cloud_licenses import in_cloud
from keypeg_server.domain.cloud_session import CloudMode, CloudSession, Holder
from keypeg_server.domain.events import CloudSessionClosed, CloudSessionMoved
from keypeg_server.domain.license import License
from keypeg_server.domain.license_life import Command, Who, check_switch
from keypeg_server.domain.location import CLOUD_ID
from keypeg_server.service.accounts import not_found
from keypeg_server.service.active_devices import ActiveDevices
from keypeg_server.service.license_changes import LicenseChanges
from keypeg_server.service.placing import Placing, product_of
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Request, Store, Unit


@dataclass(frozen=True)
class CloudView:
    """The cloud session with the names of the activations in the cloud."""

    session: CloudSession
    activations: tuple[str, ...]
    moved_from_host_name: str = ""
    switched_to_managed: bool = False


class CloudService:
    """See the contract's CloudSessionService."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        placing: Placing,
        changes: LicenseChanges,
        devices: ActiveDevices | None = None,
    ) -> None:
        """`devices` says on how many devices an account may be in use; None for any number."""
        self._devices = devices
        self._store = store
        self._clock = clock
        self._placing = placing
        self._changes = changes

    async def get(self, account: str) -> CloudView:
        return await self._store.read(lambda unit: _view(unit, _session(unit, account)))

    async def open(
        self,
        request: Request[CloudView],
        account: str,
        holder: Holder,
        user: str,
        *,
        keep_elsewhere: bool,
    ) -> bytes:
        now = self._clock.wall()

        def change(unit: Unit) -> CloudView:
            self._changes.settle(unit, account, now)
            before = _session(unit, account)
            outcome = cloud.opened(before, holder, user, now, keep_elsewhere=keep_elsewhere)
            left = outcome.left
            if self._devices is not None:
                self._devices.check_room(unit, account, holder.device, now, opens_cloud=True)
            if outcome.session != before:
                _record_opened(unit, account, holder, user, left)
            self._placing.carry_out(unit, before, outcome, now)
            if left is not None:
                unit.publish(
                    CloudSessionMoved(
                        names.ACCOUNT.build(account), left.device, holder.device, holder.host_name
                    )
                )
            return _view(unit, outcome.session, moved_from="" if left is None else left.called)

        return await self._store.once(request, change)

    async def close(
        self, request: Request[CloudView], account: str, asker: Holder, user: str
    ) -> bytes:
        now = self._clock.wall()

        def change(unit: Unit) -> CloudView:
            self._changes.settle(unit, account, now)
            before = _session(unit, account)
            outcome = cloud.closed(before, asker.device)
            left = outcome.left
            if left is None:
                return _view(unit, outcome.session)
            moved = left if left.device != asker.device else None
            name = names.ACCOUNT.build(account)
            if moved is not None:
                _record_opened(unit, account, asker, user, moved)
            unit.record(name, "cloud_closed", user=user, device=asker.device, host=asker.host_name)
            self._placing.carry_out(unit, before, outcome, now)
            unit.publish(CloudSessionClosed(name, asker.device, asker.host_name))
            return _view(unit, outcome.session, moved_from="" if moved is None else moved.called)

        return await self._store.once(request, change)

    async def set_mode(self, request: Request[CloudView], account: str, mode: CloudMode) -> bytes:
        now = self._clock.wall()

        def change(unit: Unit) -> CloudView:
            self._changes.settle(unit, account, now)
            before = _session(unit, account)
            outcome = cloud.switched(before, mode)
            self._placing.carry_out(unit, before, outcome, now)
            return _view(unit, outcome.session)

        return await self._store.once(request, change)

    async def choose(
        self,
        request: Request[CloudView],
        account: str,
        add: Sequence[str],
        remove: Sequence[str],
        who: Who = Who.PUBLISHER,
    ) -> bytes:
        """Take licenses (ids) out of the cloud, then put others in: all of it, or nothing."""
        now = self._clock.wall()

        def change(unit: Unit) -> CloudView:
            _session(unit, account)
            switched = False
            for license in [self._changes.ready(unit, account, id, now) for id in remove]:
                product = product_of(unit, license)
                check_switch(product.switches, Command.MOVE, who, license.name, product.name)
                there = in_cloud(unit.licenses.list_activations(account, license.id))
                if license.id in there:
                    out = self._placing.take_out(unit, license, there[license.id], now)
                    switched = switched or out
            for license in [self._changes.ready(unit, account, id, now) for id in add]:
                self._put_in(unit, license, now)
            session = unit.places.cloud_session(account)
            return _view(unit, session, switched=switched)

        return await self._store.once(request, change)

    def _put_in(self, unit: Unit, license: License, now: datetime) -> None:
        if license.id in in_cloud(unit.licenses.list_activations(license.account, license.id)):
            return
        location = unit.places.location(license.account, CLOUD_ID)
        assert location is not None, "every account has its cloud"
        self._placing.activate(unit, license, location, now)


def _record_opened(unit: Unit, account: str, by: Holder, user: str, left: Holder | None) -> None:
    """In the log; `left` is who had it, where it was moved."""
    unit.record(
        names.ACCOUNT.build(account),
        "cloud_opened" if left is None else "cloud_moved",
        user=user,
        device=by.device,
        host=by.host_name,
        from_device="" if left is None else left.device,
    )


def _session(unit: Unit, account: str) -> CloudSession:
    found = unit.places.find_cloud_session(account)
    if found is None:
        raise not_found(names.ACCOUNT.build(account))
    return found


def _view(
    unit: Unit, session: CloudSession, *, moved_from: str = "", switched: bool = False
) -> CloudView:
    there = unit.licenses.names_in_cloud(session.account)
    return CloudView(session, there, moved_from, switched)
