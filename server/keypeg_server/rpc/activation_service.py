"""ActivationService over gRPC: decode, call, encode."""

from __future__ import annotations

from typing import Any

from keypeg import names
from keypeg.errors import FieldInvalid
from keypeg.v1.activation_service_pb2 import (
    BeginDeactivationRequest,
    BeginDeactivationResponse,
    CreateActivationRequest,
    CreateActivationResponse,
    DeleteActivationRequest,
    DeleteActivationResponse,
    GetActivationRequest,
    GetActivationResponse,
    ListActivationsRequest,
    ListActivationsResponse,
)
from keypeg.v1.activation_service_pb2_grpc import ActivationServiceServicer
from keypeg_server.domain.client_certificate import CertificateRole
from keypeg_server.domain.license_life import who_is
from keypeg_server.domain.location import LocationKind
from keypeg_server.rpc import encode
from keypeg_server.rpc.caller import current
from keypeg_server.rpc.calls import cut, once, page_of
from keypeg_server.service.activations import ActivationService, ActivationView
from keypeg_server.service.deactivations import Deactivation


class ActivationRpc(ActivationServiceServicer):
    """Serves activations."""

    def __init__(self, activations: ActivationService) -> None:
        self._activations = activations

    async def CreateActivation(
        self, request: CreateActivationRequest, context: Any
    ) -> CreateActivationResponse:
        account, license = names.LICENSE.parse(request.parent, "parent")
        owner, location = names.LOCATION.parse(request.location, "location")
        if owner != account:
            what = "is of another account than the license"
            raise FieldInvalid(
                f"{request.location} {what}; name one of accounts/{account}.",
                fields={"location": what},
            )
        answer = await self._activations.create_activation(
            once(request, _created),
            account,
            license,
            location,
            current().user,
            who_is(current()),
        )
        return CreateActivationResponse.FromString(answer)

    async def GetActivation(
        self, request: GetActivationRequest, context: Any
    ) -> GetActivationResponse:
        account, license, id = names.ACTIVATION.parse(request.name)
        view = await self._activations.get_activation(account, license, id, _seen())
        return GetActivationResponse(
            activation=encode.activation(view.activation),
            document=view.document,
            delegation=view.delegation,
            contents=view.contents,
        )

    async def ListActivations(
        self, request: ListActivationsRequest, context: Any
    ) -> ListActivationsResponse:
        license: str | None = None
        if names.LICENSE.matches(request.parent):
            account, license = names.LICENSE.parse(request.parent, "parent")
        else:
            (account,) = names.ACCOUNT.parse(request.parent, "parent")
        page = page_of(request)
        found, token = cut(
            await self._activations.list_activations(account, license, page, _seen()),
            page,
            lambda activation: activation.id,
        )
        return ListActivationsResponse(
            activations=map(encode.activation, found), next_page_token=token
        )

    async def BeginDeactivation(
        self, request: BeginDeactivationRequest, context: Any
    ) -> BeginDeactivationResponse:
        account, license, id = names.ACTIVATION.parse(request.name)
        answer = await self._activations.begin_deactivation(
            once(request, _begun), account, license, id, who_is(current())
        )
        return BeginDeactivationResponse.FromString(answer)

    async def DeleteActivation(
        self, request: DeleteActivationRequest, context: Any
    ) -> DeleteActivationResponse:
        account, license, id = names.ACTIVATION.parse(request.name)
        answer = await self._activations.delete_activation(
            once(
                request,
                lambda switched: DeleteActivationResponse(switched_to_managed=switched),
            ),
            account,
            license,
            id,
            request.receipt if request.HasField("receipt") else None,
            who_is(current()),
        )
        return DeleteActivationResponse.FromString(answer)


def _seen() -> LocationKind | None:
    """The kind of locations whose activations the caller sees; None for each. A site sees those at sites."""
    return LocationKind.SITE if current().machine is CertificateRole.SITE else None


def _created(view: ActivationView) -> CreateActivationResponse:
    return CreateActivationResponse(
        activation=encode.activation(view.activation),
        document=view.document,
        delegation=view.delegation,
        contents=view.contents,
    )


def _begun(made: Deactivation) -> BeginDeactivationResponse:
    return BeginDeactivationResponse(
        activation=encode.activation(made.activation),
        nonce=made.nonce,
        contents=made.statement.contents,
        delegation=made.statement.delegation,
    )
