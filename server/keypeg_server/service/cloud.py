"""The cloud session of an account: one use case a method.

Promises: each change is one transaction of the single writer, so that of two devices that open at the same
instant one comes first and the other finds it there: told who it is, or moving it (CLOUD-2). Apps on a
device that lost it are told after the commit (CLOUD-3).

Leaves to others: the machine (domain/cloud_session.py), what is activated (placing.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from keypeg import names
from keypeg_server.domain import cloud_session as cloud
from keypeg_server.domain.cloud_session import CloudSession, Holder
from keypeg_server.domain.events import CloudSessionClosed, CloudSessionMoved
from keypeg_server.domain.location import LocationKind
from keypeg_server.service.accounts import not_found
from keypeg_server.service.placing import Placing
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Request, Store, Unit


@dataclass(frozen=True)
class CloudView:
    """The cloud session with the names of the activations in the cloud."""

    session: CloudSession
    activations: tuple[str, ...]
    moved_from_host_name: str = ""


class CloudService:
    """See the contract's CloudSessionService."""

    def __init__(self, store: Store, clock: Clock, placing: Placing) -> None:
        self._store = store
        self._clock = clock
        self._placing = placing

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
            before = _session(unit, account)
            outcome = cloud.opened(before, holder, user, now, keep_elsewhere=keep_elsewhere)
            unit.places.save_cloud_session(outcome.session)
            self._placing.carry_out(unit, outcome.session, outcome.effects, now)
            left = outcome.left
            name = names.ACCOUNT.build(account)
            unit.record(
                name,
                "cloud_opened" if left is None else "cloud_moved",
                user=user,
                device=holder.device,
                host=holder.host_name,
                from_device="" if left is None else left.device,
            )
            if left is not None:
                unit.publish(CloudSessionMoved(name, left.device, holder.device, holder.host_name))
            return _view(unit, outcome.session, "" if left is None else left.called)

        return await self._store.once(request, change)

    async def close(self, request: Request[CloudView], account: str) -> bytes:
        now = self._clock.wall()

        def change(unit: Unit) -> CloudView:
            outcome = cloud.closed(_session(unit, account))
            unit.places.save_cloud_session(outcome.session)
            self._placing.carry_out(unit, outcome.session, outcome.effects, now)
            if outcome.left is not None:
                unit.publish(CloudSessionClosed(names.ACCOUNT.build(account)))
                unit.record(
                    names.ACCOUNT.build(account), "cloud_closed", device=outcome.left.device
                )
            return _view(unit, outcome.session)

        return await self._store.once(request, change)


def _session(unit: Unit, account: str) -> CloudSession:
    if unit.accounts.account(account) is None:
        raise not_found(names.ACCOUNT.build(account))
    return unit.places.cloud_session(account)


def _view(unit: Unit, session: CloudSession, moved_from: str = "") -> CloudView:
    activations = unit.licenses.list_activations(session.account)
    in_cloud = [one.name for one in activations if one.location_kind is LocationKind.CLOUD]
    return CloudView(session, tuple(in_cloud), moved_from)
