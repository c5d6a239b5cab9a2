"""LocationService over gRPC: decode, call, encode."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from keypeg import names
from keypeg.errors import FieldInvalid
from keypeg.v1.location_service_pb2 import (
    AuthorizeKeyWriteRequest,
    AuthorizeKeyWriteResponse,
    CheckKeyRequest,
    CheckKeyResponse,
    CreateHostLocationRequest,
    CreateHostLocationResponse,
    CreateKeyLocationRequest,
    CreateKeyLocationResponse,
    GetLocationRequest,
    GetLocationResponse,
    KeyMove,
    KeyStatement,
    ListLocationsRequest,
    ListLocationsResponse,
    ReplaceKeyRequest,
    ReplaceKeyResponse,
    ReportKeyLostRequest,
    ReportKeyLostResponse,
)
from keypeg.v1.location_service_pb2_grpc import LocationServiceServicer
from keypeg_server.domain.caller import Caller, Right
from keypeg_server.domain.location import Location, LocationKind
from keypeg_server.rpc import encode
from keypeg_server.rpc.calls import cut, once, page_of
from keypeg_server.service.key_checks import KeyChecks, Sight
from keypeg_server.service.key_losses import KeyLosses, Loss, Outlook, Replacement
from keypeg_server.service.locations import ALGORITHMS, LocationService, NewKey, WriteRequest

CallerOf = Callable[[], Caller]


class LocationRpc(LocationServiceServicer):
    """Serves locations and the enrollment of keys."""

    def __init__(
        self, locations: LocationService, losses: KeyLosses, checks: KeyChecks, caller: CallerOf
    ) -> None:
        self._locations = locations
        self._losses = losses
        self._checks = checks
        self._caller = caller

    async def GetLocation(self, request: GetLocationRequest, context: Any) -> GetLocationResponse:
        location = await self._locations.get_location(*names.LOCATION.parse(request.name))
        return GetLocationResponse(location=encode.location(location))

    async def ListLocations(
        self, request: ListLocationsRequest, context: Any
    ) -> ListLocationsResponse:
        (account,) = names.ACCOUNT.parse(request.parent, "parent")
        page = page_of(request)
        found, token = cut(
            await self._locations.list_locations(account, page), page, lambda place: place.id
        )
        return ListLocationsResponse(locations=map(encode.location, found), next_page_token=token)

    async def AuthorizeKeyWrite(
        self, request: AuthorizeKeyWriteRequest, context: Any
    ) -> AuthorizeKeyWriteResponse:
        (account,) = names.ACCOUNT.parse(request.parent, "parent")
        asked = WriteRequest(
            card_id=request.card_id,
            algorithm=ALGORITHMS[request.management_algorithm],
            challenge=request.challenge,
            factory_key=request.factory_key,
            emulated=request.emulated,
        )
        answer = await self._locations.authorize_write(account, asked)
        return AuthorizeKeyWriteResponse(
            response=answer.response,
            new_management_key=answer.new_key,
            new_management_algorithm=answer.new_algorithm,
            enrollment_nonce=answer.enrollment_nonce,
        )

    async def CreateKeyLocation(
        self, request: CreateKeyLocationRequest, context: Any
    ) -> CreateKeyLocationResponse:
        (account,) = names.ACCOUNT.parse(request.parent, "parent")
        location = Location(
            account=account,
            id="",  # the service gives one
            kind=LocationKind.KEY,
            display_name=request.display_name or request.model or "key",
            serial=request.serial,
            model=request.model,
            emulated=request.emulated,
            card_id=request.card_id,
            key_algorithm=request.public_key.algorithm,
            public_key=request.public_key.key,
        )
        answer = await self._locations.create_key_location(
            once(request, lambda made: CreateKeyLocationResponse(location=encode.location(made))),
            NewKey(
                location,
                request.enrollment_nonce,
                request.signature,
                tuple(request.attestation.certificates),
            ),
        )
        return CreateKeyLocationResponse.FromString(answer)

    async def CreateHostLocation(
        self, request: CreateHostLocationRequest, context: Any
    ) -> CreateHostLocationResponse:
        (account,) = names.ACCOUNT.parse(request.parent, "parent")
        host = Location(
            account=account,
            id="",  # the service gives one
            kind=LocationKind.HOST,
            display_name=request.device.host_name[:128] or "computer",
            device=request.device.id,
            fingerprint=request.fingerprint.SerializeToString(deterministic=True),
        )
        answer = await self._locations.create_host_location(
            once(request, lambda made: CreateHostLocationResponse(location=encode.location(made))),
            host,
        )
        return CreateHostLocationResponse.FromString(answer)

    async def CheckKey(self, request: CheckKeyRequest, context: Any) -> CheckKeyResponse:
        (account,) = names.ACCOUNT.parse(request.parent, "parent")
        sight = Sight(request.card_id, request.public_key, request.contents, request.suspicions)
        checked = await self._checks.check(account, sight, self._caller().user)
        return CheckKeyResponse(
            location=encode.location(checked.location),
            standing=checked.standing.value,  # type: ignore[arg-type]  # equal by test
            statements=[
                KeyStatement(contents=one.contents, delegation=one.delegation)
                for one in checked.statements
            ],
            activations=checked.activations,
        )

    async def ReportKeyLost(
        self, request: ReportKeyLostRequest, context: Any
    ) -> ReportKeyLostResponse:
        account, id = names.LOCATION.parse(request.name)
        answer = await self._losses.report(once(request, _lost), account, id, request.reason)
        return ReportKeyLostResponse.FromString(answer)

    async def ReplaceKey(self, request: ReplaceKeyRequest, context: Any) -> ReplaceKeyResponse:
        account, lost = names.LOCATION.parse(request.name)
        owner, replacement = names.LOCATION.parse(request.replacement, "replacement")
        if owner != account:
            what = "is of another account than the lost key"
            raise FieldInvalid(
                f"{request.replacement} {what}; name one of accounts/{account}.",
                fields={"replacement": what},
            )
        answer = await self._losses.replace(
            once(request, _replaced),
            account,
            lost,
            replacement,
            beyond_policy=self._caller().may(Right.LICENSES_WRITE),
        )
        return ReplaceKeyResponse.FromString(answer)


def _lost(loss: Loss) -> ReportKeyLostResponse:
    return ReportKeyLostResponse(
        location=encode.location(loss.location), moves=_moves(loss.outlooks)
    )


def _replaced(made: Replacement) -> ReplaceKeyResponse:
    return ReplaceKeyResponse(
        location=encode.location(made.location), moved=_moves(made.moved), left=_moves(made.left)
    )


def _moves(outlooks: Iterable[Outlook]) -> Iterable[KeyMove]:
    for outlook in outlooks:
        move = KeyMove(
            activation=outlook.activation, product=outlook.product, refusal=outlook.refusal
        )
        if outlook.free_time is not None:
            move.free_time.FromDatetime(outlook.free_time)
        yield move
