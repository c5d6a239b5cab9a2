"""SessionService: frames off and onto the stream; nothing is decided here.

Promises: who does not read is read no further, and cut off in time: the session goes on without the stream, which costs no
more memory, and ends with the reason when its app reads on. The handler ends when either side ends
the stream, and the session hears of it. No task and no log per frame.

Leaves to others: what frames mean (service/conversation.py), writing them (frame_writer.py), statuses
(keypeg.serving), who calls (caller.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio

from keypeg.errors import FieldInvalid, KeypegError, TimedOut
from keypeg.v1 import session_service_pb2
from keypeg.v1.session_service_pb2 import HoldSessionRequest
from keypeg.v1.session_service_pb2_grpc import SessionServiceServicer
from keypeg_server.domain.caller import Caller
from keypeg_server.rpc import validate
from keypeg_server.rpc.frame_writer import FrameWriter
from keypeg_server.rpc.peer import address_of
from keypeg_server.rpc.quotas import FRAMES_AT_ONCE
from keypeg_server.rpc.turns import Turn
from keypeg_server.service.sessions import Sessions

Context = grpc.aio.ServicerContext  # generic for the type checker only

HOLD_SESSION: Final = "/keypeg.v1.SessionService/HoldSession"
FIRST_FRAME_TIME = 30.0  # seconds: a stream without a session has no deadline that would end it
UNREAD_TIME = (
    30.0  # seconds in which who asks has to read an answer; nothing more is read of them meanwhile
)


def _never() -> float:
    return 0.0


@dataclass(frozen=True)
class Bounds:
    """What a user's streams are held to; nothing, unless it is given (rpc/quotas.py, rpc/refusing.py)."""

    frames: Callable[[str], Callable[[], float]] = lambda _user: _never
    """For a stream more: after every FRAMES_AT_ONCE of it, the seconds to wait before more are read."""
    openings: Callable[[str], float] = lambda _user: 0.0
    """A session more: the seconds to wait before it is opened."""
    tell: Callable[[KeypegError, str, str, Any], None] = lambda _error, _method, _user, _context: (
        None
    )
    """Say in the log why a stream ends whose app cannot be told yet."""


class _Stream:
    """Takes frames, writes what is in the outbox, and stops the reader when the stream is to end."""

    __slots__ = ("_reader", "conversation", "failure", "stopped", "writer")

    def __init__(
        self,
        context: Context[Any, Any],
        sessions: Sessions,
        caller: Caller,
        reader: asyncio.Task[Any],
        turn: Turn,
    ) -> None:
        self._reader = reader
        self.stopped = False  # the reader was told to stop, by us and not by gRPC
        self.failure: Exception | None = None  # of the server, in taking a frame
        self.conversation = sessions.converse(caller, self._wake, address_of(context))
        self.writer = FrameWriter(context.write, self.conversation.outbox, self._stop, turn)

    def take(self, request: HoldSessionRequest) -> None:
        """A frame that came; its answer, and what it ends the stream with, go to the outbox."""
        conversation = self.conversation
        try:
            try:
                validate.frame(request)
                answer = conversation.receive(request)
            except FieldInvalid as error:
                answer = conversation.refuse(request, error)
            if answer is not None:
                conversation.outbox.push(answer)
        except KeypegError as error:
            conversation.outbox.end(error)
        except Exception as error:
            self.failure = error
            self._stop()

    async def caught_up(self) -> None:
        """Return when what waits to be read is; cut the stream off when that takes too long."""
        try:
            async with asyncio.timeout(UNREAD_TIME):
                await self.writer.caught_up()
        except TimeoutError:
            self.conversation.outbox.cut()
            await asyncio.get_running_loop().create_future()  # until the reader hears of it

    def _wake(self) -> None:
        if self.conversation.outbox.cut_off:
            self._stop()
        else:
            self.writer.wake()

    def _stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self._reader.cancel()

    async def close(self) -> None:
        """The handler is over: let what is being written end, and leave no cycle for the garbage collector."""
        self.stopped = True
        try:
            await self.writer.close()
        finally:
            self.conversation.outbox.close()
            self.writer.forget()


class SessionService(SessionServiceServicer):
    """The service, on sessions."""

    def __init__(
        self,
        sessions: Sessions,
        caller: Callable[[], Caller],
        bounds: Bounds = Bounds(),
    ) -> None:
        """`caller` gives who calls (rpc/caller.py: current)."""
        self._sessions = sessions
        self._bounds = bounds
        self._caller = caller
        self._turn = Turn()
        self._waited = asyncio.Lock()

    async def HoldSession(  # type: ignore[override]  # a handler that writes; generated for one that yields
        self, request_iterator: Any, context: Context[Any, Any]
    ) -> None:
        """See the contract."""
        reader = asyncio.current_task()
        assert reader is not None
        turn, bounds = self._turn, self._bounds
        caller = self._caller()
        stream, user = _Stream(context, self._sessions, caller, reader, turn), caller.user
        conversation, writer, take = stream.conversation, stream.writer, stream.take
        read = context.read
        try:
            try:
                async with asyncio.timeout(FIRST_FRAME_TIME):
                    request = await read()
            except TimeoutError:
                raise _silent() from None
            if request is grpc.aio.EOF:
                return
            validate.frame(request)
            if request.WhichOneof("frame") == "open" and (wait := bounds.openings(user)):
                await self._wait(wait)
            await conversation.begin(request)
            count, frames = 0, bounds.frames(user)
            while True:
                request = await read()
                count += 1
                if count == FRAMES_AT_ONCE:
                    count = 0
                    if wait := frames():
                        await asyncio.sleep(wait)  # and the other side, as it is not read
                if request is grpc.aio.EOF:
                    turn.run()  # what came before
                    if not conversation.closing:
                        return
                    await asyncio.get_running_loop().create_future()  # until `closed` is written
                turn.came(take, request)
                if writer.behind:
                    await stream.caught_up()
        except asyncio.CancelledError:
            if not stream.stopped:
                raise  # gRPC's own: the client has gone, or the server stops
            reader.uncancel()
            if stream.failure is not None:
                raise stream.failure from None
            error = conversation.outbox.error
            if error is not None:
                if conversation.outbox.cut_off:
                    bounds.tell(error, HOLD_SESSION, user, context)
                raise error from None
        finally:
            conversation.left()
            await stream.close()

    async def _wait(self, seconds: float) -> None:
        """Until a session may be opened; of those that are due together, each in another turn of the event loop."""
        await asyncio.sleep(seconds)
        async with self._waited:
            await asyncio.sleep(0)

    async def CloseSession(
        self, request: session_service_pb2.CloseSessionRequest, context: Context[Any, Any]
    ) -> session_service_pb2.CloseSessionResponse:
        """See the contract."""
        closed = await self._sessions.close(request.session, request.release_token)
        return session_service_pb2.CloseSessionResponse(closed=closed)


def _silent() -> TimedOut:
    return TimedOut(
        f"No frame came within {FIRST_FRAME_TIME:g} s; begin with open or resume, right after connecting."
    )
