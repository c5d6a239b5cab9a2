"""What handlers raise, as a client on loopback sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest

from keypeg import errors, serving, status
from keypeg.errors import KeypegError
from keypeg.v1 import explanation_pb2

SECRET = "kp-secret-token"
INCIDENT = "0123456789abcdef0123456789abcdef"


def refusal() -> KeypegError:
    explanation = explanation_pb2.Explanation(sentence="Ada has it.")
    explanation.holders.add(host_name="laptop-1", units=1)
    return errors.PoolExhausted(
        "Every seat of pools/p1 is held; wait.",
        explanation=explanation,
        retry_after=timedelta(seconds=3),
        fields={"units": "more than are free"},
        pool="pools/p1",
    )


async def raise_for(request: bytes, context: Any) -> None:
    """What each handler of the test service does, by its request."""
    if request == b"refuse":
        raise refusal()
    if request == b"break":
        raise RuntimeError(f"database password {SECRET}")
    if request == b"abort":
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "its own word")


class Service(grpc.GenericRpcHandler):
    """One method of each kind; requests and responses are bytes."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.ended: asyncio.Queue[str] = asyncio.Queue()

    async def unary_unary(self, request: bytes, context: Any) -> bytes:
        await raise_for(request, context)
        if request == b"wait":
            await self.wait("unary_unary")
        return b"answer"

    async def unary_stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        await raise_for(request, context)
        if request == b"wait":
            await self.wait("unary_stream")
        yield b"second"

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        async for request in requests:
            await raise_for(request, context)
        return b"answer"

    async def stream_stream(
        self, requests: AsyncIterator[bytes], context: Any
    ) -> AsyncIterator[bytes]:
        try:
            async for request in requests:
                await raise_for(request, context)
                yield b"to " + request
        finally:
            self.ended.put_nowait("stream_stream")

    async def written(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """A stream handler of the other style: it writes, and yields nothing."""
        async for request in requests:
            await context.write(b"to " + request)
            await raise_for(request, context)

    async def late(self, request: bytes, context: Any) -> None:
        """Write once more after the client has gone."""
        await context.write(b"first")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await context.write(b"late")
            finally:
                self.ended.put_nowait("late")

    async def wait(self, name: str) -> None:
        try:
            self.waiting.set()
            await asyncio.Event().wait()
        finally:
            self.ended.put_nowait(name)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return {
            "/test/UnaryUnary": grpc.unary_unary_rpc_method_handler(self.unary_unary),
            "/test/UnaryStream": grpc.unary_stream_rpc_method_handler(self.unary_stream),
            "/test/StreamUnary": grpc.stream_unary_rpc_method_handler(self.stream_unary),
            "/test/StreamStream": grpc.stream_stream_rpc_method_handler(self.stream_stream),
            "/test/Late": grpc.unary_stream_rpc_method_handler(self.late),
            "/test/Written": grpc.stream_stream_rpc_method_handler(self.written),
        }.get(handler_call_details.method)


class Gate(grpc.aio.ServerInterceptor):
    """An inner interceptor that refuses by itself, as authorization does."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        if ("authorization", "none") in (handler_call_details.invocation_metadata or ()):
            raise errors.SignInRequired("No credentials came; sign in.", method="m")
        return await continuation(handler_call_details)


@pytest.fixture
async def served() -> AsyncIterator[tuple[Service, Any]]:
    service = Service()
    server = grpc.aio.server(
        interceptors=[serving.ErrorInterceptor(incident=lambda: INCIDENT), Gate()],
        handlers=[service],
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield service, channel
    await server.stop(None)


async def requests(*frames: bytes) -> AsyncIterator[bytes]:
    for frame in frames:
        yield frame


async def call(channel: Any, method: str, frame: bytes, metadata: Any = None) -> Any:
    """Call any kind of method with one frame, and give everything that it answers."""
    path = f"/test/{method}"
    if method == "UnaryUnary":
        return await channel.unary_unary(path)(frame, metadata=metadata)
    if method == "StreamUnary":
        return await channel.stream_unary(path)(requests(frame), metadata=metadata)
    if method == "UnaryStream":
        return [one async for one in channel.unary_stream(path)(frame, metadata=metadata)]
    stream = channel.stream_stream(path)(requests(frame), metadata=metadata)
    return [one async for one in stream]


METHODS = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream", "Written")
Served = tuple[Service, Any]


@pytest.mark.parametrize("method", METHODS)
async def test_a_handler_that_raises_nothing_is_left_alone(served: Served, method: str) -> None:
    answers = {
        "UnaryUnary": b"answer",
        "StreamUnary": b"answer",
        "UnaryStream": [b"first", b"second"],
        "StreamStream": [b"to hello"],
        "Written": [b"to hello"],
    }
    assert await call(served[1], method, b"hello") == answers[method]


@pytest.mark.parametrize("method", METHODS)
async def test_a_refusal_arrives_with_everything_that_it_says(
    served: Served, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(served[1], method, b"refuse")
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failed.value.details() == refusal().sentence
    error = status.from_trailing_metadata(failed.value.trailing_metadata())
    assert type(error) is errors.PoolExhausted
    assert vars(error) == vars(refusal())
    assert caplog.records == []


@pytest.mark.parametrize("method", METHODS)
async def test_a_foreign_exception_leaves_nothing_but_an_incident(
    served: Served, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(served[1], method, b"break")
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    error = status.from_trailing_metadata(failed.value.trailing_metadata())
    assert type(error) is errors.Internal
    assert error.metadata == {"incident": INCIDENT}
    told = f"{failed.value.details()} {failed.value.trailing_metadata()}"
    assert SECRET not in told
    assert "RuntimeError" not in told
    assert "Traceback" not in told
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert record.name == "keypeg.serving"
    assert vars(record)["incident"] == INCIDENT
    assert vars(record)["method"] == f"/test/{method}"
    assert record.exc_info is not None
    assert record.exc_info[0] is RuntimeError


@pytest.mark.parametrize("method", METHODS)
async def test_a_handler_may_end_the_call_itself(
    served: Served, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(served[1], method, b"abort")
    assert failed.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert failed.value.details() == "its own word"
    assert caplog.records == []


@pytest.mark.parametrize("method", METHODS)
async def test_what_an_inner_interceptor_raises_arrives_for_every_kind_of_call(
    served: Served, method: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(served[1], method, b"hello", metadata=(("authorization", "none"),))
    assert failed.value.code() is grpc.StatusCode.UNAUTHENTICATED
    error = status.from_trailing_metadata(failed.value.trailing_metadata())
    assert type(error) is errors.SignInRequired


async def test_an_inner_interceptor_refuses_a_stream_that_has_sent_nothing(served: Served) -> None:
    stream = served[1].stream_stream("/test/StreamStream")(metadata=(("authorization", "none"),))
    assert await asyncio.wait_for(stream.code(), 5) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_method_that_is_not_there_is_unimplemented(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await served[1].unary_unary("/test/Nothing")(b"")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_unary_call_that_its_client_cancels_is_no_error(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    service, channel = served
    calling = channel.unary_unary("/test/UnaryUnary")(b"wait")
    await asyncio.wait_for(service.waiting.wait(), 5)
    calling.cancel()
    assert await asyncio.wait_for(service.ended.get(), 5) == "unary_unary"
    assert await call(channel, "UnaryUnary", b"hello") == b"answer"
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


async def test_a_stream_that_its_client_cancels_is_no_error_and_its_handler_ends(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    service, channel = served
    stream = channel.stream_stream("/test/StreamStream")()
    await stream.write(b"hello")
    assert await stream.read() == b"to hello"
    stream.cancel()
    assert await asyncio.wait_for(service.ended.get(), 5) == "stream_stream"
    assert await call(channel, "StreamStream", b"hello") == [b"to hello"]
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


async def test_writing_to_a_client_that_has_gone_is_no_error(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    service, channel = served
    stream = channel.unary_stream("/test/Late")(b"")
    assert await stream.read() == b"first"
    stream.cancel()
    assert await asyncio.wait_for(service.ended.get(), 5) == "late"
    assert await call(channel, "UnaryUnary", b"hello") == b"answer"
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


async def test_the_largest_refusal_reaches_a_client_of_default_limits(served: Served) -> None:
    large = errors.FieldInvalid("é" * 5_000, fields={f"field-{n}": "x" * 90 for n in range(99)})
    large.metadata.update({f"key-{n}": "v" * 500 for n in range(30)})
    rich = serving.rich_status(large)
    assert sum(len(value) for _, value in rich.trailing_metadata) <= status.STATUS_BYTES

    async def refuse(request: bytes, context: Any) -> bytes:
        raise large

    server = grpc.aio.server(interceptors=[serving.ErrorInterceptor()])
    handlers: dict[str, Any] = {"Refuse": grpc.unary_unary_rpc_method_handler(refuse)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("large", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel: Any
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/large/Refuse")(b"")
    await server.stop(None)
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (
        type(status.from_trailing_metadata(failed.value.trailing_metadata())) is errors.FieldInvalid
    )


def test_incidents_differ() -> None:
    assert serving.new_incident() != serving.new_incident()
    assert len(serving.new_incident()) == 32


def picky(data: bytes) -> explanation_pb2.Explanation:
    return explanation_pb2.Explanation.FromString(data)


class Picky(grpc.GenericRpcHandler):
    """Methods whose requests are messages; they are never reached with anything else."""

    async def unary(self, request: explanation_pb2.Explanation, context: Any) -> bytes:
        return request.sentence.encode()

    async def watch(
        self, request: explanation_pb2.Explanation, context: Any
    ) -> AsyncIterator[bytes]:
        yield request.sentence.encode()

    async def hold(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request.sentence.encode()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return {
            "/test/UnaryUnary": grpc.unary_unary_rpc_method_handler(self.unary, picky),
            "/test/UnaryStream": grpc.unary_stream_rpc_method_handler(self.watch, picky),
            "/test/StreamStream": grpc.stream_stream_rpc_method_handler(self.hold, picky),
        }.get(handler_call_details.method)


@pytest.mark.parametrize("method", ["UnaryUnary", "UnaryStream", "StreamStream"])
async def test_bytes_that_are_no_message_are_the_senders_fault(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = grpc.aio.server(interceptors=[serving.ErrorInterceptor()], handlers=[Picky()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, method, b"\xff\xff")
        whole = explanation_pb2.Explanation(sentence="well").SerializeToString()
        assert await call(channel, method, whole) in (b"well", [b"well"])
    await server.stop(None)
    error = status.from_trailing_metadata(caught.value.trailing_metadata())
    assert isinstance(error, errors.FieldInvalid)
    assert "request" in error.fields
    assert not caplog.records
