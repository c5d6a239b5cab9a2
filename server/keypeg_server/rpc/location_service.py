"""LocationService over gRPC: decode, call, encode."""

from __future__ import annotations

from typing import Any

from keypeg import names
from keypeg.v1.location_service_pb2 import (
    AuthorizeKeyWriteRequest,
    AuthorizeKeyWriteResponse,
    CreateKeyLocationRequest,
    CreateKeyLocationResponse,
    GetLocationRequest,
    GetLocationResponse,
    ListLocationsRequest,
    ListLocationsResponse,
)
from keypeg.v1.location_service_pb2_grpc import LocationServiceServicer
from keypeg_server.domain.location import Location, LocationKind
from keypeg_server.rpc import encode
from keypeg_server.rpc.calls import cut, once, page_of
from keypeg_server.service.locations import ALGORITHMS, LocationService, NewKey, WriteRequest


class LocationRpc(LocationServiceServicer):
    """Serves locations and the enrollment of keys."""

    def __init__(self, locations: LocationService) -> None:
        self._locations = locations

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
            NewKey(location, request.enrollment_nonce, request.signature),
        )
        return CreateKeyLocationResponse.FromString(answer)
