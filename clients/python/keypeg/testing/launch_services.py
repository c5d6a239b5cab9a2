"""What a stand-in host says to an app that is launched for the first time: who signs in, what they own.

Promises: any login with the password of the host signs in; the account owns one license for the host's product,
which may be in the cloud, and none else. The cloud session is the host's.

Leaves to others: the rules of a real server; opening the cloud session (testing.services).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from keypeg import errors
from keypeg.v1 import (
    account_pb2,
    account_service_pb2,
    activation_service_pb2,
    cloud_session_pb2,
    cloud_session_service_pb2,
    license_pb2,
    license_service_pb2,
    location_pb2,
    location_service_pb2,
)

if TYPE_CHECKING:
    from keypeg.testing.host import StandInHost

_Call = Callable[[Any, Any], Awaitable[Any]]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def launch_handlers(host: StandInHost) -> Mapping[str, Mapping[str, Handler]]:
    """By service, the methods that a launch calls beside those of every session."""

    async def sign_in(request: account_service_pb2.SignInRequest, context: Any) -> Any:
        if request.password != host.password:
            raise errors.CredentialsInvalid("User name or password is wrong; try again.")
        account = host.publisher.account
        user = account_pb2.User(name=f"{account}/users/{request.login}", login=request.login)
        return account_service_pb2.SignInResponse(token="stand-in", user=user, account=account)  # noqa: S106

    async def get_cloud_session(
        request: cloud_session_service_pb2.GetCloudSessionRequest, context: Any
    ) -> Any:
        device = host.cloud_session_device or ""
        session = cloud_session_pb2.CloudSession(
            name=request.name,
            state=cloud_session_pb2.CLOUD_SESSION_STATE_OPEN
            if device
            else cloud_session_pb2.CLOUD_SESSION_STATE_CLOSED,
            mode=cloud_session_pb2.CLOUD_MODE_AUTOMATIC,
            device=device,
            host_name=device,
        )
        return cloud_session_service_pb2.GetCloudSessionResponse(cloud_session=session)

    async def list_licenses(request: license_service_pb2.ListLicensesRequest, context: Any) -> Any:
        one = license_pb2.License(
            name=f"{request.parent}/licenses/stand-in",
            product=host.terms.product,
            opens_products=[host.terms.product],
            state=license_pb2.LICENSE_STATE_ACTIVE,
            allowed_locations=[location_pb2.LOCATION_KIND_CLOUD],
            activation_count=1,
        )
        return license_service_pb2.ListLicensesResponse(licenses=[one])

    async def list_activations(request: Any, context: Any) -> Any:
        return activation_service_pb2.ListActivationsResponse()

    async def list_locations(request: Any, context: Any) -> Any:
        return location_service_pb2.ListLocationsResponse()

    accounts, cloud = account_service_pb2, cloud_session_service_pb2
    licenses, activations = license_service_pb2, activation_service_pb2
    locations = location_service_pb2
    return {
        "AccountService": {"SignIn": _unary(sign_in, accounts.SignInRequest)},
        "CloudSessionService": {
            "GetCloudSession": _unary(get_cloud_session, cloud.GetCloudSessionRequest)
        },
        "LicenseService": {"ListLicenses": _unary(list_licenses, licenses.ListLicensesRequest)},
        "ActivationService": {
            "ListActivations": _unary(list_activations, activations.ListActivationsRequest)
        },
        "LocationService": {
            "ListLocations": _unary(list_locations, locations.ListLocationsRequest)
        },
    }


def _unary(call: _Call, request: Any) -> Handler:
    return grpc.unary_unary_rpc_method_handler(
        call,
        request_deserializer=request.FromString,
        response_serializer=lambda answer: answer.SerializeToString(),
    )
