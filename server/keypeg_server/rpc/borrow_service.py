"""BorrowService over gRPC: decode, call, encode.

Promises: a borrow is shown as it is on disk.

Leaves to others: what may be asked (service/borrows.py), well-formedness (validate.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from keypeg.errors import FieldInvalid
from keypeg.v1 import borrow_pb2
from keypeg.v1.borrow_service_pb2 import (
    BorrowExposure,
    CreateBorrowRequest,
    CreateBorrowResponse,
    GetBorrowRequest,
    GetBorrowResponse,
    ListBorrowsRequest,
    ListBorrowsResponse,
    RenewBorrowRequest,
    RenewBorrowResponse,
    ReturnBorrowRequest,
    ReturnBorrowResponse,
    WriteOffBorrowRequest,
    WriteOffBorrowResponse,
)
from keypeg.v1.borrow_service_pb2_grpc import BorrowServiceServicer
from keypeg_server.domain.borrow import Exposure, State
from keypeg_server.domain.caller import Caller
from keypeg_server.rpc.calls import cut, page_of
from keypeg_server.rpc.peer import address_of
from keypeg_server.service import frames
from keypeg_server.service.borrows import Borrows, Known, Wanted

_STATES: Final[Mapping[State, borrow_pb2.BorrowState.ValueType]] = {
    State.OUT: borrow_pb2.BORROW_STATE_OUT,
    State.RETURNED: borrow_pb2.BORROW_STATE_RETURNED,
    State.WRITTEN_OFF: borrow_pb2.BORROW_STATE_WRITTEN_OFF,
}
assert set(_STATES) == set(State)
_DIGITS: Final = 20  # of the times in page tokens, so that they sort as texts


class BorrowRpc(BorrowServiceServicer):
    """Serves borrows."""

    def __init__(self, borrows: Borrows, caller: Callable[[], Caller]) -> None:
        """`caller` gives who calls (rpc/caller.py: current)."""
        self._borrows = borrows
        self._caller = caller

    async def CreateBorrow(
        self, request: CreateBorrowRequest, context: Any
    ) -> CreateBorrowResponse:
        known, proof = await self._borrows.create(
            self._caller(),
            request.request_id.lower(),
            Wanted(
                request.pool,
                request.units or 1,
                frames.wanted(request.features),
                request.duration.ToTimedelta(),
                frames.device(request.device),
                frames.app(request.app),
                request.return_key.key,
                request.fingerprint if request.HasField("fingerprint") else None,
                address_of(context),
            ),
        )
        return CreateBorrowResponse(borrow=shown(known), proof=proof)

    async def RenewBorrow(self, request: RenewBorrowRequest, context: Any) -> RenewBorrowResponse:
        known, proof = await self._borrows.renew(
            self._caller(), request.request_id.lower(), request.name, request.duration.ToTimedelta()
        )
        return RenewBorrowResponse(borrow=shown(known), proof=proof)

    async def ReturnBorrow(
        self, request: ReturnBorrowRequest, context: Any
    ) -> ReturnBorrowResponse:
        known = await self._borrows.give_back(self._caller(), request.name, request.statement)
        return ReturnBorrowResponse(borrow=shown(known))

    async def WriteOffBorrow(
        self, request: WriteOffBorrowRequest, context: Any
    ) -> WriteOffBorrowResponse:
        if request.dry_run:
            known, exposed = await self._borrows.exposure(self._caller(), request.name)
        else:
            _check_write_off(request)
            known, exposed = await self._borrows.write_off(
                self._caller(), request.request_id.lower(), request.name, request.reason
            )
        return WriteOffBorrowResponse(borrow=shown(known), exposure=exposure(exposed))

    async def GetBorrow(self, request: GetBorrowRequest, context: Any) -> GetBorrowResponse:
        known, proof = await self._borrows.get(self._caller(), request.name)
        return GetBorrowResponse(borrow=shown(known), proof=proof)

    async def ListBorrows(self, request: ListBorrowsRequest, context: Any) -> ListBorrowsResponse:
        page = page_of(request)
        found = await self._borrows.listed(self._caller(), request.parent)
        after = [one for one in found if _order(one) > page.after][: page.limit]
        items, token = cut(after, page, _order)
        return ListBorrowsResponse(borrows=[shown(one) for one in items], next_page_token=token)


def _check_write_off(request: WriteOffBorrowRequest) -> None:
    """What a dry run may leave out."""
    wrong = {
        field: "is missing; only a dry run goes without"
        for field in ("request_id", "reason")
        if not getattr(request, field)
    }
    if wrong:
        said = " and ".join(wrong)
        raise FieldInvalid(
            f"A write-off needs a {said}; only a dry run goes without.", fields=wrong
        )


def shown(known: Known) -> borrow_pb2.Borrow:
    """A borrow as it is known."""
    pool, borrow = known.pool, known.borrow
    holder = borrow.holder
    made = borrow_pb2.Borrow(
        name=borrow.name,
        lease=pool.lease_prefix + borrow.id,
        account=pool.account,
        product=pool.product,
        user=holder.user,
        device=holder.device,
        host_name=holder.host_name,
        app=holder.app,
        units=borrow.units,
        features=frames.features(borrow.features),
        fencing_number=borrow.fencing_number,
        state=_STATES[borrow.state],
        create_time=frames.timestamp(borrow.create_time_us),
        expire_time=frames.timestamp(borrow.end_us),
        free_time=frames.timestamp(borrow.free_us),
        serial=borrow.serial,
        state_by=borrow.state_by,
        reason=borrow.reason,
    )
    if not borrow.is_out:
        made.state_time.CopyFrom(frames.timestamp(borrow.state_time_us))
    return made


def exposure(exposed: Exposure) -> BorrowExposure:
    """What a write-off exposes."""
    return BorrowExposure(
        units=exposed.units,
        expire_time=frames.timestamp(exposed.end_us),
        free_time=frames.timestamp(exposed.free_us),
        exposed_count=exposed.exposed,
        budget_count=exposed.budget,
    )


def _order(known: Known) -> str:
    return f"{known.borrow.end_us:0{_DIGITS}d}-{known.borrow.id}"
