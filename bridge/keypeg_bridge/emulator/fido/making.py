"""authenticatorMakeCredential (CTAP 2.1, section 6.1), with credProtect, hmac-secret and largeBlobKey.

Promises: the steps are those of section 6.1.2, in its order; the counter is on disk before the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from keypeg_bridge.emulator.fido.attestation import AAGUID
from keypeg_bridge.emulator.fido.core import MAX_LIST, MAX_RESIDENTS, Body, Core, Steps, rp_hash
from keypeg_bridge.emulator.fido.credential import ALGORITHMS, Credential, Trait
from keypeg_bridge.emulator.fido.parameters import (
    KEY_TYPE,
    Map,
    Refused,
    descriptors,
    digest,
    name,
    optional,
    options,
    required,
    user,
)
from keypeg_bridge.emulator.fido.state import FidoState, Resident
from keypeg_bridge.wire import cbor, ctap
from keypeg_bridge.wire.ctap import Flag, Permission, Status

CLIENT_DATA_HASH: Final = 1
_RP, _USER, _ALGORITHMS, _EXCLUDED, _EXTENSIONS, _OPTIONS, _MAC, _PROTOCOL, _ENTERPRISE = range(
    2, 11
)


@dataclass(frozen=True, slots=True)
class _Extensions:
    """What was asked for, as far as it is known here."""

    protection: int | None
    hmac_secret: bool
    blob_key: bool

    def outputs(self) -> dict[str, Any]:
        """What goes into the authenticator data."""
        told: dict[str, Any] = {}
        if self.protection is not None:
            told["credProtect"] = self.protection
        if self.hmac_secret:
            told["hmac-secret"] = True
        return told


def make_credential(core: Core, parameters: Map) -> Steps:
    """The whole command."""
    client_data_hash = digest(parameters, CLIENT_DATA_HASH)
    rp: dict[Any, Any] = required(parameters, _RP, dict)
    rp_id, rp_name = required(rp, "id", str), name(rp, "name")
    account = user(required(parameters, _USER, dict))
    algorithm = _algorithm(required(parameters, _ALGORITHMS, list))
    chosen = options(parameters, _OPTIONS)
    excluded = descriptors(parameters, _EXCLUDED, MAX_LIST) or []
    resident = _check_options(chosen, has_mac=_MAC in parameters)
    extensions = _extensions(optional(parameters, _EXTENSIONS, dict) or {}, resident=resident)
    if _ENTERPRISE in parameters:  # not offered by getInfo
        raise Refused(Status.INVALID_PARAMETER)
    keys = (_MAC, _PROTOCOL)
    verified = yield from core.verified(parameters, keys, Permission.MAKE_CREDENTIAL, rp_id)
    if resident and not verified and core.state.pin_hash is not None:
        raise Refused(Status.PUAT_REQUIRED)
    rp_id_hash = rp_hash(rp_id)
    mine = (core.open(identifier, rp_id_hash) for identifier in excluded)
    found = [c for c in mine if c is not None and (verified or c.protection < 3)]
    yield from core.touch()
    core.spend_token()
    if found:
        raise Refused(Status.CREDENTIAL_EXCLUDED)

    state = core.state.counted()
    traits = Trait((extensions.protection or 1) - 1)
    traits |= Trait.HMAC_SECRET if extensions.hmac_secret else Trait(0)
    traits |= Trait.RESIDENT if resident else Trait(0)
    traits |= Trait.EDDSA if algorithm == ctap.EDDSA else Trait(0)
    credential = core.wallet.make(rp_id_hash, traits, state.counter)
    if resident:
        new = Resident(credential.id, rp_id, rp_name, account, state.counter, extensions.blob_key)
        state = _stored(state, new)
    core.commit(state)
    return _attested(core, credential, client_data_hash, extensions, verified=verified)


def _algorithm(offered: list[Any]) -> int:
    chosen: int | None = None
    for entry in offered:
        if type(entry) is not dict:
            raise Refused(Status.CBOR_UNEXPECTED_TYPE)
        kind, number = required(entry, "type", str), required(entry, "alg", int)
        if chosen is None and kind == KEY_TYPE and number in ALGORITHMS:
            chosen = number
    if chosen is None:
        raise Refused(Status.UNSUPPORTED_ALGORITHM)
    return chosen


def _check_options(chosen: Mapping[str, bool], *, has_mac: bool) -> bool:
    """Whether the credential is to be resident."""
    if chosen.get("uv", False) and not has_mac:  # there is no verification but by PIN
        raise Refused(Status.INVALID_OPTION)
    if not chosen.get("up", True):
        raise Refused(Status.INVALID_OPTION)
    return chosen.get("rk", False)


def _extensions(asked: Map, *, resident: bool) -> _Extensions:
    protection = optional(asked, "credProtect", int)
    if protection is not None and protection not in (1, 2, 3):
        raise Refused(Status.INVALID_OPTION)
    blob_key = optional(asked, "largeBlobKey", bool)
    if blob_key is False or (blob_key and not resident):
        raise Refused(Status.INVALID_OPTION)
    return _Extensions(protection, optional(asked, "hmac-secret", bool) or False, blob_key or False)


def _stored(state: FidoState, new: Resident) -> FidoState:
    stored = state.with_resident(new)
    if len(stored.residents) > MAX_RESIDENTS:
        raise Refused(Status.KEY_STORE_FULL)
    return stored


def _attested(
    core: Core,
    credential: Credential,
    client_data_hash: bytes,
    extensions: _Extensions,
    *,
    verified: bool,
) -> Body:
    outputs = extensions.outputs()
    flags = Flag.USER_PRESENT | Flag.ATTESTED
    flags |= Flag.USER_VERIFIED if verified else Flag(0)
    flags |= Flag.EXTENSIONS if outputs else Flag(0)
    data = core.header(credential.rp_id_hash, flags)
    data += AAGUID + len(credential.id).to_bytes(2, "big") + credential.id
    data += cbor.encode(credential.cose_key())
    if outputs:
        data += cbor.encode(outputs)
    signed = data + client_data_hash
    statement: dict[str, Any]
    if core.profile.certified:
        signature, chain = core.attestation.sign(signed), [core.attestation.certificate]
        statement = {"alg": ctap.ES256, "sig": signature, "x5c": chain}
    else:
        statement = {"alg": credential.algorithm, "sig": credential.sign(signed)}
    body: dict[int, Any] = {1: "packed", 2: data, 3: statement}
    if extensions.blob_key:
        body[5] = credential.blob_key()
    return body
