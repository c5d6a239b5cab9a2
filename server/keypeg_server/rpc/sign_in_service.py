"""SignInService over gRPC: decode, call, encode."""

from __future__ import annotations

from typing import Any, TypeVar

from keypeg import names
from keypeg.v1 import sign_in_pb2
from keypeg.v1.account_service_pb2 import SignInResponse
from keypeg.v1.sign_in_service_pb2 import (
    BeginDeviceSignInRequest,
    BeginDeviceSignInResponse,
    BeginOneTimeCodesRequest,
    BeginOneTimeCodesResponse,
    ConfirmOneTimeCodesRequest,
    ConfirmOneTimeCodesResponse,
    DecideDeviceSignInRequest,
    DecideDeviceSignInResponse,
    EndSignInRequest,
    EndSignInResponse,
    EndUserSignInsRequest,
    EndUserSignInsResponse,
    FinishDeviceSignInRequest,
    FinishDeviceSignInResponse,
    GetDeviceSignInRequest,
    GetDeviceSignInResponse,
    ListSignInsRequest,
    ListSignInsResponse,
    RefreshSignInRequest,
    RefreshSignInResponse,
    RemoveOneTimeCodesRequest,
    RemoveOneTimeCodesResponse,
    SignOutEverywhereRequest,
    SignOutEverywhereResponse,
)
from keypeg.v1.sign_in_service_pb2 import DeviceSignIn as PbDeviceSignIn
from keypeg.v1.sign_in_service_pb2_grpc import SignInServiceServicer
from keypeg_server.domain.sign_in import DeviceSignIn, SignIn, shown_user_code
from keypeg_server.rpc import encode
from keypeg_server.rpc.caller import current
from keypeg_server.rpc.calls import cut, once, page_of
from keypeg_server.rpc.peer import address_of
from keypeg_server.service.device_sign_ins import INTERVAL, VALID_FOR, DeviceSignIns
from keypeg_server.service.second_factors import SecondFactors
from keypeg_server.service.sign_ins import SignIns, person
from keypeg_server.service.tokens import NewTokens

_Answer = TypeVar("_Answer", SignInResponse, sign_in_pb2.SignedIn)


class SignInRpc(SignInServiceServicer):
    """Serves staying signed in, and ending it."""

    def __init__(self, sign_ins: SignIns, devices: DeviceSignIns, factors: SecondFactors) -> None:
        self._sign_ins = sign_ins
        self._factors = factors
        self._devices = devices

    async def RefreshSignIn(
        self, request: RefreshSignInRequest, context: Any
    ) -> RefreshSignInResponse:
        new = await self._sign_ins.refresh(request.refresh_token, request.request_id)
        return RefreshSignInResponse(signed_in=tokens_in(sign_in_pb2.SignedIn(), new))

    async def ListSignIns(self, request: ListSignInsRequest, context: Any) -> ListSignInsResponse:
        page = page_of(request)
        caller = current()
        after = [one for one in await self._sign_ins.list(caller) if one.id > page.after]
        found, token = cut(after[: page.limit], page, lambda one: one.id)
        shown = (_sign_in(one, current=one.id == caller.token) for one in found)
        return ListSignInsResponse(sign_ins=shown, next_page_token=token)

    async def EndSignIn(self, request: EndSignInRequest, context: Any) -> EndSignInResponse:
        (id,) = names.SIGN_IN.parse(request.name)
        answer = await self._sign_ins.end(
            once(request, lambda _: EndSignInResponse()), current(), id
        )
        return EndSignInResponse.FromString(answer)

    async def SignOutEverywhere(
        self, request: SignOutEverywhereRequest, context: Any
    ) -> SignOutEverywhereResponse:
        ended = await self._sign_ins.sign_out_everywhere(current())
        return SignOutEverywhereResponse(ended_count=ended)

    async def EndUserSignIns(
        self, request: EndUserSignInsRequest, context: Any
    ) -> EndUserSignInsResponse:
        account, id = names.USER.parse(request.name)
        answer = await self._sign_ins.end_of_user(
            once(request, lambda ended: EndUserSignInsResponse(ended_count=ended)),
            current(),
            account,
            id,
        )
        return EndUserSignInsResponse.FromString(answer)

    async def BeginDeviceSignIn(
        self, request: BeginDeviceSignInRequest, context: Any
    ) -> BeginDeviceSignInResponse:
        begun = await self._devices.begin(request.client_name, address_of(context))
        answer = BeginDeviceSignInResponse(
            device_code=begun.device_code, user_code=shown_user_code(begun.waiting.user_code)
        )
        answer.interval.FromTimedelta(INTERVAL)
        answer.valid_for.FromTimedelta(VALID_FOR)
        return answer

    async def FinishDeviceSignIn(
        self, request: FinishDeviceSignInRequest, context: Any
    ) -> FinishDeviceSignInResponse:
        new = await self._devices.finish(request.device_code)
        return FinishDeviceSignInResponse(signed_in=tokens_in(sign_in_pb2.SignedIn(), new))

    async def GetDeviceSignIn(
        self, request: GetDeviceSignInRequest, context: Any
    ) -> GetDeviceSignInResponse:
        found = await self._devices.get(current(), request.user_code, address_of(context))
        return GetDeviceSignInResponse(device_sign_in=_waiting(found))

    async def DecideDeviceSignIn(
        self, request: DecideDeviceSignInRequest, context: Any
    ) -> DecideDeviceSignInResponse:
        answer = await self._devices.decide(
            once(request, lambda one: DecideDeviceSignInResponse(device_sign_in=_waiting(one))),
            current(),
            request.user_code,
            approve=request.approve,
            address=address_of(context),
        )
        return DecideDeviceSignInResponse.FromString(answer)

    async def BeginOneTimeCodes(
        self, request: BeginOneTimeCodesRequest, context: Any
    ) -> BeginOneTimeCodesResponse:
        caller = current()
        user = await self._sign_ins.again(caller, request.password, address_of(context))
        return BeginOneTimeCodesResponse(uri=await self._factors.begin(caller, user))

    async def ConfirmOneTimeCodes(
        self, request: ConfirmOneTimeCodesRequest, context: Any
    ) -> ConfirmOneTimeCodesResponse:
        caller = current()
        person(caller)
        codes = await self._sign_ins.guarded.attempt(
            caller.login,
            address_of(context),
            lambda: self._factors.confirm(caller, request.code),
        )
        return ConfirmOneTimeCodesResponse(recovery_codes=codes)

    async def RemoveOneTimeCodes(
        self, request: RemoveOneTimeCodesRequest, context: Any
    ) -> RemoveOneTimeCodesResponse:
        caller, address = current(), address_of(context)
        user = await self._sign_ins.again(caller, request.password, address)
        await self._sign_ins.guarded.attempt(
            caller.login, address, lambda: self._factors.remove(user, request.code)
        )
        return RemoveOneTimeCodesResponse()


def _waiting(value: DeviceSignIn) -> PbDeviceSignIn:
    message = PbDeviceSignIn(client_name=value.client_name, address=value.address)
    message.create_time.FromDatetime(value.create_time)
    message.expire_time.FromDatetime(value.expire_time)
    return message


def tokens_in(answer: _Answer, new: NewTokens) -> _Answer:
    """New tokens, in an answer."""
    user = new.sign_in.user
    answer.token, answer.refresh_token = new.text, new.refresh_text
    answer.sign_in, answer.account = new.sign_in.name, user.account_name or ""
    answer.user.CopyFrom(encode.user(user))
    answer.expire_time.FromDatetime(new.expire_time)
    answer.valid_for.FromTimedelta(new.valid_for)
    answer.refresh_expire_time.FromDatetime(new.sign_in.expire_time)
    if new.factor_reset is not None:
        answer.second_factor_reset.CopyFrom(encode.factor_reset(new.factor_reset))
    return answer


def _sign_in(value: SignIn, *, current: bool) -> sign_in_pb2.SignIn:
    message = sign_in_pb2.SignIn(
        name=value.name,
        user=value.user.name,
        method=value.method.value,  # type: ignore[arg-type]  # equal by test
        client_name=value.client_name,
        current=current,
    )
    message.create_time.FromDatetime(value.create_time)
    message.use_time.FromDatetime(value.use_time)
    message.expire_time.FromDatetime(value.expire_time)
    return message
