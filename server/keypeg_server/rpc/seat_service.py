"""SeatService over gRPC: decode, call, encode.

Promises: a member sees the pools of its account, but of other users' holdings only that they are; an
administrator and the publisher's staff see who holds what.

Leaves to others: what may be asked (service/seats.py), well-formedness (validate.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from keypeg import names
from keypeg.v1 import seat_pb2
from keypeg.v1.seat_service_pb2 import (
    WOULD_DENIED,
    WOULD_GRANTED,
    WOULD_QUEUED,
    AcquireSeatRequest,
    AcquireSeatResponse,
    ExplainRequest,
    ExplainResponse,
    FreeSeatRequest,
    FreeSeatResponse,
    GetPoolRequest,
    GetPoolResponse,
    GetPoolRulesRequest,
    GetPoolRulesResponse,
    ListLeasesRequest,
    ListLeasesResponse,
    ListPoolsRequest,
    ListPoolsResponse,
    ListQueuePlacesRequest,
    ListQueuePlacesResponse,
    ReleaseSeatRequest,
    ReleaseSeatResponse,
    RenewSeatRequest,
    RenewSeatResponse,
    UpdatePoolRulesRequest,
    UpdatePoolRulesResponse,
    Would,
)
from keypeg.v1.seat_service_pb2_grpc import SeatServiceServicer
from keypeg_server.domain import explain
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.rpc import rules_encode
from keypeg_server.rpc.calls import cut, page_of
from keypeg_server.rpc.peer import address_of
from keypeg_server.service import frames
from keypeg_server.service.ports import Clock
from keypeg_server.service.seats import TTL_DEFAULT, Seats

_DIGITS: Final = 20  # of the numbers in page tokens, so that they sort as texts
_ABOVE: Final = 10**18  # above all ranks, which may be negative
_WOULD: Final[Mapping[type, Would.ValueType]] = {Lease: WOULD_GRANTED, Place: WOULD_QUEUED}


class SeatService(SeatServiceServicer):
    """Serves seats without a stream, and who holds what."""

    def __init__(self, seats: Seats, clock: Clock, caller: Callable[[], Caller]) -> None:
        """`caller` gives who calls (rpc/caller.py: current)."""
        self._seats = seats
        self._clock = clock
        self._caller = caller

    async def AcquireSeat(self, request: AcquireSeatRequest, context: Any) -> AcquireSeatResponse:
        held = await self._seats.acquire(
            self._caller(),
            request.request_id.lower(),
            request.pool,
            request.units or 1,
            frames.wanted(request.features),
            request.ttl.ToTimedelta() if request.HasField("ttl") else TTL_DEFAULT,
            frames.device(request.device),
            frames.app(request.app),
            address_of(context),
        )
        return AcquireSeatResponse(
            lease=frames.own_lease(frames.lease_name(held.lease), "", held.lease),
            valid_for=frames.duration(held.valid_for),
            expire_time=self._after(held.valid_for),
        )

    async def RenewSeat(self, request: RenewSeatRequest, context: Any) -> RenewSeatResponse:
        ttl = request.ttl.ToTimedelta() if request.HasField("ttl") else None
        held = await self._seats.renew(self._caller(), request.name, request.fencing_number, ttl)
        return RenewSeatResponse(
            valid_for=frames.duration(held.valid_for), expire_time=self._after(held.valid_for)
        )

    async def ReleaseSeat(self, request: ReleaseSeatRequest, context: Any) -> ReleaseSeatResponse:
        released = await self._seats.release(self._caller(), request.name, request.fencing_number)
        return ReleaseSeatResponse(released=released)

    async def FreeSeat(self, request: FreeSeatRequest, context: Any) -> FreeSeatResponse:
        until_us = await self._seats.free(
            self._caller(),
            request.request_id.lower(),
            request.name,
            request.reason,
            request.hold_off.ToTimedelta(),
        )
        response = FreeSeatResponse()
        if until_us is not None:
            response.hold_off_until_time.FromMicroseconds(until_us)
        return response

    async def GetPool(self, request: GetPoolRequest, context: Any) -> GetPoolResponse:
        return GetPoolResponse(pool=await self._seats.look(self._caller(), request.name, _pool))

    async def ListPools(self, request: ListPoolsRequest, context: Any) -> ListPoolsResponse:
        page = page_of(request)

        def read(pools: list[Pool]) -> list[seat_pb2.Pool]:
            wanted = (
                pool
                for pool in pools
                if pool.id > page.after and request.product in ("", pool.product)
            )
            return [_pool(pool) for pool, _ in zip(wanted, range(page.limit), strict=False)]

        found = await self._seats.look_at_all(self._caller(), request.parent, read)
        shown, token = cut(found, page, lambda pool: pool.name.rpartition("/")[2])
        return ListPoolsResponse(pools=shown, next_page_token=token)

    async def ListLeases(self, request: ListLeasesRequest, context: Any) -> ListLeasesResponse:
        page = page_of(request)
        caller = self._caller()

        def read(pool: Pool) -> list[seat_pb2.Lease]:
            wanted = (lease for lease in pool.leases() if _number(lease) > page.after)
            return [
                _lease(pool, lease, caller)
                for lease, _ in zip(wanted, range(page.limit), strict=False)
            ]

        found = await self._seats.look(caller, request.parent, read)
        shown, token = cut(found, page, lambda lease: f"{lease.fencing_number:0{_DIGITS}}")
        return ListLeasesResponse(leases=shown, next_page_token=token)

    async def ListQueuePlaces(
        self, request: ListQueuePlacesRequest, context: Any
    ) -> ListQueuePlacesResponse:
        page = page_of(request)
        caller = self._caller()
        sight = self._seats.sight(caller)

        def read(pool: Pool) -> list[tuple[str, seat_pb2.QueuePlace]]:
            found: list[tuple[str, seat_pb2.QueuePlace]] = []
            for position, place in enumerate(pool.queue(), 1):
                rank = _rank(pool, place)
                if rank > page.after and len(found) < page.limit:
                    own = caller.sees_holder(pool.account, place.holder.user)
                    session = names.SESSION.build(place.holder.session) if own else ""
                    why = explain.why_not(pool, place, sight, position=position)
                    wait = explain.estimated_wait(pool, place, position)
                    shown = frames.queue_place(place, position, pool.waiting, session, why, wait)
                    found.append((rank, shown))
            return found

        ranked = await self._seats.look(caller, request.parent, read)
        cut_off, token = cut(ranked, page, lambda one: one[0])
        return ListQueuePlacesResponse(places=[one[1] for one in cut_off], next_page_token=token)

    async def Explain(self, request: ExplainRequest, context: Any) -> ExplainResponse:
        answer = await self._seats.explain(
            self._caller(),
            request.pool,
            request.units or 1,
            frames.wanted(request.features),
            frames.device(request.device),
            frames.app(request.app),
            wait=request.wait,
            priority=request.priority,
            address=address_of(context),
        )
        response = ExplainResponse(
            would=_WOULD.get(type(answer.outcome), WOULD_DENIED),
            position=answer.position,
            explanation=answer.explanation,
        )
        if answer.estimated_wait is not None:
            response.estimated_wait.FromTimedelta(answer.estimated_wait)
        return response

    async def GetPoolRules(
        self, request: GetPoolRulesRequest, context: Any
    ) -> GetPoolRulesResponse:
        rules = await self._seats.rules(self._caller(), request.name)
        return GetPoolRulesResponse(rules=rules_encode.encode(rules))

    async def UpdatePoolRules(
        self, request: UpdatePoolRulesRequest, context: Any
    ) -> UpdatePoolRulesResponse:
        caller = self._caller()
        rules = rules_encode.decode(request.rules)
        pool, effects = await self._seats.set_rules(
            caller, request.name, rules, request.rules.etag, dry_run=request.dry_run
        )
        return UpdatePoolRulesResponse(
            rules=rules_encode.encode(rules),
            effects=[rules_encode.effect(pool, one, caller) for one in effects],
        )

    def _after(self, time: timedelta) -> Timestamp:
        moment = Timestamp()
        moment.FromDatetime(self._clock.wall() + time)
        return moment


def _pool(pool: Pool) -> seat_pb2.Pool:
    return seat_pb2.Pool(
        name=pool.name,
        account=pool.account,
        product=pool.product,
        activation=pool.activation,
        seat_count=pool.capacity,
        held_count=pool.held,
        waiting_count=pool.waiting,
        features=[
            seat_pb2.PoolFeature(
                feature=feature, seat_count=count, held_count=pool.feature_held(feature)
            )
            for feature, count in sorted(pool.feature_capacity.items())
        ],
        fencing_number=pool.fencing_number,
        lingering_count=pool.lingering,
        overdraft_count=pool.overdrawn,
    )


def _lease(pool: Pool, lease: Lease, caller: Caller) -> seat_pb2.Lease:
    session = names.SESSION.build(lease.holder.session) if lease.holder.session else ""
    shown = frames.own_lease(pool.lease_prefix + lease.id, session, lease)
    if not caller.sees_holder(pool.account, lease.holder.user):
        for field in ("session", "user", "device", "host_name", "process_id", "address"):
            shown.ClearField(field)
    return shown


def _number(lease: Lease) -> str:
    return f"{lease.fencing_number:0{_DIGITS}}"


def _rank(pool: Pool, place: Place) -> str:
    first, second = pool.rank(place)
    return f"{first + _ABOVE:0{_DIGITS}}{second:0{_DIGITS}}"
