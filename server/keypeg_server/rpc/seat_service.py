"""SeatService over gRPC: decode, call, encode.

Promises: a member sees the pools of its account, but of other users' holdings only that they are; an
administrator and the publisher's staff see who holds what. A stream that watches goes as fast as its client reads.

Leaves to others: what may be asked (service/seats.py), messages (seat_encode.py), well-formedness (validate.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

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
    LeaveQueueRequest,
    LeaveQueueResponse,
    ListLeasesRequest,
    ListLeasesResponse,
    ListPoolEventsRequest,
    ListPoolEventsResponse,
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
    WatchPoolRequest,
    WatchPoolResponse,
    Would,
)
from keypeg.v1.seat_service_pb2_grpc import SeatServiceServicer
from keypeg_server.domain import explain, pool_event
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_event import Kind
from keypeg_server.rpc import event_encode, rules_encode, seat_encode
from keypeg_server.rpc.calls import cut, number_of, page_of, token_of
from keypeg_server.rpc.peer import address_of
from keypeg_server.service import frames
from keypeg_server.service.history import History
from keypeg_server.service.ports import Clock
from keypeg_server.service.seat_taking import Queued, Wanted
from keypeg_server.service.seats import TTL_DEFAULT, Seats
from keypeg_server.service.watching import Watching

_US: Final = timedelta(microseconds=1)
_NO_TIME: Final = timedelta(0)
_DIGITS: Final = 20  # of the numbers in page tokens, so that they sort as texts
_ABOVE: Final = 10**18  # above all ranks, which may be negative
_WOULD: Final[Mapping[type, Would.ValueType]] = {Lease: WOULD_GRANTED, Place: WOULD_QUEUED}


class SeatService(SeatServiceServicer):
    """Serves seats without a stream, and who holds what."""

    def __init__(
        self,
        seats: Seats,
        clock: Clock,
        caller: Callable[[], Caller],
        watching: Watching,
        history: History,
    ) -> None:
        """`caller` gives who calls (rpc/caller.py: current)."""
        self._seats = seats
        self._clock = clock
        self._caller = caller
        self._watching = watching
        self._history = history

    async def AcquireSeat(self, request: AcquireSeatRequest, context: Any) -> AcquireSeatResponse:
        got = await self._seats.taking.acquire(
            self._caller(),
            Wanted(
                request.request_id.lower(),
                request.pool,
                request.units or 1,
                frames.wanted(request.features),
                request.ttl.ToTimedelta() if request.HasField("ttl") else TTL_DEFAULT,
                frames.device(request.device),
                frames.app(request.app),
                request.wait.ToTimedelta() if request.HasField("wait") else _NO_TIME,
                request.priority,
                address_of(context),
            ),
        )
        if isinstance(got, Queued):
            return AcquireSeatResponse(place=seat_encode.own_place(got))
        response = AcquireSeatResponse()  # filled in place: a message put into another is copied
        frames.show_lease(response.lease, frames.lease_name(got.lease), "", got.lease)
        response.valid_for.FromTimedelta(got.valid_for)
        self._show_end(response.expire_time, got.valid_for - got.asked_before)
        return response

    async def LeaveQueue(self, request: LeaveQueueRequest, context: Any) -> LeaveQueueResponse:
        left = await self._seats.taking.leave(self._caller(), request.name)
        return LeaveQueueResponse(left=left)

    async def RenewSeat(self, request: RenewSeatRequest, context: Any) -> RenewSeatResponse:
        ttl = request.ttl.ToTimedelta() if request.HasField("ttl") else None
        held = await self._seats.renew(self._caller(), request.name, request.fencing_number, ttl)
        response = RenewSeatResponse()
        response.valid_for.FromTimedelta(held.valid_for)
        self._show_end(response.expire_time, held.valid_for)
        return response

    async def ReleaseSeat(self, request: ReleaseSeatRequest, context: Any) -> ReleaseSeatResponse:
        released = await self._seats.release(self._caller(), request.name, request.fencing_number)
        return ReleaseSeatResponse(released=released)

    async def FreeSeat(self, request: FreeSeatRequest, context: Any) -> FreeSeatResponse:
        until_us = await self._seats.keeping.free(
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
        return GetPoolResponse(
            pool=await self._seats.look(self._caller(), request.name, frames.pool)
        )

    async def ListPools(self, request: ListPoolsRequest, context: Any) -> ListPoolsResponse:
        page = page_of(request)

        def read(pools: list[Pool]) -> list[seat_pb2.Pool]:
            wanted = (
                pool
                for pool in pools
                if pool.id > page.after and request.product in ("", pool.product)
            )
            return [frames.pool(pool) for pool, _ in zip(wanted, range(page.limit), strict=False)]

        found = await self._seats.look_at_all(self._caller(), request.parent, read)
        shown, token = cut(found, page, lambda pool: pool.name.rpartition("/")[2])
        return ListPoolsResponse(pools=shown, next_page_token=token)

    async def ListLeases(self, request: ListLeasesRequest, context: Any) -> ListLeasesResponse:
        page = page_of(request)
        caller = self._caller()

        def read(pool: Pool) -> list[seat_pb2.Lease]:
            wanted = (lease for lease in pool.leases() if _number(lease) > page.after)
            return [
                seat_encode.lease(pool, lease, caller, self._seats.times)
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
                    why = explain.why_not(pool, place, sight, position=position)
                    shown = seat_encode.place(pool, place, position, caller, why)
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
        rules = await self._seats.keeping.rules(self._caller(), request.name)
        return GetPoolRulesResponse(rules=rules_encode.encode(rules))

    async def UpdatePoolRules(
        self, request: UpdatePoolRulesRequest, context: Any
    ) -> UpdatePoolRulesResponse:
        caller = self._caller()
        rules = rules_encode.decode(request.rules)
        pool, effects = await self._seats.keeping.set_rules(
            caller, request.name, rules, request.rules.etag, dry_run=request.dry_run
        )
        return UpdatePoolRulesResponse(
            rules=rules_encode.encode(rules),
            effects=[rules_encode.effect(pool, one, caller) for one in effects],
        )

    async def WatchPool(
        self, request: WatchPoolRequest, context: Any
    ) -> AsyncIterator[WatchPoolResponse]:
        caller = self._caller()
        await self._seats.present(request.parent, caller)
        async with aclosing(self._watching.watch(caller, request.parent)) as watched:
            async for told in watched:
                for response in seat_encode.told(told, caller, self._seats.times):
                    yield response

    async def ListPoolEvents(
        self, request: ListPoolEventsRequest, context: Any
    ) -> ListPoolEventsResponse:
        caller = self._caller()
        page = page_of(request)
        await self._seats.present(request.parent, caller)
        found = await self._history.events(
            caller,
            request.parent,
            request.begin_time.ToMicroseconds(),
            request.end_time.ToMicroseconds() if request.HasField("end_time") else None,
            {Kind(kind) for kind in request.kinds},
            number_of(page.after),
            page.limit - 1,
        )
        return ListPoolEventsResponse(
            events=[
                event_encode.event(pool_event.seen_by(one, found.account, caller))
                for one in found.events
            ],
            next_page_token="" if found.after is None else token_of(str(found.after)),
        )

    def _show_end(self, moment: Timestamp, time: timedelta) -> None:
        """The moment so long after now, in an empty message in its place."""
        seconds, us = divmod(self._clock.wall_us() + time // _US, 1_000_000)
        moment.seconds = seconds
        moment.nanos = us * 1_000


def _number(lease: Lease) -> str:
    return f"{lease.fencing_number:0{_DIGITS}}"


def _rank(pool: Pool, place: Place) -> str:
    first, second = pool.rank(place)
    return f"{first + _ABOVE:0{_DIGITS}}{second:0{_DIGITS}}"
