"""Changes of licenses that wait for a key: applied when the key is at hand, between its bridge and its server.

Promises: the key removes the license and signs that it is gone, and the server applies the change with that
receipt; what is interrupted anywhere is finished by doing the same again.

Leaves to others: recording changes (the server), writing what the key should carry otherwise (key_care).
"""

from __future__ import annotations

import uuid

from keypeg.activations import Side, pages
from keypeg.keys import writing_to
from keypeg.v1 import (
    key_pb2,
    key_service_pb2,
    key_service_pb2_grpc,
    license_life_pb2,
    license_service_pb2,
    license_service_pb2_grpc,
)


async def waiting_for(
    server: Side, account: str, location: str
) -> list[license_life_pb2.LicenseChange]:
    """The changes of an account that wait for the key at a location, oldest first."""
    stub = license_service_pb2_grpc.LicenseServiceStub(server.channel)
    request = license_service_pb2.ListLicenseChangesRequest(parent=account, page_size=1000)
    found: list[license_life_pb2.LicenseChange] = []
    async for page in pages(server, stub.ListLicenseChanges, request):
        found += [one for one in page.changes if one.waits_for == location]
    return found


async def apply_change(
    server: Side,
    bridge: Side,
    key: key_pb2.Key,
    change: license_life_pb2.LicenseChange,
    account: str,
) -> key_pb2.Key:
    """Have the key give a license back, and the server apply the change; the key as it is then."""
    stub = license_service_pb2_grpc.LicenseServiceStub(server.channel)
    async with writing_to(server, bridge, key, account) as write:
        begun = await server.call(
            stub.BeginLicenseChange, license_service_pb2.BeginLicenseChangeRequest(name=change.name)
        )
        removed = await bridge.call(
            key_service_pb2_grpc.KeyServiceStub(bridge.channel).RemoveKeyLicense,
            key_service_pb2.RemoveKeyLicenseRequest(
                write=write.name,
                response=write.answer.response,
                activation=begun.activation.name,
                generation=begun.activation.generation,
                nonce=begun.nonce,
                contents=begun.contents,
                delegation=begun.delegation,
            ),
        )
    await server.call(
        stub.ApplyLicenseChange,
        license_service_pb2.ApplyLicenseChangeRequest(
            name=change.name, request_id=str(uuid.uuid4()), receipt=removed.receipt
        ),
    )
    return removed.key
