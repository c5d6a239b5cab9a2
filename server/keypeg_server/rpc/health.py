"""What a server serves of the contract, and whether it does: gRPC's health checks and reflection.

Promises: health is told of every service and of the server as a whole, the same of all.

Leaves to others: when a server may act (service/cluster.py), the services themselves.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import (
    aio as health,  # pyright: ignore[reportAttributeAccessIssue]  # defined by Python version
)
from grpc_reflection.v1alpha import reflection

from keypeg.v1 import (
    account_service_pb2,
    activation_service_pb2,
    api_key_service_pb2,
    borrow_service_pb2,
    catalog_service_pb2,
    certificate_service_pb2,
    cloud_session_service_pb2,
    credential_service_pb2,
    identity_service_pb2,
    license_service_pb2,
    location_service_pb2,
    passkey_service_pb2,
    people_service_pb2,
    report_service_pb2,
    seat_service_pb2,
    session_service_pb2,
    sign_in_service_pb2,
)
from keypeg_server.rpc.doors import Doors

# What this server serves of the contract.
CONTRACT: Final = (
    account_service_pb2,
    activation_service_pb2,
    api_key_service_pb2,
    borrow_service_pb2,
    catalog_service_pb2,
    certificate_service_pb2,
    cloud_session_service_pb2,
    credential_service_pb2,
    identity_service_pb2,
    license_service_pb2,
    location_service_pb2,
    passkey_service_pb2,
    people_service_pb2,
    report_service_pb2,
    seat_service_pb2,
    session_service_pb2,
    sign_in_service_pb2,
)
SERVICES: Final = tuple(
    service.full_name
    for module in CONTRACT
    for service in module.DESCRIPTOR.services_by_name.values()
)


class Health:
    """Of one server."""

    def __init__(self) -> None:
        self._servicer = health.HealthServicer()
        self._serving = True
        self._showing: asyncio.Task[None] | None = None

    async def serve(self, doors: Doors) -> None:
        """Answer at these ports: all is well."""
        both: Any = doors  # to the generated code, as a server
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, both)
        await self._set(True)
        reflection.enable_server_reflection(
            (
                *SERVICES,
                health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
                reflection.SERVICE_NAME,
            ),
            doors.reflecting,
        )

    def show(self, serving: bool) -> None:
        """Balancers pass over a server that may not act."""
        if serving is not self._serving:
            self._serving = serving
            self._showing = asyncio.get_running_loop().create_task(self._set(serving))

    async def leave(self) -> None:
        """Nothing is served any more, whatever is shown later."""
        await self._servicer.enter_graceful_shutdown()

    async def _set(self, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        for service in ("", *SERVICES):
            await self._servicer.set(service, status.SERVING if serving else status.NOT_SERVING)
