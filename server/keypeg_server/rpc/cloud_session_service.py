"""CloudSessionService over gRPC: decode, call, encode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any, Protocol

from google.protobuf.message import Message

from keypeg import names
from keypeg.errors import FieldInvalid
from keypeg.v1.cloud_session_service_pb2 import (
    ChooseCloudLicensesRequest,
    ChooseCloudLicensesResponse,
    CloseCloudSessionRequest,
    CloseCloudSessionResponse,
    EndCloudSessionRequest,
    EndCloudSessionResponse,
    GetCloudSessionRequest,
    GetCloudSessionResponse,
    ListCloudSessionsRequest,
    ListCloudSessionsResponse,
    OpenCloudSessionRequest,
    OpenCloudSessionResponse,
    ResumeCloudSessionRequest,
    ResumeCloudSessionResponse,
    SetCloudSessionModeRequest,
    SetCloudSessionModeResponse,
    WatchCloudSessionRequest,
    WatchCloudSessionResponse,
)
from keypeg.v1.cloud_session_service_pb2_grpc import CloudSessionServiceServicer
from keypeg_server.domain.cloud_session import CloudMode, Holder
from keypeg_server.domain.license_life import who_is
from keypeg_server.domain.rights import Right
from keypeg_server.rpc import encode
from keypeg_server.rpc.caller import current
from keypeg_server.rpc.calls import cut, once, page_of
from keypeg_server.service.accounts import not_found
from keypeg_server.service.cloud import CloudService, CloudView
from keypeg_server.service.cloud_groups import CloudGroups
from keypeg_server.service.cloud_of import Whose
from keypeg_server.service.cloud_watching import CloudWatching


class _Named(Protocol):
    """A request about a cloud session."""

    @property
    def name(self) -> str: ...


class CloudSessionRpc(CloudSessionServiceServicer):
    """Serves cloud sessions."""

    def __init__(self, cloud: CloudService, watching: CloudWatching, groups: CloudGroups) -> None:
        self._cloud = cloud
        self._groups = groups
        self._watching = watching

    async def GetCloudSession(
        self, request: GetCloudSessionRequest, context: Any
    ) -> GetCloudSessionResponse:
        view = await self._cloud.get(_whose(request, Right.PEOPLE_READ))
        return GetCloudSessionResponse(cloud_session=encode.cloud_session(view))

    async def OpenCloudSession(
        self, request: OpenCloudSessionRequest, context: Any
    ) -> OpenCloudSessionResponse:
        answer = await self._cloud.open(
            once(request, _moved(OpenCloudSessionResponse)),
            _whose(request),
            Holder(request.device.id, request.device.host_name),
            current().user,
            keep_elsewhere=request.keep_elsewhere,
        )
        return OpenCloudSessionResponse.FromString(answer)

    async def CloseCloudSession(
        self, request: CloseCloudSessionRequest, context: Any
    ) -> CloseCloudSessionResponse:
        answer = await self._cloud.close(
            once(request, _moved(CloseCloudSessionResponse)),
            _whose(request),
            Holder(request.device.id, request.device.host_name),
            current().user,
        )
        return CloseCloudSessionResponse.FromString(answer)

    async def SetCloudSessionMode(
        self, request: SetCloudSessionModeRequest, context: Any
    ) -> SetCloudSessionModeResponse:
        answer = await self._cloud.set_mode(
            once(request, _as(SetCloudSessionModeResponse)),
            _whose(request),
            CloudMode(request.mode),
        )
        return SetCloudSessionModeResponse.FromString(answer)

    async def ChooseCloudLicenses(
        self, request: ChooseCloudLicensesRequest, context: Any
    ) -> ChooseCloudLicensesResponse:
        whose = _whose(request)
        account = whose.account
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
        answer = await self._cloud.choose(once(request, _chosen), whose, add, remove, who)
        return ChooseCloudLicensesResponse.FromString(answer)

    async def WatchCloudSession(
        self, request: WatchCloudSessionRequest, context: Any
    ) -> AsyncIterator[WatchCloudSessionResponse]:
        whose = _whose(request, Right.PEOPLE_READ)
        async with aclosing(self._watching.watch(current(), whose)) as watched:
            async for news in watched:
                yield WatchCloudSessionResponse(
                    cloud_session=encode.cloud_session(news.view),
                    changes=map(encode.cloud_change, news.changes),
                    missed_count=news.missed_count,
                )

    async def ListCloudSessions(
        self, request: ListCloudSessionsRequest, context: Any
    ) -> ListCloudSessionsResponse:
        page = page_of(request)
        (account,) = names.ACCOUNT.parse(request.parent, "parent")
        found = await self._groups.list_of(account, page)
        shown, token = cut(found, page, lambda view: view.session.member)
        return ListCloudSessionsResponse(
            cloud_sessions=map(encode.cloud_session, shown), next_page_token=token
        )

    async def EndCloudSession(
        self, request: EndCloudSessionRequest, context: Any
    ) -> EndCloudSessionResponse:
        answer = await self._groups.end(
            once(request, _as(EndCloudSessionResponse)),
            _whose(request),
            request.reason,
            suspend=request.suspend,
        )
        return EndCloudSessionResponse.FromString(answer)

    async def ResumeCloudSession(
        self, request: ResumeCloudSessionRequest, context: Any
    ) -> ResumeCloudSessionResponse:
        answer = await self._groups.resume(
            once(request, _as(ResumeCloudSessionResponse)),
            _whose(request),
        )
        return ResumeCloudSessionResponse.FromString(answer)


def _whose(request: _Named, right: Right = Right.PEOPLE_WRITE) -> Whose:
    """Whose a request is about; that of another member takes a right, without which it is not there."""
    caller = current()
    owner, user = names.USER.parse(caller.user)
    if names.CLOUD_SESSION.matches(request.name):
        (account,) = names.CLOUD_SESSION.parse(request.name)
        return Whose(account, asker=user if owner == account else "")
    account, member = names.MEMBER_CLOUD_SESSION.parse(request.name)
    if (account, member) != (owner, user) and not caller.may(right):
        raise not_found(request.name)
    return Whose(account, member)


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


def _as(kind: Callable[..., Message]) -> Callable[[CloudView], Message]:
    """The answer of a kind that holds nothing but the cloud session."""
    return lambda view: kind(cloud_session=encode.cloud_session(view))


def _moved(kind: Callable[..., Message]) -> Callable[[CloudView], Message]:
    """The answer of a kind that says from where it came, too."""
    return lambda view: kind(
        cloud_session=encode.cloud_session(view), moved_from_host_name=view.moved_from_host_name
    )


def _chosen(view: CloudView) -> ChooseCloudLicensesResponse:
    return ChooseCloudLicensesResponse(
        cloud_session=encode.cloud_session(view), switched_to_managed=view.switched_to_managed
    )
