"""authenticatorLargeBlobs (CTAP 2.1, section 6.10): one array of blobs for all credentials, read and written in pieces.

Promises: what is written becomes the array only when it is whole and its check is right; until then the old one stands.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Final

from keypeg_bridge.emulator.fido.core import MAX_MESSAGE, Body, Core
from keypeg_bridge.emulator.fido.credential import sha256
from keypeg_bridge.emulator.fido.parameters import Map, Refused, optional
from keypeg_bridge.wire.ctap import Command, Permission, Status

CAPACITY: Final = 4_096  # bytes, the check included
MAX_PIECE: Final = MAX_MESSAGE - 64  # bytes (section 6.10.2)
CHECK: Final = 16  # bytes of SHA-256 at the end
_GET, _SET, _OFFSET, _LENGTH, _MAC, _PROTOCOL = range(1, 7)


def large_blobs(core: Core, parameters: Map) -> Body:
    """The whole command."""
    offset = optional(parameters, _OFFSET, int)
    wanted, piece = optional(parameters, _GET, int), optional(parameters, _SET, bytes)
    length = optional(parameters, _LENGTH, int)
    if offset is None or offset < 0 or (wanted is None) == (piece is None):
        raise Refused(Status.INVALID_PARAMETER)
    if wanted is not None:
        return _read(core, parameters, offset, wanted)
    assert piece is not None
    _write(core, parameters, offset, piece, length)
    return None


def _read(core: Core, parameters: Map, offset: int, wanted: int) -> Body:
    if parameters.keys() & {_LENGTH, _MAC, _PROTOCOL} or wanted < 0:
        raise Refused(Status.INVALID_PARAMETER)
    if wanted > MAX_PIECE:
        raise Refused(Status.INVALID_LENGTH)
    if offset > len(core.state.blobs):
        raise Refused(Status.INVALID_PARAMETER)
    return {1: core.state.blobs[offset : offset + wanted]}


def _write(core: Core, parameters: Map, offset: int, piece: bytes, length: int | None) -> None:
    if len(piece) > MAX_PIECE:
        raise Refused(Status.INVALID_LENGTH)
    if (offset == 0) != (length is not None):
        raise Refused(Status.INVALID_PARAMETER)
    if length is not None:
        if length > CAPACITY:
            raise Refused(Status.LARGE_BLOB_STORAGE_FULL)
        if length <= CHECK:
            raise Refused(Status.INVALID_PARAMETER)
    going = (length, b"") if length is not None else core.blob_write
    if going is None or offset != len(going[1]):
        raise Refused(Status.INVALID_SEQ)
    _authorize(core, parameters, offset, piece)
    whole, received = going[0], going[1] + piece
    if len(received) > whole:
        raise Refused(Status.INVALID_PARAMETER)
    core.blob_write = whole, received
    if len(received) == whole:
        core.blob_write = None
        if not hmac.compare_digest(sha256(received[:-CHECK])[:CHECK], received[-CHECK:]):
            raise Refused(Status.INTEGRITY_FAILURE)
        core.commit(replace(core.state, blobs=received))


def _authorize(core: Core, parameters: Map, offset: int, piece: bytes) -> None:
    mac = optional(parameters, _MAC, bytes)
    if mac is None:
        if core.state.pin_hash is not None:
            raise Refused(Status.PUAT_REQUIRED)
        return
    protocol = core.protocol(parameters, _PROTOCOL)
    head = b"\xff" * 32 + bytes((Command.LARGE_BLOBS, 0)) + offset.to_bytes(4, "little")
    message = head + sha256(piece)
    core.check_token(protocol, mac, message, Permission.LARGE_BLOB_WRITE)
