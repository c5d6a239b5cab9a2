"""AccountService over gRPC: decode, call, encode."""

from __future__ import annotations

from typing import Any

from keypeg import names
from keypeg.v1.account_service_pb2 import (
    CreateAccountRequest,
    CreateAccountResponse,
    CreateUserRequest,
    CreateUserResponse,
    DeleteUserRequest,
    DeleteUserResponse,
    GetAccountRequest,
    GetAccountResponse,
    GetCallerRequest,
    GetCallerResponse,
    ListAccountsRequest,
    ListAccountsResponse,
    ListUsersRequest,
    ListUsersResponse,
    SetAccountKindRequest,
    SetAccountKindResponse,
    SetSecondFactorRequiredRequest,
    SetSecondFactorRequiredResponse,
    SignInRequest,
    SignInResponse,
    SignOutRequest,
    SignOutResponse,
)
from keypeg.v1.account_service_pb2_grpc import AccountServiceServicer
from keypeg_server.domain.account import NO_ACCOUNT, Account, AccountKind, PublisherPeople
from keypeg_server.domain.rights import Role
from keypeg_server.rpc import encode
from keypeg_server.rpc.caller import current, current_sign_in
from keypeg_server.rpc.calls import cut, new_account, once, page_of
from keypeg_server.rpc.peer import address_of
from keypeg_server.rpc.sign_in_service import tokens_in
from keypeg_server.service.accounts import AccountService, NewUser
from keypeg_server.service.cloud_groups import CloudGroups
from keypeg_server.service.sign_ins import SignIns


class AccountRpc(AccountServiceServicer):
    """Serves accounts, users and signing in."""

    def __init__(self, accounts: AccountService, sign_ins: SignIns, groups: CloudGroups) -> None:
        self._groups = groups
        self._accounts = accounts
        self._sign_ins = sign_ins

    async def SignIn(self, request: SignInRequest, context: Any) -> SignInResponse:
        new = await self._sign_ins.with_password(
            request.login,
            request.password,
            request.client_name,
            address_of(context),
            request.code,
        )
        return tokens_in(SignInResponse(second_factor_owed=new.owes_factor), new)

    async def SignOut(self, request: SignOutRequest, context: Any) -> SignOutResponse:
        await self._sign_ins.sign_out(current())
        return SignOutResponse()

    async def GetCaller(self, request: GetCallerRequest, context: Any) -> GetCallerResponse:
        signed_in = current_sign_in()
        response = GetCallerResponse(
            user=encode.user(signed_in.user), account=signed_in.user.account_name or ""
        )
        response.expire_time.FromDatetime(signed_in.expire_time)
        return response

    async def CreateAccount(
        self, request: CreateAccountRequest, context: Any
    ) -> CreateAccountResponse:
        answer = await self._accounts.create_account(
            once(request, lambda made: CreateAccountResponse(account=encode.account(made))),
            current(),
            new_account(request),
            request.display_name,
            AccountKind(request.kind or AccountKind.PERSONAL),
        )
        return CreateAccountResponse.FromString(answer)

    async def GetAccount(self, request: GetAccountRequest, context: Any) -> GetAccountResponse:
        (id,) = names.ACCOUNT.parse(request.name)
        account = await self._accounts.get_account(id)
        return GetAccountResponse(account=encode.group(account))

    async def SetAccountKind(
        self, request: SetAccountKindRequest, context: Any
    ) -> SetAccountKindResponse:
        (account,) = names.ACCOUNT.parse(request.name)
        answer = await self._groups.set_kind(
            once(request, lambda one: SetAccountKindResponse(account=encode.account(one))),
            account,
            AccountKind(request.kind),
        )
        return SetAccountKindResponse.FromString(answer)

    async def ListAccounts(
        self, request: ListAccountsRequest, context: Any
    ) -> ListAccountsResponse:
        page = page_of(request)
        found, token = cut(
            await self._accounts.list_accounts(current(), page), page, lambda account: account.id
        )
        return ListAccountsResponse(accounts=map(encode.account, found), next_page_token=token)

    async def SetSecondFactorRequired(
        self, request: SetSecondFactorRequiredRequest, context: Any
    ) -> SetSecondFactorRequiredResponse:
        (id,) = names.ACCOUNT.parse(request.name)

        def encoded(group: Account | PublisherPeople) -> SetSecondFactorRequiredResponse:
            return SetSecondFactorRequiredResponse(account=encode.group(group))

        answer = await self._accounts.require_second_factor(
            once(request, encoded), current(), id, required=request.required
        )
        return SetSecondFactorRequiredResponse.FromString(answer)

    async def CreateUser(self, request: CreateUserRequest, context: Any) -> CreateUserResponse:
        (account,) = names.ACCOUNT.parse(request.parent, "parent")
        new = NewUser(
            account=None if account == NO_ACCOUNT else account,
            login=request.login,
            display_name=request.display_name,
            role=Role(request.role or Role.MEMBER),
            password=request.password,
        )
        answer = await self._accounts.create_user(
            once(request, lambda made: CreateUserResponse(user=encode.user(made))), current(), new
        )
        return CreateUserResponse.FromString(answer)

    async def ListUsers(self, request: ListUsersRequest, context: Any) -> ListUsersResponse:
        (account,) = names.ACCOUNT.parse(request.parent, "parent")
        page = page_of(request)
        found, token = cut(
            await self._accounts.list_users(account, page), page, lambda user: user.id
        )
        return ListUsersResponse(users=map(encode.user, found), next_page_token=token)

    async def DeleteUser(self, request: DeleteUserRequest, context: Any) -> DeleteUserResponse:
        account, id = names.USER.parse(request.name)
        answer = await self._accounts.delete_user(
            once(request, lambda _: DeleteUserResponse()), current(), account, id
        )
        return DeleteUserResponse.FromString(answer)
