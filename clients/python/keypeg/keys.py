"""Enrolling a key, activating onto one, and looking at it: the talk between a key's bridge and its account's server.

Promises: the two never talk to each other; this relays, and keeps no secret. A write is always ended, so
that the key is free for others. What can be refused is refused before a license's activation is spent;
when writing fails after that, the same call again writes the same activation, not a second one.

Leaves to others: taking licenses back from keys (key_care), the key (its bridge), the secrets that write to it (the server), connecting (calls).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from keypeg import activations, key_contents
from keypeg.activations import Side
from keypeg.errors import AlreadyExists, KeyFull, KeyNotEnrolled, KeypegError, KeyUnsuitable
from keypeg.v1 import (
    document_pb2,
    key_pb2,
    key_service_pb2,
    key_service_pb2_grpc,
    license_pb2,
    location_pb2,
    location_service_pb2,
    location_service_pb2_grpc,
)

SUSPICIONS: Final = 16  # told to the server at most
SUSPICION_CHARACTERS: Final = 256


@dataclass(frozen=True)
class KeyActivation:
    """An activation, and the key that carries it now."""

    activation: license_pb2.Activation
    document: document_pb2.Envelope
    delegation: document_pb2.Envelope
    key: key_pb2.Key


async def enroll_key(
    server: Side,
    bridge: Side,
    key: key_pb2.Key,
    account: str,
    *,
    display_name: str,
    request_id: str,
) -> location_pb2.Location:
    """Give a key its own private key, and add it to `account` as a location.

    AlreadyExists when the account has it; KeyUnsuitable when it carries licenses, which a new private
    key would make worthless.
    """
    locations = location_service_pb2_grpc.LocationServiceStub(server.channel)
    known = await location_of(server, account, key.card_id)
    if known is not None and not known.HasField("lost_time"):
        raise AlreadyExists(
            f"This key is enrolled already, as {known.display_name or known.name}.",
            location=known.name,
        )
    if key.licenses:
        raise KeyUnsuitable(
            f"This key carries {len(key.licenses)} licenses, perhaps of another account; enrolling it "
            "anew would make them worthless. Use another key, or reset this one first.",
            capability="empty",
        )
    async with writing_to(server, bridge, key, account) as write:
        enrolled = await bridge.call(
            key_service_pb2_grpc.KeyServiceStub(bridge.channel).EnrollKey,
            key_service_pb2.EnrollKeyRequest(
                write=write.name,
                response=write.answer.response,
                new_management_key=write.answer.new_management_key,
                new_management_algorithm=write.answer.new_management_algorithm,
                enrollment_nonce=write.answer.enrollment_nonce,
                account=account,
            ),
        )
    created = await server.call(
        locations.CreateKeyLocation,
        location_service_pb2.CreateKeyLocationRequest(
            parent=account,
            request_id=request_id,
            card_id=write.card_id,
            public_key=enrolled.key.public_key,
            enrollment_nonce=write.answer.enrollment_nonce,
            signature=enrolled.signature,
            display_name=display_name,
            model=enrolled.key.model,
            serial=enrolled.key.serial,
            emulated=enrolled.key.emulated,
            attestation=enrolled.attestation if enrolled.HasField("attestation") else None,
        ),
    )
    return created.location


async def activate_onto_key(
    server: Side,
    bridge: Side,
    key: key_pb2.Key,
    license_name: str,
    account: str,
    *,
    request_id: str,
    on_writing: Callable[[], None] | None = None,
) -> KeyActivation:
    """Activate a license on a key and write it there; an activation that is there already is written again.

    `on_writing` is called when the license is activated, and the key is written to from now on.
    """
    location = await location_of(server, account, key.card_id)
    if location is None:
        raise KeyNotEnrolled(
            "This key is not enrolled at the account, so nothing can be activated on it.",
            key=key.name,
        )
    if location.HasField("lost_time"):
        with suppress(KeypegError):  # so that its bridge knows
            await check_key(server, bridge, key, account)
        raise key_contents.lost(location.name)
    existing = await activations.activation_at(server, license_name, location.name)
    slots = key.capabilities.slot_count
    if existing is None and slots and len(key.licenses) >= slots:
        raise KeyFull(
            f"The key carries {len(key.licenses)} licenses and has room for no more; "
            "delete an activation on it, or use another key.",
            key=key.name,
        )
    async with writing_to(server, bridge, key, account) as write:
        made = await activations.get_or_create(
            server, license_name, location.name, existing, request_id=request_id
        )
        if on_writing is not None:
            on_writing()
        try:
            written = await bridge.call(
                key_service_pb2_grpc.KeyServiceStub(bridge.channel).WriteKeyLicense,
                key_service_pb2.WriteKeyLicenseRequest(
                    write=write.name,
                    response=write.answer.response,
                    license=made.document,
                    delegation=made.delegation,
                    contents=made.contents if made.HasField("contents") else None,
                ),
            )
        except KeypegError as error:
            named = made.activation.name
            text = f"The license is activated on this key ({named}), but not written to it: do the same again to write it."
            raise halfway(error, named, text) from error
    with suppress(KeypegError):  # the next look at the key tells the server as well
        await check_key(server, bridge, written.key, account)
    return KeyActivation(made.activation, made.document, made.delegation, written.key)


@dataclass(frozen=True)
class Write:
    """A write to a key that has begun, with the server's answer to the key's challenge."""

    name: str
    card_id: str
    answer: location_service_pb2.AuthorizeKeyWriteResponse

    def __repr__(self) -> str:
        return f"Write(card_id={self.card_id!r})"  # its name and the answer are secrets


@asynccontextmanager
async def writing_to(
    server: Side, bridge: Side, key: key_pb2.Key, account: str
) -> AsyncIterator[Write]:
    """Take a key for writing, with its server's authorization; it is free for others afterwards."""
    keys = key_service_pb2_grpc.KeyServiceStub(bridge.channel)
    begun = await bridge.call(
        keys.BeginKeyWrite, key_service_pb2.BeginKeyWriteRequest(key=key.name)
    )
    try:
        answer = await server.call(
            location_service_pb2_grpc.LocationServiceStub(server.channel).AuthorizeKeyWrite,
            location_service_pb2.AuthorizeKeyWriteRequest(
                parent=account,
                card_id=begun.card_id,
                management_algorithm=begun.management_algorithm,
                challenge=begun.challenge,
                factory_key=begun.factory_key,
                emulated=key.emulated,
            ),
        )
        yield Write(begun.write, begun.card_id, answer)
    finally:
        with suppress(KeypegError):  # a write also ends by its time
            await bridge.call(
                keys.EndKeyWrite, key_service_pb2.EndKeyWriteRequest(write=begun.write)
            )


async def check_key(
    server: Side, bridge: Side, key: key_pb2.Key, account: str
) -> location_service_pb2.CheckKeyResponse:
    """Let the server compare a key with what it should carry, and tell the bridge what it says.

    KeyNotEnrolled for a key that the account does not have. From then on the bridge refuses old contents of
    the key, and a key that was reported lost.
    """
    checked = await server.call(
        location_service_pb2_grpc.LocationServiceStub(server.channel).CheckKey,
        location_service_pb2.CheckKeyRequest(
            parent=account,
            card_id=key.card_id,
            public_key=key.public_key,
            contents=key.contents,
            suspicions=[one[:SUSPICION_CHARACTERS] for one in key.suspicions[:SUSPICIONS]],
        ),
    )
    keys = key_service_pb2_grpc.KeyServiceStub(bridge.channel)
    for one in checked.statements:
        request = key_service_pb2.FenceKeyRequest(contents=one.contents, delegation=one.delegation)
        await bridge.call(keys.FenceKey, request)
    return checked


async def location_of(server: Side, account: str, card_id: str) -> location_pb2.Location | None:
    """The account's location that is this card, one that was reported lost if there is no other; None for none."""
    if not card_id:
        return None
    lost: location_pb2.Location | None = None
    stub = location_service_pb2_grpc.LocationServiceStub(server.channel)
    request = location_service_pb2.ListLocationsRequest(parent=account, page_size=1000)
    async for page in activations.pages(server, stub.ListLocations, request):
        for location in page.locations:
            if location.card_id == card_id and not location.HasField("lost_time"):
                found: location_pb2.Location = location
                return found
            lost = location if location.card_id == card_id else lost
    return lost


def halfway(error: KeypegError, activation: str, how_to_go_on: str) -> KeypegError:
    """An error after which a part is done: the same, with what was done before it and how to go on."""
    told = type(error)(
        f"{error.sentence} {how_to_go_on}",
        explanation=error.explanation,
        retry_after=error.retry_after,
    )
    told.metadata.update(error.metadata, activation=activation)
    return told
