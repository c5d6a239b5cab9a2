"""What a server reads of passkeys: the registrations and assertions that any signed-in user may send.

Promises: seeds that are right, so that a fuzzer begins behind the first checks.
"""

from __future__ import annotations

import contextlib
from typing import Final

from fido2 import cbor

from keypeg_server.service.passkey_checks import Answer, PasskeyChecks, Refused
from tests.server.service.soft_passkey import NAME, Said, SoftPasskey

_CHALLENGE: Final = bytes(64)
_CHECKS: Final = PasskeyChecks(NAME)
_KEY: Final = SoftPasskey()
_PUBLIC: Final = cbor.encode(_KEY.cose())
_CREATING: Final = Said().client_data(_CHALLENGE, "webauthn.create")
_GETTING: Final = Said().client_data(_CHALLENGE, "webauthn.get")

REGISTRATION: Final = _KEY.make(_CHALLENGE, b"anna")[1]
ASSERTION: Final = _KEY.answer(_CHALLENGE).authenticator_data


def registrations(data: bytes) -> None:
    with contextlib.suppress(Refused):
        _CHECKS.made(_CHALLENGE, _CREATING, data)


def assertions(data: bytes) -> None:
    """One input as everything that the client chooses; at most one of them can be right."""
    for answer in (
        Answer(_KEY.id, _GETTING, data, b"", b""),
        Answer(_KEY.id, _GETTING, ASSERTION, data, b""),
        Answer(_KEY.id, data, ASSERTION, b"", b""),
    ):
        with contextlib.suppress(Refused):
            _CHECKS.verify(_CHALLENGE, answer, _PUBLIC, verified=False)
