"""Interceptors as one, asked once for each method.

Promises: a handler is what the interceptors make of it, in their order; once made it is kept for as long as
the server lives, unless one of them has raised or there is no such method. grpc.aio asks a row of interceptors anew for each call, with a coroutine for each of them.

Leaves to others: what the interceptors do. They must make the same of a method each time, as those here do.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import grpc.aio

_Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class Composed(grpc.aio.ServerInterceptor):
    """The only interceptor of a server."""

    def __init__(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        began: Callable[[str], None] | None = None,
    ) -> None:
        """`began` hears of each call of a method that is there, in the task that serves it."""
        self._interceptors = tuple(interceptors)
        self._began = began
        self._made: dict[str, Any] = {}  # by method

    async def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        made = self._made.get(handler_call_details.method)
        if made is None:
            made = await self._make(continuation, handler_call_details)
        if self._began is not None and made is not None:
            self._began(handler_call_details.method)
        return made

    async def _make(self, continuation: _Continuation, details: grpc.HandlerCallDetails) -> Any:
        handlers: list[Any] = []  # what each interceptor gave, the innermost first

        async def asked(ask: _Continuation, about: grpc.HandlerCallDetails) -> Any:
            handler = await ask(about)
            handlers.append(handler)
            return handler

        made_of: _Continuation = functools.partial(asked, continuation)
        for interceptor in reversed(self._interceptors):
            ask = functools.partial(interceptor.intercept_service, made_of)
            made_of = functools.partial(asked, ask)
        made = await made_of(details)
        # Not kept: methods that are not there, of which anyone can name any number, and refusals.
        if None not in handlers and len(handlers) == len(self._interceptors) + 1:
            self._made[details.method] = made
        return made
