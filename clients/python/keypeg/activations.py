"""A license's activation at a location, wherever that is: found, and made where there is none.

Promises: what was activated before is not activated again: whoever was interrupted goes on with the same activation.

Leaves to others: locations, and what has to be where the license lives (keys, hosts), connecting (calls).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

import grpc.aio

from keypeg.v1 import activation_service_pb2 as pb
from keypeg.v1 import activation_service_pb2_grpc, license_pb2

R = TypeVar("R")


class Side(Protocol):
    """A server, or a key's bridge: a channel, and a way to call with deadlines and KeypegErrors."""

    @property
    def channel(self) -> grpc.aio.Channel:
        """Where the calls go."""
        ...

    async def call(self, method: Callable[..., Awaitable[R]], request: object) -> R:
        """One call; raises KeypegError."""
        ...


async def pages(
    server: Side, method: Callable[..., Awaitable[Any]], request: Any
) -> AsyncIterator[Any]:
    """The answers to a list, page by page; each page's token is put into the request for the next."""
    while True:
        page = await server.call(method, request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def activation_at(
    server: Side, license_name: str, location: str
) -> license_pb2.Activation | None:
    """The license's activation at a location; None when there is none."""
    stub = activation_service_pb2_grpc.ActivationServiceStub(server.channel)
    request = pb.ListActivationsRequest(parent=license_name, page_size=1000)
    async for page in pages(server, stub.ListActivations, request):
        for activation in page.activations:
            if activation.location == location:
                found: license_pb2.Activation = activation
                return found
    return None


async def get_or_create(
    server: Side,
    license_name: str,
    location: str,
    existing: license_pb2.Activation | None,
    *,
    request_id: str,
) -> pb.GetActivationResponse | pb.CreateActivationResponse:
    """The activation at a location with its documents: the `existing` one, or a new one for None.

    One that its key has been asked to give back is kept by that.
    """
    stub = activation_service_pb2_grpc.ActivationServiceStub(server.channel)
    if existing is not None and not existing.deactivating:
        return await server.call(stub.GetActivation, pb.GetActivationRequest(name=existing.name))
    created = pb.CreateActivationRequest(
        parent=license_name, request_id=request_id, location=location
    )
    return await server.call(stub.CreateActivation, created)
