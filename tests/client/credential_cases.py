"""Sign-ins with credentials, right and wrong: the cases of the vectors (docs/formats.md, steps 19 to 22).

Promises: made from fixed keys, the same bytes on every run.

Leaves to others: rows of the server, which decide about generations and devices (tests/server/domain/test_credential.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from keypeg.credential_document import check_possession, check_time, to_sign, verify_credential
from keypeg.envelope import CREDENTIAL_TYPE, GRANT_TYPE, Ed25519Signer, seal
from keypeg.errors import Reason
from keypeg.v1.credential_pb2 import CREDENTIAL_SCOPE_CLOUD_SESSION, CredentialDocument
from keypeg.v1.document_pb2 import Envelope

SERVER, OTHER, KEY = (Ed25519Signer(bytes([number]) * 32) for number in (1, 2, 3))
NOW = datetime(2026, 11, 22, tzinfo=UTC)
SAID = {"host": "licenses.example.com", "device": "device-a", "challenge": b"c" * 64}


@dataclass(frozen=True)
class Case:
    """One sign-in: what differs from a right one."""

    name: str
    reason: Reason | None
    document: dict[str, Any] = field(default_factory=dict)
    signer: Ed25519Signer = SERVER
    payload_type: str = CREDENTIAL_TYPE
    key: Ed25519Signer = KEY
    signed: dict[str, Any] = field(default_factory=dict)  # what is signed instead of what is said
    said: dict[str, Any] = field(default_factory=dict)
    now: datetime = NOW

    def envelope(self) -> Envelope:
        return seal(self._document(), self.payload_type, self.signer)

    def parts(self) -> dict[str, Any]:
        """Host, device and challenge, as they are said."""
        return {**SAID, **self.said}

    def signature(self) -> bytes:
        return self.key.sign(to_sign(self._document(), **{**self.parts(), **self.signed}))

    def verify(self) -> None:
        """Raises what a server says."""
        document = verify_credential(self.envelope(), SERVER.public_key)
        check_time(document, self.now)
        check_possession(document, **self.parts(), signature=self.signature())

    def _document(self) -> CredentialDocument:
        facts: dict[str, Any] = {
            "credential": "accounts/studio/credentials/c1",
            "user": "accounts/studio/users/u1",
            "public_key": KEY.public_key,
            "scopes": [CREDENTIAL_SCOPE_CLOUD_SESSION],
            "server_key": SERVER.public_key,
            "servers": ["Licenses.example.com:7400", "[::1]:7400"],
            "device_limit": 3,
            "generation": 1,
        }
        made = CredentialDocument(**{**facts, **self.document})
        made.not_before_time.FromDatetime(NOW)
        made.not_after_time.FromDatetime(NOW + timedelta(days=1))
        return made


_MALFORMED, _WRONG = Reason.DOCUMENT_MALFORMED, Reason.CREDENTIALS_INVALID
CASES = (
    Case("right", None),
    Case("at another of its hosts", None, said={"host": "::1"}),
    Case("of another type", Reason.DOCUMENT_TYPE, payload_type=GRANT_TYPE),
    Case("signed by another server", Reason.SIGNER_UNKNOWN, signer=OTHER),
    Case("for another server", _MALFORMED, {"server_key": OTHER.public_key}),
    Case("for a user of another account", _MALFORMED, {"user": "accounts/other/users/u1"}),
    Case("with a key of another kind", _MALFORMED, {"public_key": None}),
    Case("for nothing", _MALFORMED, {"scopes": []}),
    Case("for no device", _MALFORMED, {"device_limit": 0}),
    Case("of no generation", _MALFORMED, {"generation": 0}),
    Case("without a server", _MALFORMED, {"servers": []}),
    Case("six minutes early", Reason.CREDENTIAL_EXPIRED, now=NOW - timedelta(minutes=6)),
    Case("four minutes early", None, now=NOW - timedelta(minutes=4)),
    Case("when it is over", Reason.CREDENTIAL_EXPIRED, now=NOW + timedelta(days=1)),
    Case("at a host that it does not name", _WRONG, said={"host": "evil.example.com"}),
    Case("signed for another host", _WRONG, signed={"host": "::1"}),
    Case("signed for another device", _WRONG, signed={"device": "device-b"}),
    Case("signed for another challenge", _WRONG, signed={"challenge": b"d" * 64}),
    Case("signed by another key", _WRONG, key=OTHER),
)
