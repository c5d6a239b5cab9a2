"""The call that carries a session: writing to it, what ended it, and closing a session without one.

Promises: nothing here waits longer than it is told to, or than the call lasts.

Leaves to others: the session (stream_driver), channels (line).
"""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import grpc.aio

from keypeg import calls
from keypeg.errors import Internal, KeypegError, Unreachable
from keypeg.session_frames import Held
from keypeg.v1 import session_service_pb2, session_service_pb2_grpc
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse

Call = grpc.aio.StreamStreamCall[HoldSessionRequest, HoldSessionResponse]


def what_ended(raised: grpc.aio.AioRpcError) -> KeypegError:
    """The error of a stream. INTERNAL without a word of ours is gRPC's own for a write that found no connection."""
    error = calls.translate(raised)
    if isinstance(error, Internal) and raised.code().name == error.metadata.get("code"):
        return Unreachable(
            "The connection broke while something was sent; check the other side's address, and that it runs."
        )
    return error


async def write(call: Call, outgoing: asyncio.Queue[HoldSessionRequest]) -> None:
    """Writes until the stream ends; what ended it, the reader sees."""
    with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
        while True:
            await call.write(await outgoing.get())


async def close_from_outside(server: str, ca: bytes, held: Held | None, within: float) -> None:
    """One try, of so many seconds, to tell a server with which there is no stream."""
    if held is None or not held.release_token:
        return
    request = session_service_pb2.CloseSessionRequest(
        session=held.session, release_token=held.release_token
    )
    async with calls.connect(server, ca=ca or None) as channel:
        stub = session_service_pb2_grpc.SessionServiceStub(channel)
        with contextlib.suppress(grpc.RpcError):
            await stub.CloseSession(request, timeout=within)
