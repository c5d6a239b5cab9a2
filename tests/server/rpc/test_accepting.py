"""A server that accepts many calls at a time serves each once, like the library's own."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter

import grpc
import grpc.aio
import pytest

from keypeg_server.rpc import accepting
from keypeg_server.rpc.accepting import SLOTS, Slots

CALLS = 3 * SLOTS


class Line:
    """Asks, in the place of the library."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[str]] = []

    def __call__(self) -> asyncio.Future[str]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_calls_that_came_together_are_given_in_their_order():
    line = Line()
    slots = Slots(line, 3)
    for number in (0, 1, 2):
        line.asked[number].set_result(f"call {number}")
    await settle()
    assert [await slots.next() for _ in range(3)] == ["call 0", "call 1", "call 2"]
    assert len(line.asked) == 6  # a new one for each that came


async def test_who_waits_is_given_the_next_call():
    line = Line()
    waiting = Slots(line, 2).next()
    line.asked[1].set_result("call")
    assert await waiting == "call"


async def test_what_fails_is_told_and_not_asked_for_again():
    line = Line()
    slots = Slots(line, 2)
    waiting = slots.next()
    line.asked[0].set_exception(RuntimeError("stopped"))
    with pytest.raises(RuntimeError, match="stopped"):
        await waiting
    line.asked[1].cancel()
    await settle()
    with pytest.raises(asyncio.CancelledError):
        await slots.next()
    assert len(line.asked) == 2


async def test_a_call_is_kept_for_the_next_when_nobody_waits_any_more():
    line = Line()
    slots = Slots(line, 1)
    slots.next().cancel()
    line.asked[0].set_result("call")
    await settle()
    assert await slots.next() == "call"


class Counting(grpc.GenericRpcHandler):
    """Gives back what comes when `gate` is open, and counts it."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.served: Counter[bytes] = Counter()
        self.all_came = asyncio.Event()

    def service(self, handler_call_details):
        if handler_call_details.method == "/test/Unary":
            return grpc.unary_unary_rpc_method_handler(self._serve)
        return None

    async def _serve(self, request: bytes, _context) -> bytes:
        self.served[request] += 1
        if self.served.total() >= CALLS:
            self.all_came.set()
        await self.gate.wait()
        return request


@pytest.fixture
async def served():
    counting = Counting()
    server = accepting.server([], [("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([counting])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    gc.collect()  # nobody but the server holds what it asked for
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield counting, server, channel
    await server.stop(None)


def test_the_library_that_is_installed_is_built_as_this_needs_it():
    async def made() -> grpc.aio.Server:
        return accepting.server([], [])

    assert accepting.possible()
    assert isinstance(asyncio.run(made()), accepting._Server)


async def test_many_calls_at_once_are_each_served_once(served):
    counting, _, channel = served
    method = channel.unary_unary("/test/Unary")
    calls = [method(b"%d" % number) for number in range(CALLS)]
    async with asyncio.timeout(10):
        await counting.all_came.wait()  # all of them, while none is answered
        counting.gate.set()
        assert [await call for call in calls] == [b"%d" % number for number in range(CALLS)]
    assert set(counting.served.values()) == {1}
    assert len(counting.served) == CALLS


async def test_other_methods_are_not_there(served):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served[2].unary_unary("/test/Other")(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_stop_lets_calls_end_and_takes_no_more(served):
    counting, server, channel = served
    method = channel.unary_unary("/test/Unary")
    calls = [method(b"%d" % number) for number in range(CALLS)]
    async with asyncio.timeout(10):
        await counting.all_came.wait()
        stopping = asyncio.ensure_future(server.stop(5))
        await asyncio.sleep(0)
        counting.gate.set()
        assert [await call for call in calls] == [b"%d" % number for number in range(CALLS)]
        await stopping
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await method(b"late")
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
