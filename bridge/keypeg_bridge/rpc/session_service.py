"""SessionService: frames in, frames out, one session a stream.

Promises: frames of a stream are taken one after the other; whatever ends the stream leaves its session to `sessions`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc.aio

from keypeg.errors import ProtocolViolation
from keypeg.v1 import session_service_pb2, session_service_pb2_grpc
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse
from keypeg_bridge.rpc import validate
from keypeg_bridge.rpc.outbox import Outbox
from keypeg_bridge.rpc.protocol import Event, Phase, after, frame
from keypeg_bridge.rpc.session import Session, Stream
from keypeg_bridge.rpc.sessions import Sessions

FIRST_FRAME_LIMIT: Final = 20.0
"""Seconds that a stream may stay without its first frame."""
Context = grpc.aio.ServicerContext[Any, Any]


class SessionService(session_service_pb2_grpc.SessionServiceServicer):
    """The service."""

    def __init__(self, sessions: Sessions, first_frame_limit: float = FIRST_FRAME_LIMIT) -> None:
        self._sessions = sessions
        self._first_frame_limit = first_frame_limit

    async def HoldSession(
        self, request_iterator: AsyncIterator[HoldSessionRequest], context: Context
    ) -> AsyncIterator[HoldSessionResponse]:
        """Hold a session."""
        stream: Stream = Outbox()
        reader = asyncio.ensure_future(self._read(request_iterator, stream))
        try:
            async with contextlib.aclosing(stream.frames()) as frames:
                async for answer in frames:
                    yield answer
        finally:
            stream.end()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def CloseSession(
        self, request: session_service_pb2.CloseSessionRequest, context: Context
    ) -> session_service_pb2.CloseSessionResponse:
        """End a session from outside."""
        validate.close_session(request.session, request.release_token)
        closed = self._sessions.close_by_token(request.session, request.release_token)
        return session_service_pb2.CloseSessionResponse(closed=closed)

    async def _read(self, requests: AsyncIterator[HoldSessionRequest], stream: Stream) -> None:
        """Take frames until the app's side ends."""
        session: Session | None = None
        late = asyncio.get_running_loop().call_later(
            self._first_frame_limit, stream.end, _too_late(self._first_frame_limit)
        )
        try:
            async for request in requests:
                late.cancel()
                event = frame(request.WhichOneof("frame"))
                if session is None:
                    session = await self._first(event, request, stream)
                else:
                    await self._next(session, event, request)
                if stream.ended:
                    return
        except Exception as error:  # the stream's boundary: raised again by its frames
            stream.end(error)
        finally:
            late.cancel()
            if session is not None:
                self._sessions.lost(session, stream)
            stream.end()

    async def _first(self, event: Event, request: HoldSessionRequest, stream: Stream) -> Session:
        after(Phase.NEW, event)
        if event is Event.OPEN:
            validate.open_frame(request.open)
            return await self._sessions.open(request.open, stream)
        validate.resume_frame(request.resume)
        return await self._sessions.resume(request.resume, stream)

    async def _next(self, session: Session, event: Event, request: HoldSessionRequest) -> None:
        match event:
            case Event.RENEW:
                validate.renew_frame(request.renew)
                await self._sessions.renew(session, request.renew)
            case Event.ACQUIRE:
                await self._sessions.acquire(session, request.acquire)
            case Event.RELEASE:
                await self._sessions.release(session, request.release)
            case Event.CLOSE:
                await self._sessions.close(session, request.close)
            case _:
                after(session.phase, event)
                raise ProtocolViolation("This frame may not come now.", frame=event.value)


def _too_late(limit: float) -> ProtocolViolation:
    return ProtocolViolation(
        f"No frame came within {limit:g} s. Send open or resume right away.", frame=""
    )
