"""A server's BorrowService for one pool, with real documents.

Promises: what it sends verifies against its publisher's root; a return is verified by the borrow's key; the same
request id gets the same answer, while it is remembered. Refusals and what was asked are kept as in `fakes`.

Leaves to others: rules of pools, and accounts.
"""

# ruff: noqa: N802 - methods have the names of the contract
from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

from keypeg import borrowed, errors
from keypeg.testing import StandInPublisher
from keypeg.v1 import borrow_pb2, borrow_service_pb2_grpc
from keypeg.v1 import borrow_service_pb2 as pb
from tests.client.cli import fakes
from tests.client.cli.fakes import NOW, handler

MARGIN = timedelta(hours=1)


class Borrows(fakes.Asked, borrow_service_pb2_grpc.BorrowServiceServicer):
    """The borrows of the fake's pool."""

    def __init__(self) -> None:
        super().__init__()
        self.publisher = StandInPublisher(account=fakes.ACCOUNT)
        self.borrows: dict[str, borrow_pb2.Borrow] = {}
        self.keys: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}
        self.proofs: dict[str, Any] = {}
        self.forget_answers = 0  # how many answers are lost on the way

    @handler
    def CreateBorrow(self, request, context):
        if request.request_id not in self.answers:
            for name, asked in self.keys.items():
                if asked.return_key == request.return_key:
                    raise errors.AlreadyExists("It is borrowed with this key.", resource=name)
            name = f"{request.pool}/borrows/019abc0000007000800000000000{len(self.borrows):04x}"
            one = borrow_pb2.Borrow(
                name=name,
                lease=name.replace("/borrows/", "/leases/"),
                account=fakes.ACCOUNT,
                product="publishers/acme/products/solver",
                user=f"{fakes.ACCOUNT}/users/ada",
                device=request.device.id,
                host_name=request.device.host_name,
                units=request.units or 1,
                features=request.features,
                state=borrow_pb2.BORROW_STATE_OUT,
            )
            self.borrows[name], self.keys[name] = one, request
            self.answers[request.request_id] = self._lent(
                one, request.duration, pb.CreateBorrowResponse
            )
        self._lose()
        return self.answers[request.request_id]

    @handler
    def RenewBorrow(self, request, context):
        one = self._there(request.name)
        if request.request_id not in self.answers:
            self.answers[request.request_id] = self._lent(
                one, request.duration, pb.RenewBorrowResponse
            )
        return self.answers[request.request_id]

    @handler
    def ReturnBorrow(self, request, context):
        one = self._there(request.name)
        asked = self.keys[one.name]
        borrowed.verify_return(request.statement, one.name, one.device, asked.return_key)
        one.state = borrow_pb2.BORROW_STATE_RETURNED
        return pb.ReturnBorrowResponse(borrow=one)

    @handler
    def WriteOffBorrow(self, request, context):
        one = self._there(request.name)
        if not request.dry_run:
            one.state = borrow_pb2.BORROW_STATE_WRITTEN_OFF
        exposure = pb.BorrowExposure(
            units=one.units,
            expire_time=one.expire_time,
            free_time=one.free_time,
            exposed_count=one.units,
            budget_count=2,
        )
        return pb.WriteOffBorrowResponse(borrow=one, exposure=exposure)

    @handler
    def GetBorrow(self, request, context):
        return pb.GetBorrowResponse(
            borrow=self._there(request.name), proof=self.proofs[request.name]
        )

    @handler
    def ListBorrows(self, request, context):
        return pb.ListBorrowsResponse(borrows=self.borrows.values())

    def _there(self, name):
        if name not in self.borrows:
            raise errors.NotFound(f"There is no {name}.")
        return self.borrows[name]

    def _lent(self, one, duration, answer):
        until = NOW + duration.ToTimedelta()
        one.serial += 1
        one.create_time.FromDatetime(NOW)
        one.expire_time.FromDatetime(until)
        one.free_time.FromDatetime(until + MARGIN)
        proof = self.publisher.borrow_proof(
            one.product,
            one.device,
            self.keys[one.name].return_key,
            NOW,
            until=until,
            units=one.units,
            features={feature.feature: feature.units for feature in one.features},
            serial=one.serial,
            borrow=one.name,
        )
        self.proofs[one.name] = proof
        return answer(borrow=one, proof=proof)

    def _lose(self):
        if self.forget_answers:
            self.forget_answers -= 1
            raise errors.Unreachable("The answer was lost.")


def end_of(one: borrow_pb2.Borrow) -> Any:
    """When its document ends."""
    return one.expire_time.ToDatetime(tzinfo=UTC)
