"""What the fields of requests may hold, as the contract's comments say.

Promises: FieldInvalid with every field that is wrong, in one go; pure.
"""

from __future__ import annotations

import re
from typing import Final

from keypeg import names, protocol
from keypeg.errors import FieldInvalid
from keypeg.v1 import document_pb2, key_service_pb2, session_pb2

NONCE_BYTES: Final = 32
TICKET_BYTES: Final = 4_096
NAME_LENGTH: Final = 255
APP_NAME_LENGTH: Final = 128
SECRET_BYTES: Final = 64
"""Longer than any challenge, response or management key of a card."""
DOCUMENT_BYTES: Final = 65_536
_DEVICE: Final = re.compile(r"[a-z0-9-]{8,64}", re.ASCII)
_WRITE: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


class _Faults:
    """Collects what is wrong."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def check(self, right: bool, field: str, what: str) -> None:
        if not right:
            self._fields.setdefault(field, what)

    def name(self, pattern: names.Pattern, value: str, field: str) -> None:
        self.check(pattern.matches(value), field, f"is not a name such as {pattern.template}")

    def done(self) -> None:
        if self._fields:
            listed = "; ".join(f"{field} {what}" for field, what in self._fields.items())
            raise FieldInvalid(f"The request cannot be taken: {listed}.", fields=self._fields)


def open_frame(frame: session_pb2.Open) -> None:
    """The first frame of a new session."""
    protocol.check(frame.protocol_version)
    faults = _Faults()
    faults.check(frame.sequence > 0, "open.sequence", "must be from 1")
    device = _DEVICE.fullmatch(frame.device.id) is not None
    faults.check(device, "open.device.id", "must be 8 to 64 characters of a-z, 0-9 and -")
    host = len(frame.device.host_name) <= NAME_LENGTH
    faults.check(host, "open.device.host_name", f"may have {NAME_LENGTH} characters")
    app = len(frame.app.name) <= APP_NAME_LENGTH
    faults.check(app, "open.app.name", f"may have {APP_NAME_LENGTH} characters")
    for field in ("version", "sdk"):
        short = len(getattr(frame.app, field)) <= APP_NAME_LENGTH
        faults.check(short, f"open.app.{field}", f"may have {APP_NAME_LENGTH} characters")
    product = 0 < len(frame.product) <= NAME_LENGTH
    faults.check(product, "open.product", f"must have 1 to {NAME_LENGTH} characters")
    _nonce(faults, frame.nonce, "open.nonce")
    faults.done()


def resume_frame(frame: session_pb2.Resume) -> None:
    """The first frame of a stream that goes on with a session."""
    protocol.check(frame.protocol_version)
    faults = _Faults()
    faults.check(frame.sequence > 0, "resume.sequence", "must be from 1")
    faults.name(names.SESSION, frame.session, "resume.session")
    ticket = 0 < len(frame.resume_ticket) <= TICKET_BYTES
    faults.check(ticket, "resume.resume_ticket", f"must have 1 to {TICKET_BYTES} bytes")
    _nonce(faults, frame.nonce, "resume.nonce")
    faults.done()


def renew_frame(frame: session_pb2.Renew) -> None:
    """A wish for more time: a bridge answers with a proof, which needs a nonce."""
    faults = _Faults()
    _nonce(faults, frame.nonce, "renew.nonce")
    faults.done()


def close_session(session: str, release_token: bytes) -> None:
    """CloseSession."""
    faults = _Faults()
    faults.name(names.SESSION, session, "session")
    token = 0 < len(release_token) <= TICKET_BYTES
    faults.check(token, "release_token", f"must have 1 to {TICKET_BYTES} bytes")
    faults.done()


def key_name(value: str, field: str) -> None:
    """A key's name."""
    faults = _Faults()
    faults.name(names.KEY, value, field)
    faults.done()


def write_name(value: str) -> None:
    """The id of a write."""
    faults = _Faults()
    _write(faults, value)
    faults.done()


def enroll_key(request: key_service_pb2.EnrollKeyRequest) -> None:
    """EnrollKey."""
    faults = _Faults()
    _write(faults, request.write)
    answered = 0 < len(request.response) <= SECRET_BYTES
    faults.check(answered, "response", f"must have 1 to {SECRET_BYTES} bytes")
    key = len(request.new_management_key) <= SECRET_BYTES
    faults.check(key, "new_management_key", f"may have {SECRET_BYTES} bytes")
    _nonce(faults, request.enrollment_nonce, "enrollment_nonce")
    faults.name(names.ACCOUNT, request.account, "account")
    faults.done()


def write_license(request: key_service_pb2.WriteKeyLicenseRequest) -> None:
    """WriteKeyLicense."""
    faults = _Faults()
    _write(faults, request.write)
    answered = len(request.response) <= SECRET_BYTES
    faults.check(answered, "response", f"may have {SECRET_BYTES} bytes")
    if request.HasField("license") or not request.HasField("contents"):
        _envelope(faults, request.license, "license")
    _envelope(faults, request.delegation, "delegation")
    if request.HasField("contents"):
        _envelope(faults, request.contents, "contents")
    faults.done()


def remove_license(request: key_service_pb2.RemoveKeyLicenseRequest) -> None:
    """RemoveKeyLicense."""
    faults = _Faults()
    _write(faults, request.write)
    answered = len(request.response) <= SECRET_BYTES
    faults.check(answered, "response", f"may have {SECRET_BYTES} bytes")
    faults.name(names.ACTIVATION, request.activation, "activation")
    faults.check(request.generation > 0, "generation", "must be from 1")
    _nonce(faults, request.nonce, "nonce")
    _envelope(faults, request.contents, "contents")
    _envelope(faults, request.delegation, "delegation")
    faults.done()


def fence_key(request: key_service_pb2.FenceKeyRequest) -> None:
    """FenceKey."""
    faults = _Faults()
    _envelope(faults, request.contents, "contents")
    _envelope(faults, request.delegation, "delegation")
    faults.done()


def _nonce(faults: _Faults, nonce: bytes, field: str) -> None:
    faults.check(len(nonce) == NONCE_BYTES, field, f"must have {NONCE_BYTES} bytes")


def _write(faults: _Faults, write: str) -> None:
    faults.check(_WRITE.fullmatch(write) is not None, "write", "is not one of BeginKeyWrite's")


def _envelope(faults: _Faults, envelope: document_pb2.Envelope, field: str) -> None:
    size = 0 < len(envelope.payload) <= DOCUMENT_BYTES
    faults.check(size, f"{field}.payload", f"must have 1 to {DOCUMENT_BYTES} bytes")
    faults.check(len(envelope.signatures) > 0, f"{field}.signatures", "must not be empty")
