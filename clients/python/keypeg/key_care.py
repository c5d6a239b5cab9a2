"""Taking a license back from a key with its receipt, and writing a key again: between its bridge and its server.

Promises: an activation is free only when the key has signed that the license is gone; what is interrupted
anywhere is finished by doing the same again. A key is written again as its server says, and nothing else
of the account's stays on it.

Leaves to others: the first writing, looking at keys, and connecting (keys, calls).
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass

from keypeg import key_changes
from keypeg.activations import Side
from keypeg.errors import KeyLost, KeyMissing, KeypegError
from keypeg.keys import check_key, halfway, writing_to
from keypeg.v1 import (
    activation_service_pb2,
    activation_service_pb2_grpc,
    explanation_pb2,
    key_pb2,
    key_service_pb2,
    key_service_pb2_grpc,
    license_pb2,
    location_pb2,
    location_service_pb2,
)


@dataclass(frozen=True)
class Refreshed:
    """A key that carries what it should."""

    key: key_pb2.Key
    activations: tuple[str, ...]  # names


async def deactivate_from_key(
    server: Side,
    bridge: Side,
    key: key_pb2.Key,
    activation: license_pb2.Activation,
    account: str,
) -> key_pb2.Key:
    """Remove a license from its key, and free the activation by the key's receipt; the key as it is then."""
    stub = activation_service_pb2_grpc.ActivationServiceStub(server.channel)
    async with writing_to(server, bridge, key, account) as write:
        begun = await server.call(
            stub.BeginDeactivation,
            activation_service_pb2.BeginDeactivationRequest(
                name=activation.name, request_id=str(uuid.uuid4())
            ),
        )
        removed = await bridge.call(
            key_service_pb2_grpc.KeyServiceStub(bridge.channel).RemoveKeyLicense,
            key_service_pb2.RemoveKeyLicenseRequest(
                write=write.name,
                response=write.answer.response,
                activation=activation.name,
                generation=begun.activation.generation,
                nonce=begun.nonce,
                contents=begun.contents,
                delegation=begun.delegation,
            ),
        )
    try:
        await server.call(
            stub.DeleteActivation,
            activation_service_pb2.DeleteActivationRequest(
                name=activation.name, request_id=str(uuid.uuid4()), receipt=removed.receipt
            ),
        )
    except KeypegError as error:
        text = f"The license is gone from the key, and {activation.name} is not free yet: do the same again, with the key plugged in."
        raise halfway(error, activation.name, text) from error
    with suppress(KeypegError):  # the next look at the key tells both
        await check_key(server, bridge, removed.key, account)
    return removed.key


async def refresh_key(server: Side, bridge: Side, key: key_pb2.Key, account: str) -> Refreshed:
    """Write everything to a key that its server says it should carry. KeyLost for a lost one.

    Changes of licenses that wait for this key are applied before.
    """
    checked = await check_key(server, bridge, key, account)
    if checked.standing == location_service_pb2.KEY_STANDING_LOST:
        raise KeyLost(
            f"This key is {checked.location.name}, which was reported lost; it is refused for good.",
            location=checked.location.name,
        )
    changes = await key_changes.waiting_for(server, account, checked.location.name)
    for change in changes:
        key = await key_changes.apply_change(server, bridge, key, change, account)
    if changes:
        checked = await check_key(server, bridge, key, account)
    stub = activation_service_pb2_grpc.ActivationServiceStub(server.channel)
    written = []
    async with writing_to(server, bridge, key, account) as write:
        response = write.answer.response
        for name in checked.activations:
            made = await server.call(
                stub.GetActivation, activation_service_pb2.GetActivationRequest(name=name)
            )
            if made.activation.deactivating:
                continue  # it is asked to give that back
            answer = await bridge.call(
                key_service_pb2_grpc.KeyServiceStub(bridge.channel).WriteKeyLicense,
                key_service_pb2.WriteKeyLicenseRequest(
                    write=write.name,
                    response=response,
                    license=made.document,
                    delegation=made.delegation,
                    contents=made.contents if made.HasField("contents") else None,
                ),
            )
            key, response = answer.key, b""
            written.append(name)
        for one in [] if written else checked.statements:  # what it should carry is nothing
            alone = key_service_pb2.WriteKeyLicenseRequest(
                write=write.name,
                response=response,
                delegation=one.delegation,
                contents=one.contents,
            )
            keys = key_service_pb2_grpc.KeyServiceStub(bridge.channel)
            key, response = (await bridge.call(keys.WriteKeyLicense, alone)).key, b""
    with suppress(KeypegError):
        await check_key(server, bridge, key, account)
    return Refreshed(key, tuple(written))


async def plugged_in(bridge: Side, location: location_pb2.Location) -> key_pb2.Key | None:
    """The key of a location, when it is plugged in at the bridge."""
    stub = key_service_pb2_grpc.KeyServiceStub(bridge.channel)
    keys = (await bridge.call(stub.ListKeys, key_service_pb2.ListKeysRequest())).keys
    present = (one for one in keys if one.state == key_pb2.KEY_STATE_PRESENT)
    return next((one for one in present if one.card_id == location.card_id), None)


def not_here(activation: license_pb2.Activation, location: location_pb2.Location) -> KeyMissing:
    """The refusal that says where a license is, and what to do."""
    called = f"{location.display_name} {location.serial}".strip()
    remedies = [
        explanation_pb2.Remedy(
            action="plug_in",
            resource=location.name,
            sentence=f"Plug in the key {called}, where a bridge runs, and do the same again.",
        ),
        explanation_pb2.Remedy(
            action="report_lost",
            resource=location.name,
            sentence=f"If it is lost or broken: keypeg key report-lost {location.name}",
        ),
    ]
    return KeyMissing(
        f"{activation.name} lives on the key {called} ({location.name}), which is not plugged in here. "
        "Plug it in and do the same again; if it is lost or broken, report it: "
        f"keypeg key report-lost {location.name.rpartition('/')[2]}",
        explanation=explanation_pb2.Explanation(remedies=remedies),
        location=location.name,
        activation=activation.name,
    )
