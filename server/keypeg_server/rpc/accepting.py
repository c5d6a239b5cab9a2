"""A gRPC server that accepts many calls at a time.

grpc.aio asks the library for one call, and for the next when it has taken that one to the event loop: calls that
come together enter one by one, each after a trip to gRPC's own thread and back, and their operations reach the
disk in batches of a few. Here SLOTS are asked for at any time, so that those which came meanwhile enter together.

Promises: the same server otherwise: each call is served once, and which were not served when it stops, their
clients hear so. Where the library is not built as this needs it, its own server is used as it is.

Leaves to others: serving the calls (grpc.aio), the server's options (limits.py), its port (listening.py).
"""

from __future__ import annotations

import asyncio
import importlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc
import grpc.aio
from grpc.aio._server import (  # pyright: ignore[reportMissingImports]  # not in its types
    Server as _LibraryServer,
)

from keypeg_server.rpc.limits import Options

_LIBRARY: Final[Any] = importlib.import_module("grpc._cython.cygrpc")  # compiled, without types
SLOTS: Final = 64  # some KiB each; more than come in one turn of a busy loop

_Asked = asyncio.Future[Any]  # ends with a call


class Slots:
    """Calls that were asked for, and those of them that came and are not served yet."""

    def __init__(self, ask: Callable[[], _Asked], count: int) -> None:
        """`ask` asks for one more call; what it gives fails when the server stops."""
        self._ask = ask
        self._asked: set[_Asked] = set()  # the library holds on to none of them
        self._came: deque[_Asked] = deque()
        self._waiting: _Asked | None = None
        for _ in range(count):
            self._open()

    def next(self) -> _Asked:
        """The call that came first, or the next that comes; asked for again only when this has ended."""
        if self._came:
            return self._came.popleft()
        self._waiting = asyncio.get_running_loop().create_future()
        return self._waiting

    def _open(self) -> None:
        asked = self._ask()
        self._asked.add(asked)
        asked.add_done_callback(self._ended)

    def _ended(self, asked: _Asked) -> None:
        self._asked.discard(asked)
        error = None if asked.cancelled() else asked.exception()
        waiting, self._waiting = self._waiting, None
        if waiting is None or waiting.done():
            self._came.append(asked)
        elif asked.cancelled():
            waiting.cancel()
        elif error is not None:
            waiting.set_exception(error)
        else:
            waiting.set_result(asked.result())
        if error is None and not asked.cancelled():
            self._open()


class _Accepting(_LIBRARY.AioServer):  # type: ignore[misc]  # of no type
    """The library's server with more slots, all for any method."""

    _slots: Slots | None = None

    def add_registered_method_handlers(self, handlers: dict[str, Any]) -> None:
        """Nothing: each registered method would have slots of its own, and all be looked at for each call.

        The same handlers are there as generic ones.
        """

    def _make_request_call_future(self, method: bytes | None) -> _Asked:
        ask: Callable[[Any], _Asked] = super()._make_request_call_future
        if self._slots is None:
            self._slots = Slots(lambda: ask(method), SLOTS)
        return self._slots.next()


class _Server(_LibraryServer):
    def __init__(
        self, interceptors: Sequence[grpc.aio.ServerInterceptor], options: Options
    ) -> None:
        # Instead of the constructor that it inherits, which makes the library's own.
        self._loop = _LIBRARY.get_working_loop()
        self._server = _Accepting(self._loop, None, (), tuple(interceptors), tuple(options), None)


def possible() -> bool:
    """Whether the library is built as this needs it; since grpcio 1.76 or so."""
    return hasattr(_LIBRARY.AioServer, "_make_request_call_future")


def server(interceptors: Sequence[grpc.aio.ServerInterceptor], options: Options) -> grpc.aio.Server:
    """A server that is not started yet."""
    if possible():
        try:
            made: grpc.aio.Server = _Server(interceptors, options)  # type: ignore[assignment]  # it is one
            return made
        except TypeError:  # made in another way by now
            pass
    return grpc.aio.server(interceptors=interceptors, options=options)
