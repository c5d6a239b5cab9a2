"""Carrying calls between servers, over real channels: what the home says reaches the client as it is."""

# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest

from keypeg import status
from keypeg.errors import Elsewhere, KeypegError, NotFound, PermissionDenied, Reason
from keypeg.serving import ErrorInterceptor
from keypeg.v1 import seat_pb2, session_pb2
from keypeg.v1.document_pb2 import Envelope
from keypeg.v1.report_service_pb2 import ExportLogRequest, ExportLogResponse
from keypeg.v1.report_service_pb2_grpc import (
    ReportServiceServicer,
    ReportServiceStub,
    add_ReportServiceServicer_to_server,
)
from keypeg.v1.seat_service_pb2 import GetPoolRequest, GetPoolResponse
from keypeg.v1.seat_service_pb2_grpc import (
    SeatServiceServicer,
    SeatServiceStub,
    add_SeatServiceServicer_to_server,
)
from keypeg.v1.session_service_pb2 import (
    CloseSessionRequest,
    CloseSessionResponse,
    HoldSessionRequest,
    HoldSessionResponse,
)
from keypeg.v1.session_service_pb2_grpc import (
    SessionServiceServicer,
    SessionServiceStub,
    add_SessionServiceServicer_to_server,
)
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.rpc import relayed
from keypeg_server.rpc.carrying import FOLLOW
from keypeg_server.rpc.parents import Routes
from keypeg_server.rpc.peer import address_of
from keypeg_server.rpc.peers import Peers
from keypeg_server.rpc.relay import Relay
from keypeg_server.rpc.relayed import Seal
from keypeg_server.service.homes import Here, There
from keypeg_server.service.homes_port import parents

A = "accounts/a"
CALLER = Caller("accounts/a/users/u", "u", A, Role.MEMBER, "t")
SECRET = b"s" * 32


class Finder:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.where: Here | There = Here(1)
        self.next: list[Here | There] = []  # after `changed` or `not_there`
        self.denied: list[There] = []

    def here(self, parent: str) -> int | None:
        return self.where.epoch if isinstance(self.where, Here) else None

    async def find(self, parent: str) -> Here | There:
        assert parent == A
        return self.where

    def not_there(self, parent: str, there: There) -> None:
        self.denied.append(there)
        self._turn()

    async def changed(self, there: There, within: float) -> bool:
        await asyncio.sleep(0)
        return self._turn()

    def _turn(self) -> bool:
        if self.next:
            self.where = self.next.pop(0)
            return True
        return False


class Services(SeatServiceServicer, SessionServiceServicer, ReportServiceServicer):
    """Answers with what it saw, or as a test says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.metadata: dict[str, Any] = {}
        self.time_left: float | None = None
        self.parents: tuple[str, ...] = ()
        self.raises: KeypegError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.canceled = asyncio.Event()
        self.written = 0
        self.size = 0
        self.closes: list[str] = []

    async def _see(self, context: Any) -> str:
        self.metadata = dict(context.invocation_metadata())
        self.time_left = context.time_remaining()
        self.parents = parents()
        self.entered.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.canceled.set()
            raise
        if self.raises is not None:
            raise self.raises
        return f"{self.name} for {address_of(context)}"

    async def GetPool(self, request: GetPoolRequest, context: Any) -> GetPoolResponse:
        said = await self._see(context)
        context.set_trailing_metadata((("keypeg-test", "said"),))
        return GetPoolResponse(pool=seat_pb2.Pool(name=request.name, product=said))

    async def ExportLog(
        self, request: ExportLogRequest, context: Any
    ) -> AsyncIterator[ExportLogResponse]:
        said = await self._see(context)
        for number in range(3):
            yield ExportLogResponse(head=Envelope(payload=f"{said} {number}".encode()))

    async def HoldSession(  # type: ignore[override]  # a handler that writes
        self, request_iterator: Any, context: Any
    ) -> None:
        try:
            while (request := await context.read()) is not grpc.aio.EOF:
                await self._see(context)
                for _ in range(2_000 if self.size else 1):
                    await context.write(self._answer(request))
                    self.written += 1
        finally:
            self.canceled.set()

    def _answer(self, request: HoldSessionRequest) -> HoldSessionResponse:
        if self.size:
            opened = session_pb2.Opened(resume_ticket=b"x" * self.size)
            return HoldSessionResponse(opened=opened)
        return HoldSessionResponse(closed=session_pb2.Closed(sequence=request.close.sequence))

    async def CloseSession(
        self, request: CloseSessionRequest, context: Any
    ) -> CloseSessionResponse:
        self.closes.append(request.session)
        return CloseSessionResponse(closed=self.name == "home")


class Server:
    """A server with a relay; `home` it is, or another."""

    def __init__(self, name: str, others: Callable[[], list[There]] = list) -> None:
        self.finder = Finder()
        self.services = Services(name)  # type: ignore[abstract]  # it serves what is called here
        self.peers = Peers(lambda address: grpc.aio.insecure_channel(address))
        self.relay = Relay(
            self.finder,
            Routes(self._account, self._nobody, self._no_person),
            self.peers,
            Seal(SECRET),
            lambda: CALLER,
            others,
        )
        self.server = grpc.aio.server(interceptors=[ErrorInterceptor(), self.relay])
        add_SeatServiceServicer_to_server(self.services, self.server)
        add_SessionServiceServicer_to_server(self.services, self.server)
        add_ReportServiceServicer_to_server(self.services, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    async def _account(self, pool: str) -> str | None:
        return A

    async def _nobody(self, request: Any) -> str | None:
        return None

    async def _no_person(self, request: Any, caller: Caller | None) -> str | None:
        return None

    @property
    def there(self) -> There:
        return There(self.services.name, f"127.0.0.1:{self.port}")

    async def stop(self) -> None:
        await self.peers.close()
        await self.server.stop(None)


class World:
    """A client at a server that is not the home, and the home."""

    def __init__(self) -> None:
        self.home = Server("home")
        self.first = Server("first", lambda: [self.home.there])
        self.first.finder.where = self.home.there
        self.channel = grpc.aio.insecure_channel(self.first.there.address)
        self.seats = SeatServiceStub(self.channel)
        self.sessions = SessionServiceStub(self.channel)
        self.reports = ReportServiceStub(self.channel)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.home.server.start()
    await made.first.server.start()
    yield made
    await made.channel.close()
    await made.first.stop()
    await made.home.stop()


POOL = GetPoolRequest(name="pools/p")


def frame(sequence: int) -> HoldSessionRequest:
    return HoldSessionRequest(close=session_pb2.Close(sequence=sequence))


async def to_its_end(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


async def refusal(call: Any) -> KeypegError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    found = status.from_trailing_metadata(caught.value.trailing_metadata())
    assert found is not None, caught.value
    return found


async def test_a_call_is_served_at_its_home_as_if_the_client_were_there(world: World) -> None:
    call = world.seats.GetPool(
        POOL, timeout=20, metadata=(("authorization", "Bearer x"), ("other-bin", b"\0\1"))
    )
    assert (await call).pool.product == "home for 127.0.0.1"
    seen = world.home.services
    assert seen.metadata["authorization"] == "Bearer x"
    assert seen.metadata["other-bin"] == b"\0\1"
    assert seen.time_left is not None
    assert 10 < seen.time_left < 21, "gRPC rounds a deadline up on each way"
    assert seen.parents == (A,), "what it writes is fenced"
    assert world.first.services.metadata == {}


async def test_a_call_without_a_deadline_gets_none(world: World) -> None:
    await world.seats.GetPool(POOL)
    assert world.home.services.time_left is None


async def test_at_home_nothing_is_carried(world: World) -> None:
    world.first.finder.where = Here(1)
    assert (await world.seats.GetPool(POOL)).pool.product == "first for 127.0.0.1"
    assert world.first.services.parents == (A,)


async def test_what_the_home_refuses_with_reaches_the_client_unchanged(world: World) -> None:
    world.home.services.raises = NotFound(
        "There is none.", resource="pools/p", retry_after=timedelta(seconds=3), fields={"name": "x"}
    )
    error = await refusal(world.seats.GetPool(POOL))
    assert isinstance(error, NotFound)
    assert error.sentence == "There is none."
    assert error.metadata == {"resource": "pools/p"}
    assert error.retry_after == timedelta(seconds=3)
    assert error.fields == {"name": "x"}


async def test_what_was_carried_is_not_carried_on(world: World) -> None:
    world.home.finder.where = world.first.there  # they do not agree
    error = await refusal(world.seats.GetPool(POOL))
    assert error.reason is Reason.UNREACHABLE
    assert error.retry_after is not None
    assert set(world.first.finder.denied) == {world.home.there}


async def test_who_is_not_the_home_any_more_is_left_for_who_is(world: World) -> None:
    world.home.finder.where = There("third", "127.0.0.1:1")
    world.first.finder.next = [Here(2)]
    assert (await world.seats.GetPool(POOL)).pool.product == "first for 127.0.0.1"


async def test_a_home_by_its_row_that_says_it_is_not_is_waited_for(world: World) -> None:
    """As a server that was started anew at its address, before the one that it was is declared dead."""
    world.home.finder.where = There("before", world.home.there.address)
    waits = 0

    async def changed(there: There, within: float) -> bool:
        nonlocal waits
        waits += 1
        if waits == 10:
            world.home.finder.where = Here(2)
        return False

    world.first.finder.changed = changed  # type: ignore[method-assign]
    answer = await world.seats.GetPool(POOL)
    assert answer.pool.product.startswith("home for")
    assert waits == 10


async def test_only_servers_with_the_same_secrets_carry_calls(world: World) -> None:
    forged = (relayed.HEADER, f"10.0.0.1 {'0' * 32}")
    error = await refusal(world.seats.GetPool(POOL, metadata=(forged,)))
    assert isinstance(error, PermissionDenied)
    other = Seal(b"o" * 32).header("/keypeg.v1.SeatService/GetPool", "10.0.0.1")
    error = await refusal(world.seats.GetPool(POOL, metadata=((relayed.HEADER, other),)))
    assert isinstance(error, PermissionDenied)


async def test_the_header_is_of_one_method(world: World) -> None:
    header = Seal(SECRET).header("/keypeg.v1.SeatService/ListPools", "10.0.0.1")
    error = await refusal(world.seats.GetPool(POOL, metadata=((relayed.HEADER, header),)))
    assert isinstance(error, PermissionDenied)


async def test_who_can_follow_is_told_where_to_go(world: World) -> None:
    follow = ((FOLLOW, "1"),)
    error = await refusal(world.seats.GetPool(POOL, metadata=follow))
    assert isinstance(error, Elsewhere)
    assert error.metadata["server"] == world.home.there.address
    stream = world.sessions.HoldSession(metadata=follow)
    await stream.write(frame(1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await to_its_end(stream)
    found = status.from_trailing_metadata(caught.value.trailing_metadata())
    assert isinstance(found, Elsewhere)


async def test_an_export_is_carried_part_by_part(world: World) -> None:
    lines = [
        part.head.payload async for part in world.reports.ExportLog(ExportLogRequest(parent=A))
    ]
    assert lines == [b"home for 127.0.0.1 %d" % number for number in range(3)]


async def test_a_stream_is_carried_both_ways_to_its_end(world: World) -> None:
    stream = world.sessions.HoldSession()
    for number in range(1, 6):
        await stream.write(frame(number))
        answer: Any = await stream.read()
        assert answer.closed.sequence == number
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_the_status_that_ends_a_stream_reaches_the_client_unchanged(world: World) -> None:
    world.home.services.raises = NotFound("No session.", resource="sessions/s")
    stream = world.sessions.HoldSession()
    await stream.write(frame(1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await to_its_end(stream)
    error = status.from_trailing_metadata(caught.value.trailing_metadata())
    assert isinstance(error, NotFound)
    assert error.metadata == {"resource": "sessions/s"}


async def test_a_client_that_leaves_ends_the_call_at_the_home(world: World) -> None:
    home = world.home.services
    stream = world.sessions.HoldSession()
    await stream.write(frame(1))
    await stream.read()
    stream.cancel()
    await asyncio.wait_for(home.canceled.wait(), 10)
    home.canceled.clear()
    home.entered.clear()
    home.gate.clear()
    call = world.seats.GetPool(POOL)
    await asyncio.wait_for(home.entered.wait(), 10)
    call.cancel()
    await asyncio.wait_for(home.canceled.wait(), 10)


async def test_a_deadline_holds_at_the_home_too(world: World) -> None:
    world.home.services.gate.clear()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.seats.GetPool(POOL, timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(world.home.services.canceled.wait(), 10)


async def test_a_slow_reader_holds_up_the_home_and_no_memory(world: World) -> None:
    world.home.services.size = 1 << 16
    stream = world.sessions.HoldSession()
    await stream.write(frame(1))
    before = -1
    while world.home.services.written != before:  # until nothing moves any more
        before = world.home.services.written
        await asyncio.sleep(0.1)
    assert 0 < before < 1_000  # of what is sent: the windows of two connections, which grow
    for _ in range(200):
        answer: Any = await stream.read()
        assert len(answer.opened.resume_ticket) == 1 << 16
    stream.cancel()


async def test_a_home_that_dies_ends_streams_with_when_to_come_again(world: World) -> None:
    stream = world.sessions.HoldSession()
    await stream.write(frame(1))
    await stream.read()
    await world.home.server.stop(None)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await to_its_end(stream)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    error = status.from_trailing_metadata(caught.value.trailing_metadata())
    assert error is not None
    assert error.retry_after is not None


async def test_a_home_that_is_declared_dead_while_it_hangs_ends_its_calls(world: World) -> None:
    home = world.home.services
    stream = world.sessions.HoldSession()
    await stream.write(frame(1))
    await stream.read()
    home.gate.clear()
    home.entered.clear()
    call = asyncio.ensure_future(_answer(world.seats.GetPool(POOL)))
    await asyncio.wait_for(home.entered.wait(), 10)
    world.first.finder.where = Here(2)
    world.first.peers.keep(())
    assert (await call).pool.product == "first for 127.0.0.1", "the new home answered"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await to_its_end(stream)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def _answer(call: Any) -> Any:
    return await call


async def test_a_call_waits_out_a_takeover(world: World) -> None:
    await world.home.server.stop(None)
    world.first.finder.next = [world.home.there, Here(2)]
    assert (await world.seats.GetPool(POOL)).pool.product == "first for 127.0.0.1"


async def test_a_home_that_stays_away_is_said_to_be(world: World) -> None:
    await world.home.server.stop(None)
    error = await refusal(world.seats.GetPool(POOL))
    assert error.reason is Reason.UNREACHABLE
    assert error.retry_after is not None


async def test_what_is_refused_while_the_home_goes_says_only_that(world: World) -> None:
    first = world.first
    first.finder.where = Here(1)
    first.services.gate.clear()
    first.services.raises = NotFound("There is none.", resource="pools/p")
    call = asyncio.ensure_future(_answer(world.seats.GetPool(POOL)))
    await asyncio.wait_for(first.services.entered.wait(), 10)
    first.finder.where = world.home.there
    first.services.gate.set()
    error = await refusal(call)
    assert error.reason is Reason.SERVER_DRAINING


async def test_a_session_without_seats_is_asked_for_everywhere(world: World) -> None:
    answer = await world.sessions.CloseSession(CloseSessionRequest(session="sessions/s"))
    assert answer.closed
    assert world.first.services.closes == world.home.services.closes == ["sessions/s"]


async def test_a_server_that_ends_ends_what_it_carries(world: World) -> None:
    stream = world.sessions.HoldSession()
    await stream.write(frame(1))
    await stream.read()
    world.first.relay.drain()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await to_its_end(stream)
    error = status.from_trailing_metadata(caught.value.trailing_metadata())
    assert error is not None
    assert error.reason is Reason.SERVER_DRAINING
