"""CloudSessionService over gRPC: decode, call, encode."""

from __future__ import annotations

from typing import Any

from keypeg import names
from keypeg.v1.cloud_session_service_pb2 import (
    CloseCloudSessionRequest,
    CloseCloudSessionResponse,
    GetCloudSessionRequest,
    GetCloudSessionResponse,
    OpenCloudSessionRequest,
    OpenCloudSessionResponse,
)
from keypeg.v1.cloud_session_service_pb2_grpc import CloudSessionServiceServicer
from keypeg_server.domain.cloud_session import Holder
from keypeg_server.rpc import encode
from keypeg_server.rpc.caller import current
from keypeg_server.rpc.calls import once
from keypeg_server.service.cloud import CloudService, CloudView


class CloudSessionRpc(CloudSessionServiceServicer):
    """Serves cloud sessions."""

    def __init__(self, cloud: CloudService) -> None:
        self._cloud = cloud

    async def GetCloudSession(
        self, request: GetCloudSessionRequest, context: Any
    ) -> GetCloudSessionResponse:
        view = await self._cloud.get(*names.CLOUD_SESSION.parse(request.name))
        return GetCloudSessionResponse(cloud_session=encode.cloud_session(view))

    async def OpenCloudSession(
        self, request: OpenCloudSessionRequest, context: Any
    ) -> OpenCloudSessionResponse:
        (account,) = names.CLOUD_SESSION.parse(request.name)
        answer = await self._cloud.open(
            once(request, _opened),
            account,
            Holder(request.device.id, request.device.host_name),
            current().user,
            keep_elsewhere=request.keep_elsewhere,
        )
        return OpenCloudSessionResponse.FromString(answer)

    async def CloseCloudSession(
        self, request: CloseCloudSessionRequest, context: Any
    ) -> CloseCloudSessionResponse:
        answer = await self._cloud.close(
            once(
                request,
                lambda view: CloseCloudSessionResponse(cloud_session=encode.cloud_session(view)),
            ),
            *names.CLOUD_SESSION.parse(request.name),
        )
        return CloseCloudSessionResponse.FromString(answer)


def _opened(view: CloudView) -> OpenCloudSessionResponse:
    return OpenCloudSessionResponse(
        cloud_session=encode.cloud_session(view), moved_from_host_name=view.moved_from_host_name
    )
