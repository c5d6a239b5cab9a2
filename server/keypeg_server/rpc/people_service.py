"""PeopleService over gRPC: decode, call, encode."""

from __future__ import annotations

from typing import Any

from keypeg import names
from keypeg.v1.people_service_pb2 import (
    AcceptInvitationRequest,
    AcceptInvitationResponse,
    CreateInvitationRequest,
    CreateInvitationResponse,
    CreateServiceUserRequest,
    CreateServiceUserResponse,
    DeleteInvitationRequest,
    DeleteInvitationResponse,
    GetResellerAccountsRequest,
    GetResellerAccountsResponse,
    ListInvitationsRequest,
    ListInvitationsResponse,
    ResetSecondFactorsRequest,
    ResetSecondFactorsResponse,
    SetResellerAccountsRequest,
    SetResellerAccountsResponse,
    UpdateUserRoleRequest,
    UpdateUserRoleResponse,
)
from keypeg.v1.people_service_pb2_grpc import PeopleServiceServicer
from keypeg_server.domain.access import INVITATION_TTL
from keypeg_server.domain.account import User
from keypeg_server.domain.rights import Role
from keypeg_server.rpc import encode
from keypeg_server.rpc.caller import current
from keypeg_server.rpc.calls import cut, once, page_of
from keypeg_server.rpc.secret_answers import told_once
from keypeg_server.service.factor_resets import FactorResets, WasReset
from keypeg_server.service.people import Invited, Joining, PeopleService
from keypeg_server.service.store import Request
from keypeg_server.service.wrapping import Wrapping


class PeopleRpc(PeopleServiceServicer):
    """Serves roles, invitations, programs, lost factors, and what resellers act for."""

    def __init__(self, people: PeopleService, resets: FactorResets, wrapping: Wrapping) -> None:
        self._people = people
        self._resets = resets
        self._wrapping = wrapping

    async def UpdateUserRole(
        self, request: UpdateUserRoleRequest, context: Any
    ) -> UpdateUserRoleResponse:
        account, id = names.USER.parse(request.name)
        answer = await self._people.change_role(
            once(request, lambda user: UpdateUserRoleResponse(user=encode.user(user))),
            current(),
            account,
            id,
            Role(request.role),
        )
        return UpdateUserRoleResponse.FromString(answer)

    async def CreateServiceUser(
        self, request: CreateServiceUserRequest, context: Any
    ) -> CreateServiceUserResponse:
        (account,) = names.ACCOUNT.parse(request.parent, "parent")
        answer = await self._people.create_service_user(
            once(request, lambda user: CreateServiceUserResponse(user=encode.user(user))),
            current(),
            account,
            request.login,
            request.display_name,
            Role(request.role or Role.MEMBER),
        )
        return CreateServiceUserResponse.FromString(answer)

    async def CreateInvitation(
        self, request: CreateInvitationRequest, context: Any
    ) -> CreateInvitationResponse:
        (account,) = names.ACCOUNT.parse(request.parent, "parent")
        caller, role = current(), Role(request.role or Role.MEMBER)
        ttl = request.ttl.ToTimedelta() if request.HasField("ttl") else INVITATION_TTL

        def invite(once: Request[Invited]) -> Any:
            return self._people.invite(once, caller, account, request.address, role, ttl)

        return await told_once(self._wrapping, request, _invited, CreateInvitationResponse, invite)

    async def ListInvitations(
        self, request: ListInvitationsRequest, context: Any
    ) -> ListInvitationsResponse:
        (account,) = names.ACCOUNT.parse(request.parent, "parent")
        page = page_of(request)
        found, token = cut(
            await self._people.list_invitations(account, page), page, lambda one: one.id
        )
        return ListInvitationsResponse(
            invitations=map(encode.invitation, found), next_page_token=token
        )

    async def DeleteInvitation(
        self, request: DeleteInvitationRequest, context: Any
    ) -> DeleteInvitationResponse:
        account, id = names.INVITATION.parse(request.name)
        answer = await self._people.delete_invitation(
            once(request, lambda _: DeleteInvitationResponse()), current(), account, id
        )
        return DeleteInvitationResponse.FromString(answer)

    async def AcceptInvitation(
        self, request: AcceptInvitationRequest, context: Any
    ) -> AcceptInvitationResponse:
        account, id = names.INVITATION.parse(request.name)
        body = AcceptInvitationRequest()
        body.CopyFrom(request)
        body.ClearField("ticket")
        body.ClearField("password")
        join: Request[User] = Request(
            caller=request.name,  # who joins is nobody before
            id=request.request_id.lower(),
            body=body.SerializeToString(deterministic=True),
            answer=lambda user: AcceptInvitationResponse(
                user=encode.user(user)
            ).SerializeToString(),
        )
        who = Joining(request.login, request.display_name, request.ticket, request.password)
        answer = await self._people.accept(join, account, id, who)
        return AcceptInvitationResponse.FromString(answer)

    async def SetResellerAccounts(
        self, request: SetResellerAccountsRequest, context: Any
    ) -> SetResellerAccountsResponse:
        _, id = names.USER.parse(request.name)
        answer = await self._people.act_for(
            once(request, lambda user: SetResellerAccountsResponse(accounts=sorted(user.acts_for))),
            current(),
            id,
            request.accounts,
        )
        return SetResellerAccountsResponse.FromString(answer)

    async def GetResellerAccounts(
        self, request: GetResellerAccountsRequest, context: Any
    ) -> GetResellerAccountsResponse:
        _, id = names.USER.parse(request.name)
        user = await self._people.accounts_of(id)
        return GetResellerAccountsResponse(accounts=sorted(user.acts_for))

    async def ResetSecondFactors(
        self, request: ResetSecondFactorsRequest, context: Any
    ) -> ResetSecondFactorsResponse:
        account, id = names.USER.parse(request.name)
        answer = await self._resets.reset(once(request, _was_reset), current(), account, id)
        return ResetSecondFactorsResponse.FromString(answer)


def _was_reset(done: WasReset) -> ResetSecondFactorsResponse:
    return ResetSecondFactorsResponse(
        one_time_codes=done.reset.one_time_codes,
        passkey_count=done.reset.passkey_count,
        ended_count=done.ended_count,
    )


def _invited(made: Invited) -> CreateInvitationResponse:
    return CreateInvitationResponse(
        invitation=encode.invitation(made.invitation), ticket=made.ticket
    )
