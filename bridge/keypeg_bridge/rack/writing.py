"""What a write does: checks of what is to be written, and the steps on the key itself.

Promises: what an app would refuse later is refused before it is written; what was written is read back; slots that hold
something foreign are left alone. Whose turn it is, and for how long, is `writes`.
"""

from __future__ import annotations

from keypeg.errors import (
    DocumentMalformed,
    DocumentOtherDevice,
    DocumentOtherPublisher,
    DocumentSuperseded,
    KeyFaulty,
    KeyFull,
    KeyNotEnrolled,
)
from keypeg.v1 import document_pb2, location_pb2
from keypeg_bridge.rack import contents
from keypeg_bridge.rack.ports import OpenKey, SlotMalformed
from keypeg_bridge.rack.reading import Reading, read_key


def begin(key: OpenKey) -> tuple[Reading, bytes]:
    """Who the key is now, and its challenge; a new key gets its card id first."""
    identity = key.identity()
    if identity.card_id is None:
        key.give_card_id()
    reading = read_key(key)
    return reading, key.begin_authorization()


def own_licenses(reading: Reading) -> bool:
    own = reading.identity.public_key
    return own is not None and any(one.document.location_key.key == own for one in reading.licenses)


def parsed(
    license: document_pb2.Envelope,
    delegation: document_pb2.Envelope,
) -> tuple[contents.StoredLicense, contents.StoredDelegation]:
    try:
        new = contents.stored_license(contents.FIRST_LICENSE_SLOT, license)
        signed_under = contents.stored_delegation(delegation)
    except SlotMalformed as error:
        raise DocumentMalformed(
            f"This is no license with its delegation ({error}). Fetch both from the server again."
        ) from None
    if new.document.publisher != signed_under.document.publisher:
        raise DocumentOtherPublisher(
            f"The license is of {new.document.publisher!r}, its delegation of"
            f" {signed_under.document.publisher!r}. Give the two that belong together.",
            publisher=signed_under.document.publisher,
            expected=new.document.publisher,
        )
    return new, signed_under


def check_for(reading: Reading, key: str, new: contents.StoredLicense) -> None:
    """What the app would refuse later is refused before it is written."""
    own = reading.identity.public_key
    if own is None:
        raise KeyNotEnrolled(f"The key {key} is not enrolled. Enroll it first.", key=key)
    if (
        new.document.location_kind != location_pb2.LOCATION_KIND_KEY
        or new.document.location_key.key != own
    ):
        raise DocumentOtherDevice(
            f"The license is not for the key {key}. Activate it to this key's location.", key=key
        )
    for stored in reading.licenses:
        if (
            stored.document.activation == new.document.activation
            and stored.document.generation > new.document.generation
        ):
            raise DocumentSuperseded(
                f"The key {key} carries generation {stored.document.generation} of this license,"
                f" newer than {new.document.generation}. Fetch the newest from the server.",
                key=key,
            )


def put(
    key: OpenKey, new: contents.StoredLicense, signed_under: contents.StoredDelegation
) -> Reading:
    """Write the delegation if it is new, then the license; read both back."""
    before = read_key(key)
    slot = _slot_for(before, new)
    delegations = contents.with_delegation(before.delegations, signed_under)
    if delegations != before.delegations:
        _write(key, contents.DELEGATION_SLOT, contents.encode_delegations(delegations))
    _write(key, slot, new.envelope.SerializeToString())
    return read_key(key)


def _slot_for(reading: Reading, new: contents.StoredLicense) -> int:
    for stored in reading.licenses:
        if stored.document.activation == new.document.activation:
            return stored.slot
    taken = {stored.slot for stored in reading.licenses} | set(reading.foreign_slots)
    for slot in range(contents.FIRST_LICENSE_SLOT, reading.capabilities.slot_count + 1):
        if slot not in taken:
            return slot
    raise KeyFull(
        f"All {reading.capabilities.slot_count} slots of the key are taken. Deactivate a license"
        " from it first.",
        slots=str(reading.capabilities.slot_count),
    )


def _write(key: OpenKey, slot: int, data: bytes) -> None:
    key.write(slot, data)
    try:
        kept = key.read(slot) == data
    except SlotMalformed:
        kept = False
    if not kept:
        raise KeyFaulty(
            f"The key did not keep what was written to slot {slot}. Use another key.",
            detail=f"slot {slot} reads back differently",
        )
