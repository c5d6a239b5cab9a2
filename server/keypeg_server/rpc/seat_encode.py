"""Pools, leases and queue places from the domain's words to the contract's, as far as the caller may see them.

Promises: of other users' holdings a member sees only that they are. A snapshot comes in parts of a bearable size.

Leaves to others: what happened (event_encode.py), what is read (service/seats.py, service/watching.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from keypeg import names
from keypeg.v1 import explanation_pb2, pool_event_pb2, seat_pb2
from keypeg.v1.seat_service_pb2 import WatchPoolResponse
from keypeg_server.domain import explain, pool_event
from keypeg_server.domain import lease as leases
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.location import SITE_ID
from keypeg_server.domain.pool import Pool
from keypeg_server.rpc import event_encode
from keypeg_server.service import frames
from keypeg_server.service.seat_taking import Queued
from keypeg_server.service.seats import Times
from keypeg_server.service.watching import Missed, PoolState, Told

PART: Final = 500  # leases or places in one message of a snapshot: some 150 KB

TimesOf = Callable[[leases.Lease], Times]


def lease(of: Pool, one: leases.Lease, caller: Caller, times: TimesOf) -> seat_pb2.Lease:
    """A lease."""
    session = names.SESSION.build(one.holder.session) if one.holder.session else ""
    shown = frames.own_lease(of.lease_prefix + one.id, session, one)
    known = times(one)
    if known.seen_us is not None:
        shown.last_seen_time.CopyFrom(frames.timestamp(known.seen_us))
    if known.ends_us is not None:
        shown.expire_time.CopyFrom(frames.timestamp(known.ends_us))
    shown.location = names.LOCATION.build(*names.ACCOUNT.parse(of.account), SITE_ID)
    if not caller.sees_holder(of.account, one.holder.user):
        for field in ("session", "user", "device", "host_name", "process_id", "address"):
            shown.ClearField(field)
    return shown


def place(
    of: Pool,
    one: leases.Place,
    position: int,
    caller: Caller,
    why: explanation_pb2.Explanation | None,
) -> seat_pb2.QueuePlace:
    """A queue place; `why` when that is told."""
    holder = one.holder
    own = caller.sees_holder(of.account, holder.user)
    session = names.SESSION.build(holder.session) if own and holder.session else ""
    about = explain.estimated_wait(of, one, position)
    shown = frames.queue_place(one, position, of.waiting, session, why, about)
    shown.app = holder.app
    if own:
        _waiter(shown, holder)
    return shown


def own_place(queued: Queued) -> seat_pb2.QueuePlace:
    """Where the caller itself waits."""
    shown = frames.queue_place(
        queued.place,
        queued.position,
        queued.waiting,
        "",
        queued.explanation,
        queued.estimated_wait,
    )
    shown.app = queued.place.holder.app
    _waiter(shown, queued.place.holder)
    return shown


def _waiter(shown: seat_pb2.QueuePlace, holder: leases.Holder) -> None:
    shown.user, shown.device, shown.host_name = holder.user, holder.device, holder.host_name
    shown.process_id, shown.address = holder.process_id, holder.address


def told(what: Told, caller: Caller, times: TimesOf) -> Iterator[WatchPoolResponse]:
    """What a watcher is told, made as it is read."""
    if isinstance(what, Missed):
        yield WatchPoolResponse(missed=pool_event_pb2.PoolEventsMissed(count=what.count))
    elif isinstance(what, tuple):
        yield from _snapshot(what, caller, times)
    else:
        seen = pool_event.seen_by(what.event, what.account, caller)
        yield WatchPoolResponse(event=event_encode.event(seen))


def _snapshot(
    states: tuple[PoolState, ...], caller: Caller, times: TimesOf
) -> Iterator[WatchPoolResponse]:
    if not states:
        yield WatchPoolResponse(snapshot=pool_event_pb2.PoolSnapshot(last=True))
    for index, state in enumerate(states, 1):
        longest = max(len(state.leases), len(state.places), 1)
        for at in range(0, longest, PART):
            part = WatchPoolResponse()
            part.snapshot.pool.CopyFrom(state.shown)
            part.snapshot.leases.extend(
                lease(state.pool, one, caller, times) for one in state.leases[at : at + PART]
            )
            part.snapshot.places.extend(
                place(state.pool, one, position, caller, None)
                for position, one in enumerate(state.places[at : at + PART], at + 1)
            )
            part.snapshot.last = index == len(states) and at + PART >= longest
            yield part
