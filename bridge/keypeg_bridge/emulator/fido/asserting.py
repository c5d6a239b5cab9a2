"""authenticatorGetAssertion and GetNextAssertion (CTAP 2.1, sections 6.2 and 6.3), with hmac-secret and largeBlobKey.

Promises: the steps are those of section 6.2.2, in its order; the counter is on disk before each answer, silent or not.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from keypeg_bridge.emulator.fido.core import (
    MAX_LIST,
    STATEFUL_SECONDS,
    Body,
    Core,
    Pending,
    Steps,
    rp_hash,
)
from keypeg_bridge.emulator.fido.credential import Credential, Trait
from keypeg_bridge.emulator.fido.parameters import (
    KEY_TYPE,
    Map,
    Refused,
    descriptors,
    digest,
    optional,
    options,
    required,
)
from keypeg_bridge.emulator.fido.pin_protocol import PinProtocol, ecdh
from keypeg_bridge.emulator.fido.state import Resident, User
from keypeg_bridge.wire import cbor
from keypeg_bridge.wire.ctap import Flag, Permission, Status

_RP_ID, _CLIENT_DATA_HASH, _ALLOWED, _EXTENSIONS, _OPTIONS, _MAC, _PROTOCOL = range(1, 8)
_SALT_BYTES: Final = 32
NEXT_ASSERTION: Final = "next assertion"


@dataclass(frozen=True, slots=True)
class _Salts:
    """The input of hmac-secret, decrypted."""

    protocol: PinProtocol
    secret: bytes
    values: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What every assertion of one request has in common."""

    client_data_hash: bytes
    present: bool
    verified: bool
    salts: _Salts | None
    blob_key: bool


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A credential that answers, with its account when the key knows it."""

    credential: Credential
    resident: Resident | None


def get_assertion(core: Core, parameters: Map) -> Steps:
    """The whole command."""
    rp_id = required(parameters, _RP_ID, str)
    client_data_hash = digest(parameters, _CLIENT_DATA_HASH)
    allowed = descriptors(parameters, _ALLOWED, MAX_LIST)
    chosen = options(parameters, _OPTIONS)
    present = _present(core, chosen, has_mac=_MAC in parameters)
    extensions: Map = optional(parameters, _EXTENSIONS, dict) or {}
    blob_key = optional(extensions, "largeBlobKey", bool)
    if blob_key is False:
        raise Refused(Status.INVALID_OPTION)
    keys = (_MAC, _PROTOCOL)
    verified = yield from core.verified(parameters, keys, Permission.GET_ASSERTION, rp_id)
    candidates = _candidates(core, rp_id, allowed, verified=verified)
    if not candidates:
        raise Refused(Status.NO_CREDENTIALS)
    salts = _salts(core, extensions, present=present)
    if present:
        yield from core.touch()
        core.spend_token()
    asked = _Asked(client_data_hash, present, verified, salts, blob_key or False)
    body = _assertion(core, asked, candidates[0], named=len(candidates) > 1)
    if len(candidates) > 1:
        body[5] = len(candidates)
        core.pending = _following(core, asked, candidates[1:])
    return body


def get_next_assertion(core: Core, pending: Pending | None) -> Body:
    """One more of the accounts that the last assertion counted."""
    if pending is None or pending.kind != NEXT_ASSERTION or core.clock() >= pending.until:
        raise Refused(Status.NOT_ALLOWED)
    asked, *candidates = pending.rest
    body = _assertion(core, asked, candidates[0], named=True)
    if len(candidates) > 1:
        core.pending = _following(core, asked, candidates[1:])
    return body


def _following(core: Core, asked: _Asked, rest: list[_Candidate]) -> Pending:
    return Pending(NEXT_ASSERTION, (asked, *rest), core.clock() + STATEFUL_SECONDS)


def _present(core: Core, chosen: Mapping[str, bool], *, has_mac: bool) -> bool:
    """Whether a touch is wanted."""
    if chosen.get("uv", False) and not has_mac:
        raise Refused(Status.INVALID_OPTION)
    if "rk" in chosen:
        raise Refused(Status.UNSUPPORTED_OPTION)
    return chosen.get("up", True) or not core.profile.silent


def _candidates(
    core: Core, rp_id: str, allowed: list[bytes] | None, *, verified: bool
) -> list[_Candidate]:
    """The credentials that may answer, the newest first; of a list, the first that is ours."""
    rp_id_hash = rp_hash(rp_id)
    known = {r.id: r for r in core.state.residents if r.rp_id == rp_id}
    if allowed is not None:
        mine = (core.open(identifier, rp_id_hash) for identifier in allowed)
        fitting = (c for c in mine if c is not None and (verified or c.protection < 3))
        return [_Candidate(c, known.get(c.id)) for c in fitting][:1]
    found: list[_Candidate] = []
    for resident in sorted(known.values(), key=lambda r: -r.order):
        credential = core.open(resident.id, rp_id_hash)
        if credential is not None and (verified or credential.protection < 2):
            found.append(_Candidate(credential, resident))
    return found


def _salts(core: Core, extensions: Map, *, present: bool) -> _Salts | None:
    asked: Map | None = optional(extensions, "hmac-secret", dict)
    if asked is None:
        return None
    if not present:
        raise Refused(Status.UNSUPPORTED_OPTION)
    peer: dict[Any, Any] = required(asked, 1, dict)
    cipher, mac = required(asked, 2, bytes), required(asked, 3, bytes)
    protocol = core.protocol({4: 1, **asked}, 4)  # without a number it is the first
    z = ecdh(core.agreement, peer)
    if z is None:
        raise Refused(Status.INVALID_PARAMETER)
    secret = protocol.derive(z)
    if not protocol.verify(secret, cipher, mac):
        raise Refused(Status.PIN_AUTH_INVALID)
    plain = protocol.decrypt(secret, cipher)
    if plain is None or len(plain) not in (_SALT_BYTES, 2 * _SALT_BYTES):
        raise Refused(Status.INVALID_LENGTH)
    values = tuple(plain[at : at + _SALT_BYTES] for at in range(0, len(plain), _SALT_BYTES))
    return _Salts(protocol, secret, values)


def _assertion(core: Core, asked: _Asked, candidate: _Candidate, *, named: bool) -> dict[int, Any]:
    credential, resident = candidate.credential, candidate.resident
    outputs: dict[str, Any] = {}
    if asked.salts is not None and Trait.HMAC_SECRET in credential.traits:
        key = credential.hmac_key(verified=asked.verified)
        secrets = b"".join(hmac.digest(key, salt, "sha256") for salt in asked.salts.values)
        outputs["hmac-secret"] = asked.salts.protocol.encrypt(asked.salts.secret, secrets)
    flags = Flag.USER_PRESENT if asked.present else Flag(0)
    flags |= Flag.USER_VERIFIED if asked.verified else Flag(0)
    flags |= Flag.EXTENSIONS if outputs else Flag(0)
    core.commit(core.state.counted())
    data = core.header(credential.rp_id_hash, flags)
    if outputs:
        data += cbor.encode(outputs)
    body: dict[int, Any] = {
        1: {"id": credential.id, "type": KEY_TYPE},
        2: data,
        3: credential.sign(data + asked.client_data_hash),
    }
    if resident is not None:
        # Names tell who the user is, so they are for verified users only.
        whole = named and asked.verified
        body[4] = entity(resident.user if whole else User(resident.user.id))
        if asked.blob_key and resident.blob_key:
            body[7] = credential.blob_key()
    return body


def entity(user: User) -> dict[str, Any]:
    """A user as CBOR carries it."""
    names = {"name": user.name, "displayName": user.display_name}
    return {"id": user.id} | {key: text for key, text in names.items() if text is not None}


def renamed(resident: Resident, user: User) -> Resident:
    """The credential with another name for its user."""
    return replace(resident, user=user)
