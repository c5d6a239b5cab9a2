"""The services of a stand-in host: what gRPC calls, turned into sessions and back.

Promises: nothing is decided here; errors leave as statuses with their reasons.

Leaves to others: the rules and the scripts (testing.host, testing.sessions).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from keypeg import errors
from keypeg.errors import KeypegError
from keypeg.testing.launch_services import launch_handlers
from keypeg.testing.sessions import Out, StandInSession
from keypeg.v1 import (
    account_service_pb2,
    cloud_session_pb2,
    cloud_session_service_pb2,
    session_service_pb2,
    session_service_pb2_grpc,
)
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse

if TYPE_CHECKING:
    from keypeg.testing.host import StandInHost

_Context = grpc.aio.ServicerContext[Any, Any]


class SessionServicer(session_service_pb2_grpc.SessionServiceServicer):
    def __init__(self, host: StandInHost) -> None:
        self._host = host

    async def HoldSession(  # noqa: N802 (the contract's name)
        self, request_iterator: AsyncIterator[HoldSessionRequest], context: _Context
    ) -> AsyncIterator[HoldSessionResponse]:
        metadata = dict(context.invocation_metadata() or ())
        self._host.tokens.append(
            str(metadata["authorization"]) if "authorization" in metadata else None
        )
        follows = metadata.get("keypeg-follow") == "1"
        self._host.following.append(follows)
        if follows and self._host.home:
            raise errors.Elsewhere(
                f"The server at {self._host.home} answers for this account.",
                server=self._host.home,
            )
        out: Out = asyncio.Queue()
        first = await anext(request_iterator)
        self._host.received.append(first)
        self._host.noticed()
        session = self._host.opened(first, out)
        reader = asyncio.create_task(self._read(session, out, request_iterator))
        try:
            async for response in _answers(out, self._host):
                yield response
        finally:
            reader.cancel()
            if session.out is out:
                session.out = None
            self._host.noticed()

    async def CloseSession(  # noqa: N802 (the contract's name)
        self, request: session_service_pb2.CloseSessionRequest, context: _Context
    ) -> session_service_pb2.CloseSessionResponse:
        session = self._host.sessions.get(request.session)
        if session is not None and request.release_token != session.release_token:
            raise errors.NotFound(f"There is no {request.session}.")
        if session is not None:
            self._host.close(session)
            if session.out is not None:
                session.out.put_nowait(errors.SessionClosed("It was closed by its release token."))
        self._host.closed_from_outside.append(request.session)
        self._host.noticed()
        return session_service_pb2.CloseSessionResponse(closed=session is not None)

    async def _read(
        self, session: StandInSession, out: Out, requests: AsyncIterator[HoldSessionRequest]
    ) -> None:
        try:
            async for request in requests:
                self._host.received.append(request)
                self._host.take(session, request)
                self._host.noticed()
        except KeypegError as error:
            out.put_nowait(error)


def account_handlers(host: StandInHost) -> tuple[grpc.GenericRpcHandler, ...]:
    """The calls of other services that opening a session, or launching an app, may take."""

    async def open_cloud_session(
        request: cloud_session_service_pb2.OpenCloudSessionRequest, context: _Context
    ) -> cloud_session_service_pb2.OpenCloudSessionResponse:
        holder = host.cloud_session_device
        if holder and holder != request.device.id:
            if request.keep_elsewhere:
                raise errors.CloudSessionElsewhere("Another device has it.", device=holder)
            host.end(errors.CloudSessionMoved("It was moved.", device=request.device.id))
        host.cloud_session_device = request.device.id
        return cloud_session_service_pb2.OpenCloudSessionResponse(
            cloud_session=cloud_session_pb2.CloudSession(
                name=request.name,
                state=cloud_session_pb2.CLOUD_SESSION_STATE_OPEN,
                device=request.device.id,
            )
        )

    async def get_caller(
        request: account_service_pb2.GetCallerRequest, context: _Context
    ) -> account_service_pb2.GetCallerResponse:
        return account_service_pb2.GetCallerResponse(account=host.publisher.account)

    cloud = grpc.unary_unary_rpc_method_handler(
        open_cloud_session,
        request_deserializer=cloud_session_service_pb2.OpenCloudSessionRequest.FromString,
        response_serializer=cloud_session_service_pb2.OpenCloudSessionResponse.SerializeToString,
    )
    account = grpc.unary_unary_rpc_method_handler(
        get_caller,
        request_deserializer=account_service_pb2.GetCallerRequest.FromString,
        response_serializer=account_service_pb2.GetCallerResponse.SerializeToString,
    )
    found = {service: dict(methods) for service, methods in launch_handlers(host).items()}
    found["CloudSessionService"]["OpenCloudSession"] = cloud
    found["AccountService"]["GetCaller"] = account
    return tuple(
        grpc.method_handlers_generic_handler(f"keypeg.v1.{service}", methods)
        for service, methods in found.items()
    )


async def _answers(out: Out, host: StandInHost) -> AsyncIterator[HoldSessionResponse]:
    while True:
        item = await out.get()
        if isinstance(item, KeypegError):
            raise item
        sent = host.tamper(item) if host.tamper else item
        if sent is not None:
            yield sent
        if item.HasField("closed"):
            return
