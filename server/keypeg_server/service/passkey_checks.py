"""What a security key has said, verified: registrations and assertions of WebAuthn level 2 (sections 7.1 and 7.2).

Promises: pure. The steps are python-fido2's, with what is stricter here: the algorithm is one of ours, the ceremony is
in no frame of another origin, and what cannot be read is refused like what is wrong. Whatever is wrong is a `Refused`
with why, for the server's log.

Leaves to others: whether the challenge is of this server, in its time and unused, whose the passkey is, and its counter
(service/passkeys.py).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from fido2 import cbor
from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.utils import websafe_encode
from fido2.webauthn import (
    AttestationConveyancePreference,
    AttestationObject,
    AttestedCredentialData,
    AuthenticationResponse,
    AuthenticatorAssertionResponse,
    AuthenticatorAttestationResponse,
    AuthenticatorData,
    CollectedClientData,
    PublicKeyCredentialRpEntity,
    RegistrationResponse,
    UserVerificationRequirement,
)

ALGORITHMS: Final = (-7, -8)  # ES256 and EdDSA: what security keys have; in the order of preference
_AAGUID: Final = bytes(16)


class Refused(Exception):
    """What is wrong with an answer; for logs, and nothing of it is secret."""

    def __init__(self, why: str, *, late: bool = False) -> None:
        """`late`: it was right, but its challenge is over, or was answered before."""
        super().__init__(why)
        self.late = late


@dataclass(frozen=True)
class Made:
    """A credential that was made."""

    credential_id: bytes
    public_key: bytes = field(repr=False)  # COSE
    sign_count: int


@dataclass(frozen=True)
class Answer:
    """An assertion, as the client sent it."""

    credential_id: bytes
    client_data_json: bytes
    authenticator_data: bytes
    signature: bytes
    user_handle: bytes


class PasskeyChecks:
    """Verifies for one relying party."""

    def __init__(self, relying_party: str) -> None:
        self.relying_party: Final = relying_party
        self._server = Fido2Server(
            PublicKeyCredentialRpEntity(name="keypeg", id=relying_party),
            attestation=AttestationConveyancePreference.NONE,
        )

    def challenge_in(self, client_data_json: bytes) -> bytes:
        """The challenge that a client answers to."""
        return _client_data(client_data_json).challenge

    def made(self, challenge: bytes, client_data_json: bytes, attestation_object: bytes) -> Made:
        """The credential of a registration."""
        client_data = _client_data(client_data_json)
        try:
            attested = _attested(attestation_object)
            found = attested.auth_data.credential_data
        except _UNREADABLE as error:
            raise Refused("unreadable attestation") from error
        if found is None:
            raise Refused("no credential in it")
        if found.public_key.get(3) not in ALGORITHMS:
            raise Refused(f"algorithm {found.public_key.get(3)!r}")
        response = AuthenticatorAttestationResponse(
            client_data=client_data, attestation_object=attested
        )
        registration = RegistrationResponse(raw_id=found.credential_id, response=response)
        try:
            self._server.register_complete(_state(challenge, verified=True), registration)
        except _UNREADABLE as error:
            raise Refused(str(error)) from error
        return Made(
            bytes(found.credential_id),
            cbor.encode(dict(found.public_key)),
            attested.auth_data.counter,
        )

    def verify(self, challenge: bytes, answer: Answer, public_key: bytes, *, verified: bool) -> int:
        """The counter that a right assertion tells; `verified`: the key has to have verified its user."""
        client_data = _client_data(answer.client_data_json)
        try:
            data = AuthenticatorData(answer.authenticator_data)
            said: Any = cbor.decode(public_key)
            key = CoseKey.parse(said)
        except _UNREADABLE as error:
            raise Refused("unreadable authenticator data") from error
        known = AttestedCredentialData.create(_AAGUID, answer.credential_id, key)
        response = AuthenticatorAssertionResponse(
            client_data=client_data, authenticator_data=data, signature=answer.signature
        )
        authentication = AuthenticationResponse(raw_id=answer.credential_id, response=response)
        try:
            self._server.authenticate_complete(
                _state(challenge, verified=verified), [known], authentication
            )
        except _UNREADABLE as error:
            raise Refused(str(error)) from error
        return data.counter


# Whatever a parser makes of foreign bytes.
_UNREADABLE: Final = (
    AssertionError, AttributeError, IndexError, KeyError, NotImplementedError, OverflowError, RecursionError, TypeError,
    ValueError, UnsupportedAlgorithm, struct.error,
)  # fmt: skip


def _attested(raw: bytes) -> AttestationObject:
    """What was made. The library gives authData to bytes(), which reserves as many as a number there says."""
    said: Any = cbor.decode(raw)
    if not isinstance(said["authData"], bytes):
        raise TypeError("authData that are no bytes")
    return AttestationObject(raw)


def _client_data(raw: bytes) -> CollectedClientData:
    try:
        said: Any = json.loads(raw)
        if not isinstance(said, Mapping) or said.get("crossOrigin"):
            raise ValueError("of another origin")
        return CollectedClientData(raw)
    except _UNREADABLE as error:
        raise Refused("unreadable client data") from error


def _state(challenge: bytes, *, verified: bool) -> dict[str, Any]:
    how = (
        UserVerificationRequirement.REQUIRED
        if verified
        else UserVerificationRequirement.DISCOURAGED
    )
    return {"challenge": websafe_encode(challenge), "user_verification": how}
