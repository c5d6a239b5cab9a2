"""Carrying calls to the home of their account: the innermost interceptor of a server among several.

Promises: a call that belongs here is served here, for its parent; any other is carried to the home as it is, with
its time, metadata and the client's address, and its answers, status and details come back unchanged. Either side
that ends a call ends it on the other. A call that can be repeated waits out a takeover; a stream ends
with UNAVAILABLE and when to come again. What was carried here is never carried on. Clients that can follow
(metadata `keypeg-follow`) are told the home's address instead.

Leaves to others: who may call (gate.py, before this, and again at the home), whose home it is (service/homes.py),
how a call names its parent (routes.py), channels (peers.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, Final, NoReturn

import grpc
import grpc.aio

from keypeg.errors import Elsewhere, KeypegError, Unreachable
from keypeg.serving import METHOD_BUILDERS, METHOD_KINDS, rich_status
from keypeg.status import DETAILS_KEY
from keypeg_server.domain.caller import Caller
from keypeg_server.rpc import relayed, routes
from keypeg_server.rpc.peer import address_of
from keypeg_server.rpc.peers import Peer, Peers
from keypeg_server.rpc.relayed import Seal
from keypeg_server.rpc.routes import By, Route, Routes
from keypeg_server.service.homes import Finder, Here, There
from keypeg_server.service.homes_port import acting_for
from keypeg_server.service.refusals import draining, elsewhere

FOLLOW: Final = "keypeg-follow"
NOT_HOME: Final = "keypeg-not-home"  # in the trailing metadata of whoever was asked in vain

PATIENCE: Final = (
    6.0  # seconds that a call waits for a home that does not answer; a takeover takes less
)
WAITING: Final = 2_000  # calls that wait so; more are refused at once
TURNS: Final = 8  # how often a home may turn out to be another one, for one call
FIRST_FRAME_TIME: Final = 2.0  # seconds that a refusal waits for it
AGAIN_AFTER: Final = timedelta(milliseconds=250)

# What belongs to one connection, and is made anew for the next; the header is ours alone.
_OWN: Final = frozenset({"user-agent", "content-type", "te", relayed.HEADER, FOLLOW})

Metadata = Iterable[tuple[str, Any]]


class _NotHome(Exception):
    """Who was asked does not serve this parent."""


class _Gone(Exception):
    """Who was asked does not answer any more."""


class Relay(grpc.aio.ServerInterceptor):
    """Comes right after the gate."""

    def __init__(
        self,
        finder: Finder,
        found: Routes,
        peers: Peers,
        seal: Seal,
        caller: Callable[[], Caller | None],
        others: Callable[[], list[There]] = list,
    ) -> None:
        """`caller` gives who calls, None for who need not be known; `others` all servers but this."""
        self._finder = finder
        self._routes = found
        self._peers = peers
        self._seal = seal
        self._caller = caller
        self._others = others
        self._waiting = 0
        self._carried: set[Any] = set()  # streams that are carried at the moment
        self._draining = False
        self._wrapped: dict[str, tuple[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        route = routes.TABLE.get(method)
        if handler is None or route is None or route.by is By.ANYWHERE:
            return handler
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            self._wrapped[method] = known = (handler, self._relaying(handler, method, route))
        return known[1]

    def drain(self) -> None:
        """End the streams that are carried, for this server ends: their clients begin anew elsewhere."""
        self._draining = True
        for call in tuple(self._carried):
            call.cancel()

    def _relaying(self, handler: Any, method: str, route: Route) -> Any:
        kind = METHOD_KINDS[handler.request_streaming, handler.response_streaming]
        behavior = getattr(handler, kind)
        serialize = handler.response_serializer

        async def unary(request: Any, context: Any) -> Any:
            return await self._unary(method, route, behavior, request, context)

        async def stream(request: Any, context: Any) -> None:
            await self._stream(method, route, kind, behavior, request, context)

        return METHOD_BUILDERS[kind](
            unary if kind == "unary_unary" else stream,
            request_deserializer=handler.request_deserializer,
            # What another server answered is bytes already.
            response_serializer=lambda one: one if type(one) is bytes else serialize(one),
        )

    # Unary calls.

    async def _unary(
        self, method: str, route: Route, behavior: Any, request: Any, context: Any
    ) -> Any:
        carried = self._origin(method, context)
        parent = await self._routes.parent(route, request, self._caller())
        if parent is None:
            answer = await behavior(request, context)
            if route.by is By.SESSION and not carried:
                return await self._anywhere_else(method, request, answer, context)
            return answer
        loop = asyncio.get_running_loop()
        ends = loop.time() + PATIENCE
        for _ in range(TURNS):
            where = await self._finder.find(parent)
            if isinstance(where, Here):
                return await self._serve(parent, where, behavior(request, context))
            if carried:
                await self._not_home(parent, context)
            _check_follower(parent, where, context)
            peer = self._peers.get(where.node, where.address)
            try:
                return await self._carry(peer, method, request.SerializeToString(), context)
            except _NotHome:
                self._finder.not_there(parent, where)
            except _Gone:
                await self._wait(where, ends - loop.time(), context)
        raise unreachable(parent)

    async def _carry(self, peer: Peer, method: str, request: bytes, context: Any) -> bytes:
        """One call at the home; `_Gone` when it did not answer, its own status when it refused."""
        with peer.line() as line:
            call = line.method("unary_unary", method)(
                request,
                timeout=context.time_remaining(),
                metadata=self._metadata(method, context),
            )
            try:
                answer: bytes = await call
            except asyncio.CancelledError:
                if _own_cancellation():
                    raise
                raise _Gone from None  # the channel was closed: the peer is gone
            except grpc.aio.AioRpcError as error:
                await self._refused(
                    peer, error.code(), error.details(), error.trailing_metadata(), context
                )
            peer.failing = False
            return answer

    async def _anywhere_else(self, method: str, request: Any, answer: Any, context: Any) -> Any:
        """A session without seats is in the memory of one server: ask them all, until one has it."""
        for there in [] if answer.closed else self._others():
            peer = self._peers.get(there.node, there.address)
            with contextlib.suppress(_NotHome, _Gone, KeypegError):
                said = await self._carry(peer, method, request.SerializeToString(), context)
                answer = type(answer).FromString(said)
                if answer.closed:
                    break
        return answer

    # Streams.

    async def _stream(
        self, method: str, route: Route, kind: str, behavior: Any, request: Any, context: Any
    ) -> None:
        one = None if kind.startswith("stream") else request
        try:
            parent, where = await self._place(method, route, one, context)
        except KeypegError:
            if one is None:
                await _heard(context)
            raise
        if isinstance(where, There):
            peer = self._peers.get(where.node, where.address)
            try:
                await self._carry_stream(peer, method, kind, one, context)
            except _NotHome:
                self._finder.not_there(parent, where)
            except _Gone:
                pass
            else:
                return
            raise unreachable(parent)  # what was read is gone with it: the client begins anew
        work = _all_of(behavior, request, context)
        await (work if where is None else self._serve(parent, where, work))

    async def _place(
        self, method: str, route: Route, request: Any, context: Any
    ) -> tuple[str, Here | There | None]:
        """For whom a stream is, and where it is served; None for anywhere. `request` if there is one."""
        if self._draining:
            raise draining()
        carried = self._origin(method, context)
        parent = await self._routes.parent(route, request, self._caller())
        if parent is None:
            return "", None
        ends = asyncio.get_running_loop().time() + PATIENCE
        for _ in range(TURNS):
            where = await self._finder.find(parent)
            if isinstance(where, Here):
                return parent, where
            if carried:
                await self._not_home(parent, context)
            _check_follower(parent, where, context)
            peer = self._peers.get(where.node, where.address)
            if not peer.failing:
                return parent, where
            peer.failing = False  # tried again after the wait, if it is still there
            await self._wait(where, ends - asyncio.get_running_loop().time(), context)
        raise unreachable(parent)

    async def _carry_stream(
        self, peer: Peer, method: str, kind: str, request: Any, context: Any
    ) -> None:
        """Carry frames both ways until one side ends; as slow as the slower side reads."""
        with peer.line() as line:
            options = {
                "timeout": context.time_remaining(),
                "metadata": self._metadata(method, context),
            }
            call = (
                line.method(kind, method)(**options)
                if request is None
                else line.method(kind, method)(request.SerializeToString(), **options)
            )
            up = asyncio.ensure_future(_up(context, call)) if request is None else None
            self._carried.add(call)
            try:
                while (answer := await call.read()) is not grpc.aio.EOF:
                    peer.failing = False
                    await context.write(answer)
                code = await call.code()
                if code is not grpc.StatusCode.OK:
                    await self._refused(
                        peer, code, await call.details(), await call.trailing_metadata(), context
                    )
            except asyncio.CancelledError:
                if _own_cancellation():
                    raise
                if up is not None and up.done() and (error := up.exception()) is not None:
                    raise error from None  # what the client sent can not be read
                if self._draining:
                    raise draining() from None
                raise _Gone from None
            except grpc.aio.AioRpcError as error:
                await self._refused(
                    peer, error.code(), error.details(), error.trailing_metadata(), context
                )
            finally:
                self._carried.discard(call)
                call.cancel()
                if up is not None:
                    up.cancel()
                    await asyncio.wait((up,))

    # Both.

    def _origin(self, method: str, context: Any) -> bool:
        """Whether another server carried this call here; then its client is where that one says."""
        address = self._seal.address(method, context.invocation_metadata() or ())
        if address is None:
            return False
        relayed.came_from(address)
        return True

    def _metadata(self, method: str, context: Any) -> list[tuple[str, Any]]:
        kept: list[tuple[str, Any]] = [
            (key, value)
            for key, value in context.invocation_metadata() or ()
            if key not in _OWN and not key.startswith((":", "grpc-"))
        ]
        kept.append((relayed.HEADER, self._seal.header(method, address_of(context))))
        return kept

    async def _serve(self, parent: str, here: Here, work: Awaitable[Any]) -> Any:
        """Serve a call here; what is refused while the home goes elsewhere says only that."""
        with acting_for(parent):
            try:
                return await work
            except KeypegError:
                if self._finder.here(parent) != here.epoch:
                    raise elsewhere(parent) from None
                raise

    async def _not_home(self, parent: str, context: Any) -> NoReturn:
        status = rich_status(unreachable(parent))
        status.trailing_metadata = (*status.trailing_metadata, (NOT_HOME, "1"))
        await context.abort_with_status(status)
        raise AssertionError("abort_with_status always raises")

    async def _refused(
        self, peer: Peer, code: Any, details: str | None, trailing: Metadata | None, context: Any
    ) -> NoReturn:
        """What the home said, word for word; an exception of this module when the client is not to hear it."""
        said = tuple(trailing or ())
        if any(key == NOT_HOME for key, _ in said):
            raise _NotHome
        if code in _BROKEN and not any(key == DETAILS_KEY for key, _ in said):
            peer.failing = True
            raise _Gone
        status = _Status()
        status.code, status.details = code, details or ""
        status.trailing_metadata = tuple(
            (key, value)
            for key, value in said
            if not key.startswith(("grpc-status", "grpc-message")) or key == DETAILS_KEY
        )
        await context.abort_with_status(status)
        raise AssertionError("abort_with_status always raises")

    async def _wait(self, there: There, patience: float, context: Any) -> None:
        """Wait until whoever did not answer is gone, or answers again."""
        left = context.time_remaining()
        patience = patience if left is None else min(patience, left - 0.1)
        if patience <= 0 or self._waiting >= WAITING:
            raise unreachable(there.address)
        self._waiting += 1
        try:
            # Now and then the home itself is asked again: only the connection may have broken.
            await self._finder.changed(there, min(patience, 1.0))
        finally:
            self._waiting -= 1


class _Status(grpc.Status):
    """A status that is passed on."""

    code: Any
    details: Any
    trailing_metadata: Any


_BROKEN: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def unreachable(parent: str) -> Unreachable:
    """The refusal for a home that does not answer, and that nobody has taken yet."""
    return Unreachable(
        f"The server that answers for {parent} is away at the moment; try again shortly.",
        retry_after=AGAIN_AFTER,
    )


def _check_follower(parent: str, there: There, context: Any) -> None:
    for key, value in context.invocation_metadata() or ():
        if key == FOLLOW and value in ("1", b"1"):
            raise Elsewhere(
                f"{there.address} answers for {parent}; call it there.",
                server=there.address,
                parent=parent,
            )


def _own_cancellation() -> bool:
    """Whether the cancellation that is being handled is this task's own, not that of a call it made."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _heard(context: Any) -> None:
    """Wait for what a client sends first: gRPC's own clients lose a status that comes while they send."""
    with contextlib.suppress(TimeoutError, grpc.aio.BaseError, KeypegError):
        async with asyncio.timeout(FIRST_FRAME_TIME):
            await context.read()


async def _up(context: Any, call: Any) -> None:
    """Carry what the client sends."""
    try:
        while (request := await context.read()) is not grpc.aio.EOF:
            await call.write(request.SerializeToString())
        await call.done_writing()
    except (grpc.aio.BaseError, grpc.RpcError, asyncio.InvalidStateError):
        return  # the call has ended, as who reads its answers finds, too
    except Exception:
        call.cancel()
        raise


async def _all_of(behavior: Any, request: Any, context: Any) -> None:
    """Serve a stream, whichever way its handler is written."""
    if not inspect.isasyncgenfunction(behavior):
        await behavior(request, context)
        return
    responses: AsyncIterator[Any] = behavior(request, context)
    async with contextlib.aclosing(responses) as found:  # type: ignore[type-var]  # a generator
        async for response in found:
            await context.write(response)
