"""Frames out of an outbox and onto a stream of gRPC's, without a task for each.

Promises: one write at a time, in order; what is pushed while nothing is written goes out in the same turn of the
loop; when the outbox has ended and is empty, `ended` is called.

Leaves to others: what is in the outbox (service/outbox.py), reading (session_service.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import grpc.aio

from keypeg.v1.session_service_pb2 import HoldSessionResponse
from keypeg_server.rpc.turns import Turn
from keypeg_server.service.outbox import Outbox

BEHIND: Final = 16  # frames that wait to be written: far more than a session that reads has at once

# The stream is gone, or the server stops: whoever reads the stream finds that too.
_GONE: Final = (grpc.aio.BaseError, asyncio.InvalidStateError, asyncio.CancelledError)


class FrameWriter:
    """Writes one stream's outbox.

    gRPC writes by a coroutine that waits for one future. It is stepped here, by that future's callback: a task
    for each frame would cost more than all that is decided about it, and a reader that waits for its answers to be
    written reads later.
    """

    __slots__ = ("_closed", "_ended", "_idle", "_outbox", "_stepping", "_turn", "_write")

    def __init__(
        self,
        write: Callable[[HoldSessionResponse], Coroutine[Any, Any, None]],
        outbox: Outbox,
        ended: Callable[[], None],
        turn: Turn,
    ) -> None:
        self._write = write
        self._outbox = outbox
        self._ended = ended
        self._turn = turn
        self._stepping = False  # a write is under way
        self._closed = False  # nothing more is begun
        self._idle: asyncio.Future[None] | None = None  # of who waits for the writing to end

    def wake(self) -> None:
        """There is something in the outbox, or it has ended."""
        if not self._stepping and not self._closed:
            self._stepping = True
            self._turn.goes(self._go_on)

    @property
    def behind(self) -> bool:
        """Whether the reader had better wait: the other side sends more than it reads."""
        return self._outbox.count >= BEHIND

    async def caught_up(self) -> None:
        """Return when all is written; or never, when the reader is told to stop."""
        if self._stepping:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    async def close(self) -> None:
        """Begin no more, and return when what is being written is, or its stream has ended: gRPC takes no status in the middle."""
        self._closed = True
        await self.caught_up()

    def forget(self) -> None:
        """After `close`: keep nobody alive."""
        self._ended = _nobody

    def _go_on(self) -> None:
        frame = self._outbox.pop()
        while frame is not None:
            writing = self._write(frame)
            if not self._step(writing):
                return
            frame = self._outbox.pop()
        self._stand_by()

    def _step(self, writing: Coroutine[Any, Any, None]) -> bool:
        """Run a write until it waits; whether it is done."""
        try:
            waits_for = writing.send(None)
        except StopIteration:
            return True
        except _GONE:
            self._closed = True
            self._stop_stepping()
            return False
        # What a task does with what its coroutine waits for.
        waits_for._asyncio_future_blocking = False
        waits_for.add_done_callback(lambda _: self._wrote(writing))
        return False

    def _wrote(self, writing: Coroutine[Any, Any, None]) -> None:
        if self._step(writing):
            self._go_on()

    def _stand_by(self) -> None:
        self._stop_stepping()
        if self._outbox.ended:
            self._ended()

    def _stop_stepping(self) -> None:
        self._stepping = False
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)


def _nobody() -> None:
    pass
