"""CredentialService over gRPC: decode, call, encode."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from keypeg import names
from keypeg.document import parse_envelope
from keypeg.v1 import credential_pb2
from keypeg.v1 import credential_service_pb2 as pb
from keypeg.v1.credential_service_pb2_grpc import CredentialServiceServicer
from keypeg_server.domain.active_devices import ActiveDevice
from keypeg_server.domain.cloud_session import Holder
from keypeg_server.domain.credential import Credential, CredentialDevice
from keypeg_server.rpc import encode
from keypeg_server.rpc.caller import current
from keypeg_server.rpc.calls import cut, once, page_of
from keypeg_server.service.active_devices import ActiveDevices
from keypeg_server.service.credential_ports import NewCredential, Presented
from keypeg_server.service.credentials import CredentialsService
from keypeg_server.service.ports import Clock


class CredentialRpc(CredentialServiceServicer):
    """Serves credentials, and the devices on which accounts are in use."""

    def __init__(
        self, credentials: CredentialsService, devices: ActiveDevices, clock: Clock
    ) -> None:
        self._credentials = credentials
        self._devices = devices
        self._clock = clock

    async def CreateCredential(
        self, request: pb.CreateCredentialRequest, context: Any
    ) -> pb.CreateCredentialResponse:
        (account,) = names.ACCOUNT.parse(request.parent, "parent")
        new = NewCredential(
            user=request.user,
            display_name=request.display_name,
            public_key=request.public_key,
            scopes=tuple(request.scopes),
            not_before=_moment(request, "not_before_time"),
            ttl=request.ttl.ToTimedelta() if request.HasField("ttl") else None,
            device_limit=request.device_limit,
            servers=tuple(request.servers),
            ca_certificates=request.ca_certificates,
        )
        answer = await self._credentials.create(
            once(
                request,
                lambda made: pb.CreateCredentialResponse(
                    credential=self._encoded(made), document=parse_envelope(made.document)
                ),
            ),
            current(),
            account,
            new,
        )
        return pb.CreateCredentialResponse.FromString(answer)

    async def GetCredential(
        self, request: pb.GetCredentialRequest, context: Any
    ) -> pb.GetCredentialResponse:
        found = await self._credentials.get(current(), request.name)
        return pb.GetCredentialResponse(credential=self._encoded(found))

    async def ListCredentials(
        self, request: pb.ListCredentialsRequest, context: Any
    ) -> pb.ListCredentialsResponse:
        (account,) = names.ACCOUNT.parse(request.parent, "parent")
        page = page_of(request)
        found, token = cut(
            await self._credentials.list_of(current(), account, page), page, lambda one: one.id
        )
        return pb.ListCredentialsResponse(
            credentials=map(self._encoded, found), next_page_token=token
        )

    async def RotateCredential(
        self, request: pb.RotateCredentialRequest, context: Any
    ) -> pb.RotateCredentialResponse:
        overlap = request.overlap.ToTimedelta() if request.HasField("overlap") else None
        answer = await self._credentials.rotate(
            once(
                request,
                lambda made: pb.RotateCredentialResponse(
                    credential=self._encoded(made), document=parse_envelope(made.document)
                ),
            ),
            current(),
            request.name,
            request.public_key,
            overlap,
        )
        return pb.RotateCredentialResponse.FromString(answer)

    async def ResetCredential(
        self, request: pb.ResetCredentialRequest, context: Any
    ) -> pb.ResetCredentialResponse:
        answer = await self._credentials.reset(
            once(
                request,
                lambda made: pb.ResetCredentialResponse(
                    credential=self._encoded(made), document=parse_envelope(made.document)
                ),
            ),
            current(),
            request.name,
            request.public_key,
        )
        return pb.ResetCredentialResponse.FromString(answer)

    async def DeleteCredential(
        self, request: pb.DeleteCredentialRequest, context: Any
    ) -> pb.DeleteCredentialResponse:
        answer = await self._credentials.delete(
            once(request, lambda _: pb.DeleteCredentialResponse()),
            current(),
            request.name,
        )
        return pb.DeleteCredentialResponse.FromString(answer)

    async def RemoveCredentialDevice(
        self, request: pb.RemoveCredentialDeviceRequest, context: Any
    ) -> pb.RemoveCredentialDeviceResponse:
        answer = await self._credentials.remove_device(
            once(
                request,
                lambda left: pb.RemoveCredentialDeviceResponse(credential=self._encoded(left)),
            ),
            current(),
            request.name,
            request.device,
        )
        return pb.RemoveCredentialDeviceResponse.FromString(answer)

    async def CreateSignInChallenge(
        self, request: pb.CreateSignInChallengeRequest, context: Any
    ) -> pb.CreateSignInChallengeResponse:
        return pb.CreateSignInChallengeResponse(challenge=self._credentials.challenge())

    async def SignInWithCredential(
        self, request: pb.SignInWithCredentialRequest, context: Any
    ) -> pb.SignInWithCredentialResponse:
        signed_in = await self._credentials.sign_in(
            Presented(
                request.name,
                request.document,
                Holder(request.device.id, request.device.host_name),
                request.challenge,
                request.host,
                request.signature,
            )
        )
        response = pb.SignInWithCredentialResponse(
            token=signed_in.text,
            user=encode.user(signed_in.user),
            account=signed_in.user.account_name or "",
        )
        response.expire_time.FromDatetime(signed_in.expire_time)
        return response

    async def ListActiveDevices(
        self, request: pb.ListActiveDevicesRequest, context: Any
    ) -> pb.ListActiveDevicesResponse:
        view = await self._devices.show(*names.ACCOUNT.parse(request.parent, "parent"))
        return pb.ListActiveDevicesResponse(
            devices=map(_active, view.devices), limit=view.limit, own_limit=view.own_limit
        )

    async def SetActiveDeviceLimit(
        self, request: pb.SetActiveDeviceLimitRequest, context: Any
    ) -> pb.SetActiveDeviceLimitResponse:
        answer = await self._devices.set_limit(
            once(request, lambda limit: pb.SetActiveDeviceLimitResponse(limit=limit)),
            names.ACCOUNT.parse(request.name)[0],
            request.limit,
        )
        return pb.SetActiveDeviceLimitResponse.FromString(answer)

    def _encoded(self, value: Credential) -> credential_pb2.Credential:
        now = self._clock.wall()
        message = credential_pb2.Credential(
            name=value.name,
            display_name=value.display_name,
            user=value.user_name,
            scopes=value.scopes,  # type: ignore[arg-type]  # numbers of the enum
            device_limit=value.device_limit,
            generation=value.generation,
            devices=[_device(one, now) for one in value.devices],
        )
        _set(message.create_time, value.create_time)
        _set(message.not_before_time, value.not_before)
        _set(message.not_after_time, value.not_after)
        overlap = value.overlap_end
        _set(message.overlap_end_time, overlap if overlap and overlap > now else None)
        _set(message.last_use_time, max((one.last_time for one in value.devices), default=None))
        return message


def _device(value: CredentialDevice, now: datetime) -> credential_pb2.CredentialDevice:
    message = credential_pb2.CredentialDevice(
        device=value.device, host_name=value.host_name, generation=value.generation
    )
    _set(message.first_use_time, value.first_time)
    _set(message.last_use_time, value.last_time)
    _set(message.active_until_time, value.active_until if value.is_active(now) else None)
    return message


def _active(value: ActiveDevice) -> credential_pb2.ActiveDevice:
    message = credential_pb2.ActiveDevice(
        device=value.device,
        host_name=value.host_name,
        user=value.user,
        credential=value.credential,
        holds_cloud_session=value.holds_cloud,
    )
    _set(message.active_until_time, value.until)
    return message


def _moment(request: Any, field: str) -> datetime | None:
    return getattr(request, field).ToDatetime(tzinfo=UTC) if request.HasField(field) else None


def _set(timestamp: Timestamp, moment: datetime | None) -> None:
    if moment is not None:
        timestamp.FromDatetime(moment)
