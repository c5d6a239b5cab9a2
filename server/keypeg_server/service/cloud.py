"""The cloud session of an account, or of a member of a group: one use case a method.

Promises: each change is one transaction of the single writer, so that of two devices that open at the same
instant one comes first and the other finds it there: told who it is, or moving it (CLOUD-2). Apps on a
device that lost it are told after the commit (CLOUD-3). What changes nothing is not recorded.

Leaves to others: the machine (domain/cloud_session.py), what is activated (placing.py), who watches
(cloud_watching.py), what administrators do about members' (cloud_groups.py).
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
from keypeg_server.service.active_devices import ActiveDevices
from keypeg_server.service.cloud_of import Whose
from keypeg_server.service.license_changes import LicenseChanges
from keypeg_server.service.placing import Placing, cloud_place, product_of
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

    async def get(self, whose: Whose) -> CloudView:
        return await self._store.read(lambda unit: view_of(unit, whose.session(unit)))

    async def open(
        self,
        request: Request[CloudView],
        whose: Whose,
        holder: Holder,
        user: str,
        *,
        keep_elsewhere: bool,
    ) -> bytes:
        now = self._clock.wall()

        def change(unit: Unit) -> CloudView:
            self._changes.settle(unit, whose.account, now)
            before = whose.session(unit)
            outcome = cloud.opened(before, holder, user, now, keep_elsewhere=keep_elsewhere)
            left = outcome.left
            if self._devices is not None:
                self._devices.check_room(
                    unit, before.account, holder.device, now, before.member, opens_cloud=True
                )
            if outcome.session != before:
                _record_opened(unit, before, holder, user, left)
            self._placing.carry_out(unit, before, outcome, now)
            if left is not None:
                unit.publish(
                    CloudSessionMoved(
                        names.ACCOUNT.build(before.account),
                        left.device,
                        holder.device,
                        holder.host_name,
                        before.member_name,
                    )
                )
            return view_of(unit, outcome.session, moved_from="" if left is None else left.called)

        return await self._store.once(request, change)

    async def close(
        self, request: Request[CloudView], whose: Whose, asker: Holder, user: str
    ) -> bytes:
        now = self._clock.wall()

        def change(unit: Unit) -> CloudView:
            self._changes.settle(unit, whose.account, now)
            before = whose.session(unit)
            outcome = cloud.closed(before, asker.device)
            left = outcome.left
            if left is None:
                return view_of(unit, outcome.session)
            moved = left if left.device != asker.device else None
            name, of = names.ACCOUNT.build(before.account), before.member_name
            if moved is not None:
                _record_opened(unit, before, asker, user, moved)
            said = {"user": user, "device": asker.device, "host": asker.host_name}
            unit.record(name, "cloud_closed", **said, **_of_member(before))
            self._placing.carry_out(unit, before, outcome, now)
            unit.publish(CloudSessionClosed(name, asker.device, asker.host_name, of))
            return view_of(unit, outcome.session, moved_from="" if moved is None else moved.called)

        return await self._store.once(request, change)

    async def set_mode(self, request: Request[CloudView], whose: Whose, mode: CloudMode) -> bytes:
        now = self._clock.wall()

        def change(unit: Unit) -> CloudView:
            self._changes.settle(unit, whose.account, now)
            before = whose.session(unit)
            outcome = cloud.switched(before, mode)
            self._placing.carry_out(unit, before, outcome, now)
            return view_of(unit, outcome.session)

        return await self._store.once(request, change)

    async def choose(
        self,
        request: Request[CloudView],
        whose: Whose,
        add: Sequence[str],
        remove: Sequence[str],
        who: Who = Who.PUBLISHER,
    ) -> bytes:
        """Take licenses (ids) out of the cloud, then put others in: all of it, or nothing."""
        now = self._clock.wall()

        def change(unit: Unit) -> CloudView:
            account, session = whose.account, whose.session(unit)
            switched = False
            for license in [self._changes.ready(unit, account, id, now) for id in remove]:
                product = product_of(unit, license)
                check_switch(product.switches, Command.MOVE, who, license.name, product.name)
                there = in_cloud(unit.licenses.list_activations(account, license.id), session.place)
                if license.id in there:
                    out = self._placing.take_out(unit, license, there[license.id], now)
                    switched = switched or out
            for license in [self._changes.ready(unit, account, id, now) for id in add]:
                self._put_in(unit, session, license, now)
            if session.member:  # what was taken out may be what another waits for
                self._placing.license_freed(unit, account, now)
            return view_of(unit, whose.session(unit), switched=switched)

        return await self._store.once(request, change)

    def _put_in(self, unit: Unit, session: CloudSession, license: License, now: datetime) -> None:
        there = unit.licenses.list_activations(license.account, license.id)
        if license.id not in in_cloud(there, session.place):
            self._placing.activate(unit, license, cloud_place(unit, session), now)


def _record_opened(
    unit: Unit, session: CloudSession, by: Holder, user: str, left: Holder | None
) -> None:
    """In the log; `left` is who had it, where it was moved."""
    unit.record(
        names.ACCOUNT.build(session.account),
        "cloud_opened" if left is None else "cloud_moved",
        user=user,
        device=by.device,
        host=by.host_name,
        from_device="" if left is None else left.device,
        **_of_member(session),
    )


def _of_member(session: CloudSession) -> dict[str, str]:
    return {"member": session.member_name} if session.member else {}


def view_of(
    unit: Unit, session: CloudSession, *, moved_from: str = "", switched: bool = False
) -> CloudView:
    """A cloud session with what is in it."""
    there = unit.licenses.names_in_cloud(session.account, session.place)
    return CloudView(session, there, moved_from, switched)
