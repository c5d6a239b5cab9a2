"""From the rack's values to the contract's messages. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from keypeg.errors import KeypegError
from keypeg.v1 import key_pb2, proof_pb2
from keypeg_bridge.rack.choice import Choice
from keypeg_bridge.rack.record import KeyRecord
from keypeg_bridge.rack.states import State

STATES: Final = {
    State.PRESENT: key_pb2.KEY_STATE_PRESENT,
    State.MISSING: key_pb2.KEY_STATE_MISSING,
    State.FAULTY: key_pb2.KEY_STATE_FAULTY,
    State.GONE: key_pb2.KEY_STATE_GONE,
    State.DRAINING: key_pb2.KEY_STATE_DRAINING,
    State.STOPPED: key_pb2.KEY_STATE_STOPPED,
}
assert set(STATES) == set(State)


def key(record: KeyRecord, refused: Sequence[KeypegError] = ()) -> key_pb2.Key:
    """A key; `refused` says why licenses on it are."""
    message = key_pb2.Key(name=record.name, state=STATES[record.state], fault=record.fault)
    message.plug_time.FromDatetime(record.plug_time)
    reading = record.reading
    if reading is None:
        return message
    identity, able = reading.identity, reading.capabilities
    message.driver = identity.driver
    message.model = identity.model
    message.serial = identity.serial
    message.emulated = identity.emulated
    message.card_id = identity.card_id.hex() if identity.card_id else ""
    if identity.public_key is not None:
        message.enrolled = True
        message.public_key.algorithm = identity.key_algorithm  # type: ignore[assignment]
        message.public_key.key = identity.public_key
    message.capabilities.silent_proof = able.silent_proof
    message.capabilities.counter = able.counter
    message.capabilities.slot_count = able.slot_count
    message.capabilities.slot_size_bytes = able.slot_size_bytes
    message.capabilities.management_algorithm = able.management_algorithm
    message.capabilities.features.extend(able.features)
    for stored in reading.licenses:
        message.licenses.add(slot=stored.slot, license=stored.envelope)
    message.contents.extend(one.envelope for one in reading.index.contents)
    message.suspicions.extend(reading.signals)
    message.suspicions.extend(str(error) for error in refused)
    if refused:
        message.fault = " ".join([*filter(None, [message.fault]), *map(str, refused)])
    return message


def attestation(record: KeyRecord) -> key_pb2.KeyAttestation | None:
    """What the maker of a key says of it; None when it says nothing."""
    certificates = () if record.reading is None else record.reading.identity.attestation
    return key_pb2.KeyAttestation(certificates=certificates) if certificates else None


def key_proof(
    choice: Choice, location_host: str, session: str, signature: bytes
) -> proof_pb2.Proof:
    """What the app verifies."""
    return proof_pb2.Proof(
        key=proof_pb2.KeyProof(
            delegation=choice.delegation,
            license=choice.license.envelope,
            contents=choice.contents,
            location_host=location_host,
            session=session,
            signature=signature,
        )
    )
