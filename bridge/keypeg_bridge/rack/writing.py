"""What a write does: checks of what is to be written, and the steps on the key itself.

Promises: what an app would refuse later is refused before it is written; what was written is read back; slots that hold
something foreign are left alone. Whose turn it is, and for how long, is `writes`.
"""

from __future__ import annotations

from collections.abc import Callable

from keypeg import key_contents, receipts
from keypeg.errors import (
    DocumentMalformed,
    DocumentOtherDevice,
    DocumentOtherPublisher,
    DocumentSuperseded,
    KeyFaulty,
    KeyFull,
    KeyNotEnrolled,
    KeyProofInvalid,
)
from keypeg.possession import check_possession
from keypeg.v1 import document_pb2, location_pb2
from keypeg.v1.key_contents_pb2 import KeyContents, Receipt
from keypeg_bridge.rack import contents as slots
from keypeg_bridge.rack.index import INDEX_SLOT, StoredContents, encode_index
from keypeg_bridge.rack.memory import public_key_of
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
    license: document_pb2.Envelope | None,
    delegation: document_pb2.Envelope,
) -> tuple[slots.StoredLicense | None, slots.StoredDelegation]:
    if license is None:
        return None, parsed_delegation(delegation)
    try:
        new = slots.stored_license(slots.FIRST_LICENSE_SLOT, license)
    except SlotMalformed as error:
        raise _malformed(error) from None
    signed_under = parsed_delegation(delegation)
    if new.document.publisher != signed_under.document.publisher:
        raise DocumentOtherPublisher(
            f"The license is of {new.document.publisher!r}, its delegation of"
            f" {signed_under.document.publisher!r}. Give the two that belong together.",
            publisher=signed_under.document.publisher,
            expected=new.document.publisher,
        )
    return new, signed_under


def parsed_delegation(delegation: document_pb2.Envelope) -> slots.StoredDelegation:
    try:
        return slots.stored_delegation(delegation)
    except SlotMalformed as error:
        raise _malformed(error) from None


def _malformed(error: SlotMalformed) -> DocumentMalformed:
    return DocumentMalformed(
        f"This is no license with its delegation ({error}). Fetch both from the server again."
    )


def check_for(
    reading: Reading, key: str, new: slots.StoredLicense | None, contents: KeyContents | None
) -> None:
    """What the app would refuse later is refused before it is written."""
    own = reading.identity.public_key
    if own is None:
        raise KeyNotEnrolled(f"The key {key} is not enrolled. Enroll it first.", key=key)
    if new is None:
        return
    if (
        new.document.location_kind != location_pb2.LOCATION_KIND_KEY
        or new.document.location_key.key != own
    ):
        raise DocumentOtherDevice(
            f"The license is not for the key {key}. Activate it to this key's location.", key=key
        )
    _check_named(contents, new)
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


def check_contents(
    reading: Reading,
    key: str,
    contents: document_pb2.Envelope | None,
    signed_under: slots.StoredDelegation,
    least: Callable[[KeyContents], int],
) -> KeyContents | None:
    """What the app, or this bridge, would refuse later is refused before it is written; `least` is what was seen."""
    publisher = signed_under.document.publisher
    before = reading.contents_of(publisher)
    if contents is None:
        if before is not None:
            raise _superseded(key, 0, before.document.version)
        return None
    document, _ = key_contents.vouched(contents, signed_under.envelope)
    own = reading.identity.public_key
    if own is not None and document.location_key.key != own:
        raise DocumentOtherDevice(
            f"These contents are not those of the key {key}. Activate to this key's location.",
            key=key,
        )
    if document.lost:
        raise key_contents.lost(document.location)
    seen = least(document)
    if before is not None and before.vouched:
        seen = max(seen, before.document.version)
    if document.version < seen:
        raise _superseded(key, document.version, seen)
    return document


def _check_named(contents: KeyContents | None, new: slots.StoredLicense) -> None:
    """A license that its contents do not name opens nothing."""
    if contents is None and not new.document.contents_version:
        return
    if contents is None or new.document.generation != key_contents.generation_of(
        contents, new.document.activation
    ):
        raise DocumentSuperseded(
            f"The contents that came with {new.document.activation} do not name it. Fetch both from"
            " the server again.",
            name=new.document.activation,
        )


def fill_in(receipt: Receipt, contents: KeyContents | None) -> None:
    """Say where the license was; a key that should carry it gives no receipt."""
    if contents is None or key_contents.generation_of(contents, receipt.activation):
        raise DocumentSuperseded(
            f"By these contents {receipt.activation} stays on the key. Begin its deactivation at the"
            " server.",
            name=receipt.activation,
        )
    receipt.location = contents.location
    receipt.contents_version = contents.version


def put(
    key: OpenKey,
    new: slots.StoredLicense | None,
    signed_under: slots.StoredDelegation,
    contents: document_pb2.Envelope | None,
) -> Reading:
    """Write delegation and contents, remove what these do not name, then write the license; read all back."""
    before = read_key(key)
    index = before.index.having(signed_under, contents)
    stale = _stale(before, index.of(signed_under.document.publisher))
    slot = None if new is None else _slot_for(before, new, stale)
    if index != before.index:
        _write(key, INDEX_SLOT, encode_index(index))
    for one in stale - {slot}:
        _write(key, one, b"")
    if new is not None and slot is not None:
        _write(key, slot, new.envelope.SerializeToString())
    return read_key(key)


def remove(
    key: OpenKey,
    receipt: Receipt,
    signed_under: slots.StoredDelegation,
    contents: document_pb2.Envelope,
) -> tuple[Reading, document_pb2.Envelope]:
    """Bring the key to contents that do not name a license, and let it sign that it is gone."""
    reading = put(key, None, signed_under, contents)
    public_key = public_key_of(reading.identity)
    left = [one for one in reading.licenses if one.document.activation == receipt.activation]
    if left or public_key is None:
        raise KeyFaulty(
            f"{receipt.activation} is still on the key. Use another key, and report this one lost.",
            detail=f"slot {left[0].slot} is not empty" if left else "it has lost its private key",
        )
    payload = receipt.SerializeToString(deterministic=True)
    challenge = receipts.challenge_of(payload)
    signature = key.prove(challenge)
    try:
        check_possession(public_key, challenge, signature)
    except KeyProofInvalid as error:
        raise KeyFaulty(
            "The key's signature is wrong. Unplug it, plug it in again, and do the same again.",
            detail="wrong signature",
        ) from error
    return reading, receipts.sealed(payload, public_key, signature)


def _stale(reading: Reading, now: StoredContents | None) -> set[int]:
    """The slots of licenses of a publisher that its contents do not name."""
    if now is None:
        return set()
    contents = now.document
    return {
        one.slot
        for one in reading.licenses
        if one.document.publisher == contents.publisher
        and one.document.location_key == contents.location_key
        and one.document.generation != key_contents.generation_of(contents, one.document.activation)
    }


def _superseded(key: str, version: int, seen: int) -> DocumentSuperseded:
    return DocumentSuperseded(
        f"The key {key} has carried contents of version {seen}, newer than {version}. Fetch the newest"
        " from the server.",
        key=key,
        seen=str(seen),
    )


def _slot_for(reading: Reading, new: slots.StoredLicense, free: set[int]) -> int:
    for stored in reading.licenses:
        if stored.document.activation == new.document.activation:
            return stored.slot
    taken = {stored.slot for stored in reading.licenses} | set(reading.foreign_slots)
    taken -= free
    for slot in range(slots.FIRST_LICENSE_SLOT, reading.capabilities.slot_count + 1):
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
        kept = (key.read(slot) or b"") == data
    except SlotMalformed:
        kept = False
    if not kept:
        raise KeyFaulty(
            f"The key did not keep what was written to slot {slot}. Use another key.",
            detail=f"slot {slot} reads back differently",
        )
