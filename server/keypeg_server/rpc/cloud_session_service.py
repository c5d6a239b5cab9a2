"""CloudSessionService over gRPC: decode, call, encode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

from keypeg import names
from keypeg.errors import FieldInvalid
from keypeg.v1.cloud_session_service_pb2 import (
    ChooseCloudLicensesRequest,
    ChooseCloudLicensesResponse,
    CloseCloudSessionRequest,
    CloseCloudSessionResponse,
    GetCloudSessionRequest,
    GetCloudSessionResponse,
    OpenCloudSessionRequest,
    OpenCloudSessionResponse,
    SetCloudSessionModeRequest,
    SetCloudSessionModeResponse,
    WatchCloudSessionRequest,
    WatchCloudSessionResponse,
)
from keypeg.v1.cloud_session_service_pb2_grpc import CloudSessionServiceServicer
from keypeg_server.domain.cloud_session import CloudMode, Holder
from keypeg_server.domain.license_life import who_is
from keypeg_server.rpc import encode
from keypeg_server.rpc.caller import current
from keypeg_server.rpc.calls import once
from keypeg_server.service.cloud import CloudService, CloudView
from keypeg_server.service.cloud_watching import CloudWatching


class CloudSessionRpc(CloudSessionServiceServicer):
    """Serves cloud sessions."""

    def __init__(self, cloud: CloudService, watching: CloudWatching) -> None:
        self._cloud = cloud
        self._watching = watching

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
        (account,) = names.CLOUD_SESSION.parse(request.name)
        answer = await self._cloud.close(
            once(request, _closed),
            account,
            Holder(request.device.id, request.device.host_name),
            current().user,
        )
        return CloseCloudSessionResponse.FromString(answer)

    async def SetCloudSessionMode(
        self, request: SetCloudSessionModeRequest, context: Any
    ) -> SetCloudSessionModeResponse:
        (account,) = names.CLOUD_SESSION.parse(request.name)
        answer = await self._cloud.set_mode(
            once(
                request,
                lambda view: SetCloudSessionModeResponse(cloud_session=encode.cloud_session(view)),
            ),
            account,
            CloudMode(request.mode),
        )
        return SetCloudSessionModeResponse.FromString(answer)

    async def ChooseCloudLicenses(
        self, request: ChooseCloudLicensesRequest, context: Any
    ) -> ChooseCloudLicensesResponse:
        (account,) = names.CLOUD_SESSION.parse(request.name)
        add = _licenses(account, request.add_licenses, "add_licenses")
        remove = _licenses(account, request.remove_licenses, "remove_licenses")
        both = sorted(set(add) & set(remove))
        if both:
            name = names.LICENSE.build(account, both[0])
            raise FieldInvalid(
                f"{name} can not be put into the cloud and taken out at once; name it once.",
                fields={"remove_licenses": f"{name} is among add_licenses, too"},
            )
        who = who_is(current())
        answer = await self._cloud.choose(once(request, _chosen), account, add, remove, who)
        return ChooseCloudLicensesResponse.FromString(answer)

    async def WatchCloudSession(
        self, request: WatchCloudSessionRequest, context: Any
    ) -> AsyncIterator[WatchCloudSessionResponse]:
        (account,) = names.CLOUD_SESSION.parse(request.name)
        async with aclosing(self._watching.watch(current(), account)) as watched:
            async for news in watched:
                yield WatchCloudSessionResponse(
                    cloud_session=encode.cloud_session(news.view),
                    changes=map(encode.cloud_change, news.changes),
                    missed_count=news.missed_count,
                )


def _licenses(account: str, licenses: Iterable[str], field: str) -> tuple[str, ...]:
    """Their ids; refused when one is of another account."""
    ids = []
    for index, license in enumerate(licenses):
        owner, id = names.LICENSE.parse(license)
        if owner != account:
            what = f"{license} is no license of {names.ACCOUNT.build(account)}"
            raise FieldInvalid(
                f"The cloud has licenses of its own account: {what}.",
                fields={f"{field}[{index}]": what},
            )
        ids.append(id)
    return tuple(ids)


def _opened(view: CloudView) -> OpenCloudSessionResponse:
    return OpenCloudSessionResponse(
        cloud_session=encode.cloud_session(view), moved_from_host_name=view.moved_from_host_name
    )


def _closed(view: CloudView) -> CloseCloudSessionResponse:
    return CloseCloudSessionResponse(
        cloud_session=encode.cloud_session(view), moved_from_host_name=view.moved_from_host_name
    )


def _chosen(view: CloudView) -> ChooseCloudLicensesResponse:
    return ChooseCloudLicensesResponse(
        cloud_session=encode.cloud_session(view), switched_to_managed=view.switched_to_managed
    )
