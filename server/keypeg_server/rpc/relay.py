"""Carrying calls to the home of their account: the innermost interceptor of a server among several.

Promises: a call that belongs here is served here, for its parent; any other is carried to the home as it is, with
its time, metadata and the client's address, and its answers, status and details come back unchanged. Either side
that ends a call ends it on the other. A call that can be repeated waits out a takeover; a stream ends
with UNAVAILABLE and when to come again. What was carried here is never carried on. Clients that can follow
(metadata `keypeg-follow`) are told the home's address instead.

Leaves to others: who may call (gate.py, before this, and again at the home), whose home it is (service/cluster.py),
how a call names its parent (routes.py), carrying one call (carrying.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, NoReturn

import grpc
import grpc.aio

from keypeg.errors import Elsewhere, KeypegError, Unreachable
from keypeg.serving import METHOD_BUILDERS, METHOD_KINDS, rich_status
from keypeg_server.domain.caller import Caller
from keypeg_server.rpc import relayed, routes
from keypeg_server.rpc.carrying import FOLLOW, NOT_HOME, Carrier, Gone, NotHome
from keypeg_server.rpc.parents import Routes
from keypeg_server.rpc.peers import Peers
from keypeg_server.rpc.relayed import Seal
from keypeg_server.rpc.routes import By, Route
from keypeg_server.service.homes import Finder, Here, There
from keypeg_server.service.homes_port import acting_for
from keypeg_server.service.refusals import draining, elsewhere

PATIENCE: Final = (
    6.0  # seconds that a call waits for a home that does not answer; a takeover takes less
)
WAITING: Final = 2_000  # calls that wait so; more are refused at once
TURNS: Final = 32  # how often a home may turn out to be another one, for one call
FIRST_FRAME_TIME: Final = 2.0  # seconds that a refusal waits for it
AGAIN_AFTER: Final = timedelta(milliseconds=250)


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
        self._carrier = Carrier(seal)
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
        self._carrier.drain()

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
        denied = None
        for _ in range(TURNS):
            where = await self._finder.find(parent)
            if isinstance(where, Here):
                return await self._serve(parent, where, behavior(request, context))
            if carried:
                await self._not_home(parent, context)
            _check_follower(parent, where, context)
            peer = self._peers.get(where.node, where.address)
            try:
                return await self._carrier.unary(peer, method, request.SerializeToString(), context)
            except NotHome:
                self._finder.not_there(parent, where)
                # Again the same: it was started anew there, and who was there before is yet to be found dead.
                if where == denied:
                    await self._wait(where, ends - loop.time(), context)
                denied = where
            except Gone:
                await self._wait(where, ends - loop.time(), context)
        raise unreachable(parent)

    async def _anywhere_else(self, method: str, request: Any, answer: Any, context: Any) -> Any:
        """A session without seats is in the memory of one server: ask them all, until one has it."""
        for there in [] if answer.closed else self._others():
            peer = self._peers.get(there.node, there.address)
            with contextlib.suppress(NotHome, Gone, KeypegError):
                said = await self._carrier.unary(peer, method, request.SerializeToString(), context)
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
                await self._carrier.stream(peer, method, kind, one, context)
            except NotHome:
                self._finder.not_there(parent, where)
            except Gone:
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
        if self._carrier.draining:
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

    # Both.

    def _origin(self, method: str, context: Any) -> bool:
        """Whether another server carried this call here; then its client is where that one says."""
        address = self._seal.address(method, context.invocation_metadata() or ())
        if address is None:
            return False
        relayed.came_from(address)
        return True

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


async def _heard(context: Any) -> None:
    """Wait for what a client sends first: gRPC's own clients lose a status that comes while they send."""
    with contextlib.suppress(TimeoutError, grpc.aio.BaseError, KeypegError):
        async with asyncio.timeout(FIRST_FRAME_TIME):
            await context.read()


async def _all_of(behavior: Any, request: Any, context: Any) -> None:
    """Serve a stream, whichever way its handler is written."""
    if not inspect.isasyncgenfunction(behavior):
        await behavior(request, context)
        return
    responses: AsyncIterator[Any] = behavior(request, context)
    async with contextlib.aclosing(responses) as found:  # type: ignore[type-var]  # a generator
        async for response in found:
            await context.write(response)
