"""The card's data objects: GET DATA and PUT DATA (SP 800-73-4 part 2, sections 3.1.2 and 3.3.1; part 1, table 3).

Promises: what needs the PIN is read with it only; an object is replaced whole or not at all, within the profile's room.
What stands in an object is its writer's business: certificates and documents are bytes here.
"""

from __future__ import annotations

from typing import Final

from keypeg_bridge.emulator.piv import attestation
from keypeg_bridge.emulator.piv.refusal import Refused, need
from keypeg_bridge.emulator.piv.session import Session
from keypeg_bridge.wire import piv, tlv
from keypeg_bridge.wire.apdu import Command, Status

CONTAINERS: Final = range(0x5FC101, 0x5FC124)
VENDOR_CONTAINERS: Final = range(0x5FFF00, 0x5FFF20)  # what makers' tools keep beside the standard
# Fingerprints, facial image, printed information, iris images.
WITH_PIN: Final = frozenset({0x5FC103, 0x5FC108, 0x5FC109, 0x5FC121})
_POLICY_TAG: Final = 0x5F2F
_PIN_POLICY: Final = b"\x40\x00"  # the card's own PIN, and none of the whole system's


def get(session: Session, command: Command) -> bytes:
    """INS CB."""
    need((command.p1, command.p2) == (0x3F, 0xFF), Status.WRONG_P1P2)
    tag = _tag(tlv.unwrap(command.data, piv.TAG_OBJECT_ID))
    if tag == piv.OBJECT_DISCOVERY:
        policy = tlv.encode(_POLICY_TAG, _PIN_POLICY)
        return tlv.encode(tag, tlv.encode(0x4F, piv.AID) + policy)
    if tag in WITH_PIN:
        need(session.pin_verified, Status.SECURITY_NOT_SATISFIED)
    content = session.state.objects.get(tag)
    if content is None and tag == piv.OBJECT_ATTESTATION and session.profile.vendor_commands:
        content = piv.wrap_container(attestation.intermediate(session.seed))
    if content is None:
        raise Refused(Status.NOT_FOUND)
    return tlv.encode(piv.TAG_OBJECT, content)


def put(session: Session, command: Command) -> bytes:
    """INS DB."""
    need((command.p1, command.p2) == (0x3F, 0xFF), Status.WRONG_P1P2)
    session.need_management()
    path, *rest = tlv.parse(command.data) or (tlv.Tlv(0, b""),)
    # Both stand in the command without a path, and are the card's own here.
    if path.tag in (piv.OBJECT_DISCOVERY, piv.OBJECT_BIOMETRIC_GROUP):
        raise Refused(Status.FUNCTION_NOT_SUPPORTED)
    need(path.tag == piv.TAG_OBJECT_ID and len(rest) == 1 and rest[0].tag == piv.TAG_OBJECT)
    tag, content = _tag(path.value), rest[0].value
    known = tag in CONTAINERS or (session.profile.vendor_commands and tag in VENDOR_CONTAINERS)
    need(len(path.value) == 3 and known)
    others = sum(len(c) for t, c in session.state.objects.items() if t != tag)
    fits = (
        len(content) <= session.profile.object_limit
        and others + len(content) <= session.profile.storage
    )
    need(fits, Status.NO_SPACE)
    session.commit(session.state.with_object(tag, content))
    return b""


def _tag(path: bytes) -> int:
    need(1 <= len(path) <= 3)
    return int.from_bytes(path, "big")
