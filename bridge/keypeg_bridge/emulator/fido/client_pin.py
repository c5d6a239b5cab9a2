"""authenticatorClientPIN (CTAP 2.1, section 6.5): setting, changing and presenting the PIN, under both protocols.

Promises: a try is spent on disk before the PIN is compared, so that pulling the key wins nothing; eight wrong PINs in all
block the key until a reset, three in a row until it is plugged in anew.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from keypeg_bridge.emulator.fido.core import BOOT_PIN_TRIES, Body, Core
from keypeg_bridge.emulator.fido.credential import cose_point, sha256
from keypeg_bridge.emulator.fido.parameters import Map, Refused, optional, required
from keypeg_bridge.emulator.fido.pin_protocol import PinProtocol, ecdh
from keypeg_bridge.emulator.fido.state import PIN_TRIES
from keypeg_bridge.wire.ctap import ECDH_ES_HKDF_256, Permission, PinCommand, Status

MIN_PIN: Final = 4  # characters
MAX_PIN: Final = 63  # bytes of UTF-8
PADDED_PIN: Final = 64  # bytes
_HASH: Final = 16  # bytes of the PIN's hash that travel and are kept

_PROTOCOL, _SUBCOMMAND, _AGREEMENT, _MAC, _NEW_PIN, _PIN_HASH = range(1, 7)
_PERMISSIONS, _RP_ID = 9, 10
_KEY_AGREEMENT, _TOKEN, _RETRIES, _POWER_CYCLE = range(1, 5)

_OFFERED: Final = (
    Permission.MAKE_CREDENTIAL
    | Permission.GET_ASSERTION
    | Permission.CREDENTIAL_MANAGEMENT
    | Permission.LARGE_BLOB_WRITE
)
_OF_ONE_RP: Final = Permission.MAKE_CREDENTIAL | Permission.GET_ASSERTION


def client_pin(core: Core, parameters: Map) -> Body:
    """The whole command."""
    subcommand = required(parameters, _SUBCOMMAND, int)
    if subcommand not in _SUBCOMMANDS:
        raise Refused(Status.INVALID_SUBCOMMAND)
    return _SUBCOMMANDS[PinCommand(subcommand)](core, parameters)


def _retries(core: Core, parameters: Map) -> Body:
    return {_RETRIES: core.state.pin_tries, _POWER_CYCLE: core.boot_tries == 0}


def _key_agreement(core: Core, parameters: Map) -> Body:
    core.protocol(parameters, _PROTOCOL)
    return {_KEY_AGREEMENT: cose_point(core.agreement.public_key(), ECDH_ES_HKDF_256)}


def _set_pin(core: Core, parameters: Map) -> Body:
    protocol = core.protocol(parameters, _PROTOCOL)
    peer: dict[Any, Any] = required(parameters, _AGREEMENT, dict)
    new_pin, mac = required(parameters, _NEW_PIN, bytes), required(parameters, _MAC, bytes)
    if core.state.pin_hash is not None:
        raise Refused(Status.PIN_AUTH_INVALID)
    secret = _secret(core, protocol, peer)
    if not protocol.verify(secret, new_pin, mac):
        raise Refused(Status.PIN_AUTH_INVALID)
    pin_hash = _new_hash(protocol, secret, new_pin)
    core.commit(replace(core.state, pin_hash=pin_hash, pin_tries=PIN_TRIES))
    return None


def _change_pin(core: Core, parameters: Map) -> Body:
    protocol = core.protocol(parameters, _PROTOCOL)
    peer: dict[Any, Any] = required(parameters, _AGREEMENT, dict)
    new_pin, mac = required(parameters, _NEW_PIN, bytes), required(parameters, _MAC, bytes)
    pin_hash = required(parameters, _PIN_HASH, bytes)
    _need_tries(core)
    secret = _secret(core, protocol, peer)
    if not protocol.verify(secret, new_pin + pin_hash, mac):
        raise Refused(Status.PIN_AUTH_INVALID)
    _check_pin(core, protocol, secret, pin_hash)
    changed = _new_hash(protocol, secret, new_pin)
    core.commit(replace(core.state, pin_hash=changed))
    core.token = None
    return None


def _token(core: Core, parameters: Map) -> Body:
    """The token of CTAP 2.0: for credentials and assertions, of the relying party that it is first used for."""
    if _PERMISSIONS in parameters or _RP_ID in parameters:
        raise Refused(Status.INVALID_PARAMETER)
    return _give(core, parameters, _OF_ONE_RP, None)


def _token_with_permissions(core: Core, parameters: Map) -> Body:
    asked = required(parameters, _PERMISSIONS, int)
    rp_id = optional(parameters, _RP_ID, str)
    if asked <= 0:
        raise Refused(Status.INVALID_PARAMETER)
    if asked & ~_OFFERED:
        raise Refused(Status.UNAUTHORIZED_PERMISSION)
    if asked & _OF_ONE_RP and rp_id is None:
        raise Refused(Status.MISSING_PARAMETER)
    return _give(core, parameters, Permission(asked), rp_id)


def _give(core: Core, parameters: Map, permissions: Permission, rp_id: str | None) -> Body:
    protocol = core.protocol(parameters, _PROTOCOL)
    peer: dict[Any, Any] = required(parameters, _AGREEMENT, dict)
    pin_hash = required(parameters, _PIN_HASH, bytes)
    _need_tries(core)
    secret = _secret(core, protocol, peer)
    _check_pin(core, protocol, secret, pin_hash)
    token = core.give_token(protocol.number, permissions, rp_id)
    return {_TOKEN: protocol.encrypt(secret, token)}


def _need_tries(core: Core) -> None:
    if core.state.pin_hash is None:
        raise Refused(Status.PIN_NOT_SET)
    if core.state.pin_tries == 0:
        raise Refused(Status.PIN_BLOCKED)
    if core.boot_tries == 0:
        raise Refused(Status.PIN_AUTH_BLOCKED)


def _secret(core: Core, protocol: PinProtocol, peer: dict[Any, Any]) -> bytes:
    z = ecdh(core.agreement, peer)
    if z is None:
        raise Refused(Status.INVALID_PARAMETER)
    return protocol.derive(z)


def _check_pin(core: Core, protocol: PinProtocol, secret: bytes, cipher: bytes) -> None:
    core.commit(replace(core.state, pin_tries=core.state.pin_tries - 1))
    core.boot_tries -= 1
    given = protocol.decrypt(secret, cipher)
    expected = core.state.pin_hash
    assert expected is not None
    if given is None or not hmac.compare_digest(given, expected):
        core.renew_agreement()
        if core.state.pin_tries == 0:
            raise Refused(Status.PIN_BLOCKED)
        raise Refused(Status.PIN_AUTH_BLOCKED if core.boot_tries == 0 else Status.PIN_INVALID)
    core.boot_tries = BOOT_PIN_TRIES
    core.commit(replace(core.state, pin_tries=PIN_TRIES))


def _new_hash(protocol: PinProtocol, secret: bytes, cipher: bytes) -> bytes:
    """What is kept of a new PIN, which must be long enough and no longer than allowed."""
    padded = protocol.decrypt(secret, cipher)
    if padded is None or len(padded) != PADDED_PIN:
        raise Refused(Status.INVALID_PARAMETER)
    pin = padded.rstrip(b"\x00")
    try:
        characters = len(pin.decode())
    except UnicodeDecodeError:
        raise Refused(Status.PIN_POLICY_VIOLATION) from None
    if characters < MIN_PIN or len(pin) > MAX_PIN:
        raise Refused(Status.PIN_POLICY_VIOLATION)
    return sha256(pin)[:_HASH]


_SUBCOMMANDS: Final[dict[PinCommand, Callable[[Core, Map], Body]]] = {
    PinCommand.GET_RETRIES: _retries,
    PinCommand.GET_KEY_AGREEMENT: _key_agreement,
    PinCommand.SET_PIN: _set_pin,
    PinCommand.CHANGE_PIN: _change_pin,
    PinCommand.GET_TOKEN: _token,
    PinCommand.GET_TOKEN_WITH_PERMISSIONS: _token_with_permissions,
}
assert set(_SUBCOMMANDS) == set(PinCommand)
