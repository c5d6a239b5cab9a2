"""The wide-spread vendor extensions that only tell or begin anew: metadata, serial, version, attestation, reset.

Promises: metadata tells no secret; a reset needs PIN and PUK to be blocked, and leaves the attestation slot as it is.
"""

from __future__ import annotations

from typing import Final

from keypeg_bridge.emulator.piv import attestation, keys
from keypeg_bridge.emulator.piv.refusal import Refused, need
from keypeg_bridge.emulator.piv.session import Session
from keypeg_bridge.emulator.piv.state import (
    DEFAULT_MANAGEMENT_KEY,
    DEFAULT_PIN,
    DEFAULT_PUK,
    Secret,
    new_piv,
)
from keypeg_bridge.wire import piv, tlv
from keypeg_bridge.wire.apdu import Command, Status

_NO_ALGORITHM: Final = b"\xff"  # of a PIN or PUK


def metadata(session: Session, command: Command) -> bytes:
    """INS F7: what is known of a key or PIN."""
    need(command.p1 == 0, Status.WRONG_P1P2)
    state = session.state
    if command.p2 == piv.REFERENCE_PIN:
        return _about_secret(state.pin, DEFAULT_PIN)
    if command.p2 == piv.REFERENCE_PUK:
        return _about_secret(state.puk, DEFAULT_PUK)
    if command.p2 == piv.SLOT_MANAGEMENT:
        default = state.management_key == DEFAULT_MANAGEMENT_KEY[: len(state.management_key)]
        touch = piv.TOUCH_ALWAYS if state.management_touch else piv.POLICY_NEVER
        return (
            tlv.encode(piv.META_ALGORITHM, bytes((state.management_algorithm,)))
            + tlv.encode(piv.META_POLICY, bytes((piv.POLICY_DEFAULT, touch)))
            + tlv.encode(piv.META_DEFAULT, bytes((default,)))
        )
    known = command.p2 in session.profile.slots or command.p2 == piv.SLOT_ATTESTATION
    need(known, Status.REFERENCE_NOT_FOUND)
    key = state.private_keys.get(command.p2)
    if key is None and command.p2 == piv.SLOT_ATTESTATION:
        key = attestation.factory_key(session.seed)
    if key is None:
        raise Refused(Status.REFERENCE_NOT_FOUND)
    origin = piv.ORIGIN_GENERATED if key.generated else piv.ORIGIN_IMPORTED
    return (
        tlv.encode(piv.META_ALGORITHM, bytes((key.algorithm,)))
        + tlv.encode(piv.META_POLICY, bytes((key.pin_policy, key.touch_policy)))
        + tlv.encode(piv.META_ORIGIN, bytes((origin,)))
        + tlv.encode(piv.META_PUBLIC_KEY, keys.public_template(key))
    )


def _about_secret(secret: Secret, default: bytes) -> bytes:
    return (
        tlv.encode(piv.META_ALGORITHM, _NO_ALGORITHM)
        + tlv.encode(piv.META_DEFAULT, bytes((secret.value == default,)))
        + tlv.encode(piv.META_TRIES, bytes((secret.limit, secret.tries)))
    )


def serial(session: Session, command: Command) -> bytes:
    """INS F8: four bytes."""
    need((command.p1, command.p2) == (0, 0), Status.WRONG_P1P2)
    return session.serial.to_bytes(4, "big")


def version(session: Session, command: Command) -> bytes:
    """INS FD: which version of the extension this is."""
    need((command.p1, command.p2) == (0, 0), Status.WRONG_P1P2)
    return bytes(session.profile.version)


def attest(session: Session, command: Command) -> bytes:
    """INS F9: a certificate for the key in slot P1, if it was made in the card."""
    need(command.p2 == 0 and command.p1 in session.profile.slots, Status.WRONG_P1P2)
    need(not command.data, Status.WRONG_LENGTH)
    key = session.state.private_keys.get(command.p1)
    if key is None:
        raise Refused(Status.REFERENCE_NOT_FOUND)
    need(key.generated)
    own = session.state.private_keys.get(piv.SLOT_ATTESTATION)
    signer = own or attestation.factory_key(session.seed)
    need(signer.algorithm in keys.RSA_BITS or signer.algorithm in keys.CURVES)
    number = int.from_bytes(session.random(16), "big") >> 1 | 1
    version = bytes(session.profile.version)
    return attestation.attest(command.p1, key, signer, session.serial, version, number)


def reset(session: Session, command: Command) -> bytes:
    """INS FB: as it left the factory."""
    need((command.p1, command.p2) == (0, 0), Status.WRONG_P1P2)
    need(not command.data, Status.WRONG_LENGTH)
    state = session.state
    blocked = state.pin.tries == 0 and state.puk.tries == 0
    need(blocked, Status.CONDITIONS_NOT_SATISFIED)
    fresh = new_piv(state.guid, session.profile.management_algorithm)
    kept = state.private_keys.get(piv.SLOT_ATTESTATION)
    fresh = fresh.with_private_key(piv.SLOT_ATTESTATION, kept)
    certificate = state.objects.get(piv.OBJECT_ATTESTATION, b"")
    session.commit(fresh.with_object(piv.OBJECT_ATTESTATION, certificate))
    session.forget()
    return b""
