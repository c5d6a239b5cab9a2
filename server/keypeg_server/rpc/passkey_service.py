"""PasskeyService over gRPC: decode, call, encode."""

from __future__ import annotations

from typing import Any

from keypeg.v1 import passkey_pb2, sign_in_pb2
from keypeg.v1.passkey_service_pb2 import (
    BeginPasskeyRegistrationRequest,
    BeginPasskeyRegistrationResponse,
    BeginPasskeySignInRequest,
    BeginPasskeySignInResponse,
    DeletePasskeyRequest,
    DeletePasskeyResponse,
    FinishPasskeyRegistrationRequest,
    FinishPasskeyRegistrationResponse,
    FinishPasskeySignInRequest,
    FinishPasskeySignInResponse,
    ListPasskeysRequest,
    ListPasskeysResponse,
    UpdatePasskeyRequest,
    UpdatePasskeyResponse,
)
from keypeg.v1.passkey_service_pb2_grpc import PasskeyServiceServicer
from keypeg_server.domain.passkey import VALID_FOR, Passkey, handle_of
from keypeg_server.rpc.caller import current
from keypeg_server.rpc.calls import once
from keypeg_server.rpc.peer import address_of
from keypeg_server.rpc.secret_answers import told_once
from keypeg_server.rpc.sign_in_service import tokens_in
from keypeg_server.service.passkey_checks import ALGORITHMS, Answer
from keypeg_server.service.passkey_sign_ins import PasskeySignIns
from keypeg_server.service.passkeys import Added, PasskeyService
from keypeg_server.service.store import Request
from keypeg_server.service.wrapping import Wrapping


class PasskeyRpc(PasskeyServiceServicer):
    """Serves passkeys."""

    def __init__(
        self,
        passkeys: PasskeyService,
        sign_ins: PasskeySignIns,
        relying_party: str,
        wrapping: Wrapping,
    ) -> None:
        self._passkeys = passkeys
        self._sign_ins = sign_ins
        self._relying_party = relying_party
        self._wrapping = wrapping

    async def BeginPasskeyRegistration(
        self, request: BeginPasskeyRegistrationRequest, context: Any
    ) -> BeginPasskeyRegistrationResponse:
        begun = await self._passkeys.begin_registration(
            current(), request.password, request.code, address_of(context)
        )
        assert begun.user is not None  # the caller
        answer = BeginPasskeyRegistrationResponse(
            challenge=begun.challenge,
            relying_party=self._relying_party,
            user_handle=handle_of(begun.user),
            user_name=begun.user.login,
            user_display_name=begun.user.display_name,
            algorithms=ALGORITHMS,
            exclude_credential_ids=begun.credential_ids,
        )
        answer.valid_for.FromTimedelta(VALID_FOR)
        return answer

    async def FinishPasskeyRegistration(
        self, request: FinishPasskeyRegistrationRequest, context: Any
    ) -> FinishPasskeyRegistrationResponse:
        caller = current()

        def finish(once: Request[Added]) -> Any:
            return self._passkeys.finish_registration(
                once,
                caller,
                request.display_name,
                request.client_data_json,
                request.attestation_object,
            )

        kind = FinishPasskeyRegistrationResponse
        return await told_once(self._wrapping, request, _added, kind, finish)

    async def ListPasskeys(
        self, request: ListPasskeysRequest, context: Any
    ) -> ListPasskeysResponse:
        return ListPasskeysResponse(passkeys=map(_passkey, await self._passkeys.listed(current())))

    async def UpdatePasskey(
        self, request: UpdatePasskeyRequest, context: Any
    ) -> UpdatePasskeyResponse:
        answer = await self._passkeys.rename(
            once(request, lambda one: UpdatePasskeyResponse(passkey=_passkey(one))),
            current(),
            request.name,
            request.display_name,
        )
        return UpdatePasskeyResponse.FromString(answer)

    async def DeletePasskey(
        self, request: DeletePasskeyRequest, context: Any
    ) -> DeletePasskeyResponse:
        done: Request[None] = once(request, lambda _: DeletePasskeyResponse())
        answer = await self._passkeys.delete(
            done, current(), request.name, request.password, request.code, address_of(context)
        )
        return DeletePasskeyResponse.FromString(answer)

    async def BeginPasskeySignIn(
        self, request: BeginPasskeySignInRequest, context: Any
    ) -> BeginPasskeySignInResponse:
        begun = await self._sign_ins.begin_sign_in(
            request.login, request.password, address_of(context)
        )
        answer = BeginPasskeySignInResponse(
            challenge=begun.challenge,
            relying_party=self._relying_party,
            credential_ids=begun.credential_ids,
            user_verification_required=begun.user is None,
        )
        answer.valid_for.FromTimedelta(VALID_FOR)
        return answer

    async def FinishPasskeySignIn(
        self, request: FinishPasskeySignInRequest, context: Any
    ) -> FinishPasskeySignInResponse:
        answer = Answer(
            request.credential_id,
            request.client_data_json,
            request.authenticator_data,
            request.signature,
            request.user_handle,
        )
        new = await self._sign_ins.finish_sign_in(answer, request.client_name, address_of(context))
        return FinishPasskeySignInResponse(signed_in=tokens_in(sign_in_pb2.SignedIn(), new))


def _passkey(value: Passkey) -> passkey_pb2.Passkey:
    message = passkey_pb2.Passkey(name=value.name, display_name=value.display_name)
    message.create_time.FromDatetime(value.create_time)
    if value.use_time is not None:
        message.use_time.FromDatetime(value.use_time)
    return message


def _added(value: Added) -> FinishPasskeyRegistrationResponse:
    return FinishPasskeyRegistrationResponse(
        passkey=_passkey(value.passkey), recovery_codes=value.recovery_codes
    )
