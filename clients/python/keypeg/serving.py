"""Errors at the edge of a gRPC server: the same for keypegd, the bridge and the agent.

Promises: a KeypegError that a handler raises reaches the peer as a rich status; any other exception is
logged once, with its traceback and an incident id, and the peer learns that id and nothing else; a call
that its client cancels is no error; bytes that are no message are FieldInvalid. Unary and stream
handlers alike, as long as they are async.

Leaves to others: authorization, validation, and which errors there are (errors, status.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from keypeg import status as statuses
from keypeg.errors import FieldInvalid, Internal, KeypegError

_LOG: Final = logging.getLogger(__name__)
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

# A handler's method, of any request, context (grpc.aio.ServicerContext) and response.
_Behavior = Callable[..., Any]


class RichStatus(grpc.Status):
    """What `abort_with_status` takes: a code, a sentence, and the details as trailing metadata."""

    def __init__(self, code: grpc.StatusCode, sentence: str, details: bytes) -> None:
        self.code = code
        self.details = sentence  # grpc's name for what google.rpc calls the message
        self.trailing_metadata = ((statuses.DETAILS_KEY, details),)


def rich_status(error: KeypegError) -> RichStatus:
    """The status of an error, with everything that `keypeg.status` packs into it."""
    status = statuses.to_status(error)
    return RichStatus(_CODES[status.code], status.message, status.SerializeToString())


def new_incident() -> str:
    """An id by which a failure is found in the log; random, 32 hexadecimal characters."""
    return uuid.uuid4().hex


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns what handlers raise into statuses; the outermost interceptor of a server.

    What an inner interceptor raises is turned as well. Handlers that are not async are left as they are.
    """

    def __init__(self, incident: Callable[[], str] = new_incident) -> None:
        self._incident = incident
        self._guards: dict[str, tuple[Any, Any]] = {}  # method: its handler, and that guarded

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method = handler_call_details.method
        try:
            handler = await continuation(handler_call_details)
        except Exception as raised:
            return self._refusing(raised, method)
        if handler is None:
            return None  # no such method: grpc answers UNIMPLEMENTED
        known = self._guards.get(method)
        if known is None or known[0] is not handler:
            self._guards[method] = known = (handler, self._guarded(handler, method))
        return known[1]

    def _guarded(self, handler: Any, method: str) -> Any:
        kind = METHOD_KINDS[handler.request_streaming, handler.response_streaming]
        behavior: _Behavior = getattr(handler, kind)
        read = handler.request_deserializer
        if inspect.isasyncgenfunction(behavior):
            guarded = self._guarded_generator(behavior, method)
        elif inspect.iscoroutinefunction(behavior):
            guarded = self._guarded_coroutine(behavior, method)
        else:
            return handler
        return METHOD_BUILDERS[kind](
            guarded,
            request_deserializer=read and _reading(read, streaming=handler.request_streaming),
            response_serializer=handler.response_serializer,
        )

    def _guarded_coroutine(self, behavior: _Behavior, method: str) -> _Behavior:
        async def guarded(request: Any, context: Any) -> Any:
            try:
                if isinstance(request, _Unreadable):
                    raise _unreadable()
                return await behavior(request, context)
            except Exception as raised:
                await self._abort(raised, context, method)

        return guarded

    def _guarded_generator(self, behavior: _Behavior, method: str) -> _Behavior:
        async def guarded(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                if isinstance(request, _Unreadable):
                    raise _unreadable()
                async with contextlib.aclosing(behavior(request, context)) as responses:
                    async for response in responses:
                        yield response
            except Exception as raised:
                await self._abort(raised, context, method)

        return guarded

    def _refusing(self, raised: Exception, method: str) -> Any:
        async def refuse(requests: Any, context: Any) -> AsyncIterator[Any]:
            await self._abort(raised, context, method)
            yield  # never reached: makes this the one kind of handler that refuses before it reads

        return grpc.stream_stream_rpc_method_handler(refuse)

    async def _abort(self, raised: Exception, context: Any, method: str) -> NoReturn:
        if isinstance(raised, grpc.aio.AbortError):
            raise raised  # the handler has ended the call itself
        if isinstance(raised, grpc.aio.InternalError):
            # A read or write failed since the call is over; nobody is there to tell.
            raise asyncio.CancelledError from raised
        if isinstance(raised, KeypegError):
            error = raised
        else:
            incident = self._incident()
            _LOG.error(
                "call failed", exc_info=raised, extra={"incident": incident, "method": method}
            )
            error = Internal(
                f"The server failed in a way that it did not foresee; its log has incident {incident}. "
                "Try again, and tell the server's operator when it stays.",
                incident=incident,
            )
        await context.abort_with_status(rich_status(error))
        raise AssertionError("abort_with_status always raises")


class _Unreadable:
    """Stands for a request whose bytes are no message: gRPC reads it before any handler could refuse."""


def _reading(read: Callable[[bytes], Any], *, streaming: bool) -> Callable[[bytes], Any]:
    """`read`, with the sender's fault told apart from ours. What a stream raises reaches its handler."""

    def reading(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError:
            if streaming:
                raise _unreadable() from None
            return _Unreadable()

    return reading


def _unreadable() -> FieldInvalid:
    what = "are not a message of this method"
    return FieldInvalid(
        f"The request cannot be read: its bytes {what}. Send one, or update the older of the two programs.",
        fields={"request": what},
    )


METHOD_KINDS: Final = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}
METHOD_BUILDERS: Final[dict[str, Callable[..., Any]]] = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "unary_stream": grpc.unary_stream_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}
