"""authenticatorCredentialManagement (CTAP 2.1, section 6.8): listing, deleting and renaming resident credentials.

Promises: each subcommand but the two that continue a listing needs a PIN token that allows it; a listing ends with the
next other command, or after 30 s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from keypeg_bridge.emulator.fido.asserting import entity, renamed
from keypeg_bridge.emulator.fido.core import (
    MAX_RESIDENTS,
    STATEFUL_SECONDS,
    Body,
    Core,
    Pending,
    rp_hash,
)
from keypeg_bridge.emulator.fido.parameters import (
    KEY_TYPE,
    Map,
    Refused,
    descriptor,
    digest,
    optional,
    required,
    user,
)
from keypeg_bridge.emulator.fido.state import Resident
from keypeg_bridge.wire import cbor
from keypeg_bridge.wire.ctap import ManagementCommand, Permission, Status

_SUBCOMMAND, _PARAMETERS, _PROTOCOL, _MAC = range(1, 5)
_RP_ID_HASH, _CREDENTIAL, _USER = range(1, 4)


def credential_management(core: Core, parameters: Map, pending: Pending | None) -> Body:
    """The whole command."""
    number = required(parameters, _SUBCOMMAND, int)
    if number not in ManagementCommand.__members__.values():
        raise Refused(Status.INVALID_SUBCOMMAND)
    command = ManagementCommand(number)
    if command in _NEXT:
        if pending is None or pending.kind != command.name or core.clock() >= pending.until:
            raise Refused(Status.NOT_ALLOWED)
        return _one_of(core, command, pending.rest, None)
    inner: dict[Any, Any] = optional(parameters, _PARAMETERS, dict) or {}
    _authorize(core, parameters, command, inner)
    return _COMMANDS[command](core, inner)


def _authorize(core: Core, parameters: Map, command: ManagementCommand, inner: Map) -> None:
    mac = optional(parameters, _MAC, bytes)
    if mac is None:
        raise Refused(Status.PUAT_REQUIRED)
    protocol = core.protocol(parameters, _PROTOCOL)
    message = bytes((command,))
    if _PARAMETERS in parameters:
        message += cbor.encode(inner)  # canonical when it came, so these are its bytes
    core.check_token(protocol, mac, message, Permission.CREDENTIAL_MANAGEMENT)


def _bound(core: Core, rp_id_hash: bytes | None) -> None:
    """A token of one relying party opens that one only; None stands for all of them."""
    token = core.token
    assert token is not None
    if token.rp_id is not None and (rp_id_hash is None or rp_hash(token.rp_id) != rp_id_hash):
        raise Refused(Status.PIN_AUTH_INVALID)


def _metadata(core: Core, inner: Map) -> Body:
    _bound(core, None)
    count = len(core.state.residents)
    return {1: count, 2: MAX_RESIDENTS - count}


def _rps_begin(core: Core, inner: Map) -> Body:
    _bound(core, None)
    parties = {r.rp_id: r for r in reversed(core.state.residents)}
    return _begin(core, ManagementCommand.RPS_NEXT, tuple(parties.values()))


def _credentials_begin(core: Core, inner: Map) -> Body:
    rp_id_hash = digest(inner, _RP_ID_HASH)
    _bound(core, rp_id_hash)
    found = (r for r in core.state.residents if rp_hash(r.rp_id) == rp_id_hash)
    return _begin(core, ManagementCommand.CREDENTIALS_NEXT, tuple(found))


def _begin(core: Core, following: ManagementCommand, found: tuple[Resident, ...]) -> Body:
    if not found:
        raise Refused(Status.NO_CREDENTIALS)
    return _one_of(core, following, found, len(found))


def _one_of(
    core: Core, following: ManagementCommand, left: tuple[Resident, ...], total: int | None
) -> Body:
    """The first of what is left; the rest is for the command that follows."""
    first, *rest = left
    if rest:
        until = core.clock() + STATEFUL_SECONDS
        core.pending = Pending(following.name, tuple(rest), until)
    if following is ManagementCommand.RPS_NEXT:
        return _rp(first) | ({} if total is None else {5: total})
    return _credential(core, first) | ({} if total is None else {9: total})


def _rp(resident: Resident) -> dict[int, Any]:
    party = {"id": resident.rp_id}
    if resident.rp_name is not None:
        party["name"] = resident.rp_name
    return {3: party, 4: rp_hash(resident.rp_id)}


def _credential(core: Core, resident: Resident) -> dict[int, Any]:
    credential = core.open(resident.id, rp_hash(resident.rp_id))
    if credential is None:
        raise Refused(Status.OTHER)
    told: dict[int, Any] = {
        6: entity(resident.user),
        7: {"id": resident.id, "type": KEY_TYPE},
        8: credential.cose_key(),
        10: credential.protection,
    }
    if resident.blob_key:
        told[11] = credential.blob_key()
    return told


def _named(core: Core, inner: Map) -> Resident:
    identifier = descriptor(required(inner, _CREDENTIAL, dict))
    for resident in core.state.residents:
        if resident.id == identifier:
            _bound(core, rp_hash(resident.rp_id))
            return resident
    raise Refused(Status.NO_CREDENTIALS)


def _delete(core: Core, inner: Map) -> Body:
    core.commit(core.state.without_resident(_named(core, inner).id))
    return None


def _update(core: Core, inner: Map) -> Body:
    resident = _named(core, inner)
    account = user(required(inner, _USER, dict))
    if account.id != resident.user.id:
        raise Refused(Status.INVALID_PARAMETER)
    changed = (renamed(r, account) if r is resident else r for r in core.state.residents)
    core.commit(replace(core.state, residents=tuple(changed)))
    return None


_NEXT: Final = (ManagementCommand.RPS_NEXT, ManagementCommand.CREDENTIALS_NEXT)
_COMMANDS: Final[dict[ManagementCommand, Callable[[Core, Map], Body]]] = {
    ManagementCommand.METADATA: _metadata,
    ManagementCommand.RPS_BEGIN: _rps_begin,
    ManagementCommand.CREDENTIALS_BEGIN: _credentials_begin,
    ManagementCommand.DELETE: _delete,
    ManagementCommand.UPDATE_USER: _update,
}
assert set(_COMMANDS) | set(_NEXT) == set(ManagementCommand)
