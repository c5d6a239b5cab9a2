"""Errors over the wire: the one table from reason to code, and the way there and back.

Promises: `from_status(to_status(error))` has the class, sentence, metadata, fields, retry time and
explanation of `error` (unless the status had to be cut, see STATUS_BYTES); a status of any origin becomes
some KeypegError, never another exception. Imports no grpc: codes are the numbers of google.rpc.Code.

Leaves to others: putting a status on a call (serving.py) and errors of a call without one (calls.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from keypeg import errors
from keypeg.errors import KeypegError, Reason, error_class
from keypeg.v1 import explanation_pb2

DOMAIN: Final = "keypeg"
DETAILS_KEY: Final = "grpc-status-details-bin"  # where gRPC carries a google.rpc.Status

# bytes of a serialized status: gRPC drops trailing metadata above 8 KiB by default, and binary metadata
# grows by a third; the rest is left to the message, which is sent a second time.
STATUS_BYTES: Final = 4_096
MESSAGE_BYTES: Final = 1_024  # bytes of the message; percent-encoding may treble it
_VALUE_CHARACTERS: Final = 128  # of a metadata value, once a status must be cut

_ERROR_INFO: Final = error_details_pb2.ErrorInfo.DESCRIPTOR.full_name
_BAD_REQUEST: Final = error_details_pb2.BadRequest.DESCRIPTOR.full_name
_RETRY_INFO: Final = error_details_pb2.RetryInfo.DESCRIPTOR.full_name
_EXPLANATION: Final = explanation_pb2.Explanation.DESCRIPTOR.full_name

_INVALID: Final = code_pb2.INVALID_ARGUMENT
_PRECONDITION: Final = code_pb2.FAILED_PRECONDITION
_EXHAUSTED: Final = code_pb2.RESOURCE_EXHAUSTED
_UNAVAILABLE: Final = code_pb2.UNAVAILABLE
_UNAUTHENTICATED: Final = code_pb2.UNAUTHENTICATED

CODES: Final[Mapping[Reason, int]] = {
    Reason.INTERNAL: code_pb2.INTERNAL,
    Reason.FIELD_INVALID: _INVALID,
    Reason.REQUEST_ID_REUSED: _INVALID,
    Reason.PROTOCOL_VIOLATION: _INVALID,
    Reason.PROTOCOL_UNSUPPORTED: code_pb2.UNIMPLEMENTED,
    Reason.CLIENT_TOO_OLD: _PRECONDITION,
    Reason.NOT_FOUND: code_pb2.NOT_FOUND,
    Reason.ALREADY_EXISTS: code_pb2.ALREADY_EXISTS,
    Reason.PERMISSION_DENIED: code_pb2.PERMISSION_DENIED,
    Reason.STORAGE_UNAVAILABLE: _UNAVAILABLE,
    Reason.SERVER_DRAINING: _UNAVAILABLE,
    Reason.BUSY: _EXHAUSTED,
    Reason.LIMIT_EXCEEDED: _EXHAUSTED,
    Reason.UNREACHABLE: _UNAVAILABLE,
    Reason.TIMED_OUT: code_pb2.DEADLINE_EXCEEDED,
    Reason.CHANGED_MEANWHILE: code_pb2.ABORTED,
    Reason.ELSEWHERE: _UNAVAILABLE,
    Reason.UPDATE_REQUIRED: _PRECONDITION,
    Reason.SIGN_IN_REQUIRED: _UNAUTHENTICATED,
    Reason.CREDENTIALS_INVALID: _UNAUTHENTICATED,
    Reason.TOKEN_INVALID: _UNAUTHENTICATED,
    Reason.TOKEN_EXPIRED: _UNAUTHENTICATED,
    Reason.CODE_REQUIRED: _UNAUTHENTICATED,
    Reason.SIGN_IN_PENDING: _PRECONDITION,
    Reason.SIGN_IN_DECLINED: _UNAUTHENTICATED,
    Reason.PROVIDER_UNAVAILABLE: _PRECONDITION,  # this server answers: no other one is to be tried
    Reason.PROVIDER_REFUSED: _UNAUTHENTICATED,
    Reason.IDENTITY_UNKNOWN: _UNAUTHENTICATED,
    Reason.LICENSE_MISSING: _PRECONDITION,
    Reason.LICENSE_EXPIRED: _PRECONDITION,
    Reason.LICENSE_SUSPENDED: _PRECONDITION,
    Reason.LICENSE_REVOKED: _PRECONDITION,
    Reason.LOCATION_NOT_ALLOWED: _PRECONDITION,
    Reason.ACTIVATIONS_EXHAUSTED: _EXHAUSTED,
    Reason.RECEIPT_REQUIRED: _PRECONDITION,
    Reason.LICENSE_UNSUITABLE: _PRECONDITION,
    Reason.VERSION_NOT_COVERED: _PRECONDITION,
    Reason.SWITCHED_OFF: _PRECONDITION,
    Reason.PENDING_CHANGE: _PRECONDITION,
    Reason.ACTIVATE_THERE: _PRECONDITION,
    Reason.CLOUD_SESSION_CLOSED: _PRECONDITION,
    Reason.CLOUD_SESSION_ELSEWHERE: _PRECONDITION,
    Reason.CLOUD_SESSION_MOVED: code_pb2.ABORTED,
    Reason.DEVICE_COPIED: code_pb2.ABORTED,
    Reason.DEVICES_EXHAUSTED: _EXHAUSTED,
    Reason.CREDENTIAL_REVOKED: _UNAUTHENTICATED,
    Reason.CREDENTIAL_EXPIRED: _UNAUTHENTICATED,
    Reason.MEMBER_REMOVED: _PRECONDITION,
    Reason.MEMBER_SUSPENDED: _PRECONDITION,
    Reason.POOL_EXHAUSTED: _EXHAUSTED,
    Reason.QUEUE_FULL: _EXHAUSTED,
    Reason.POOL_TOO_SMALL: _PRECONDITION,
    Reason.FEATURE_UNKNOWN: _PRECONDITION,
    Reason.LEASE_EXPIRED: _PRECONDITION,
    Reason.LEASE_RECALLED: _PRECONDITION,
    Reason.FENCING_STALE: code_pb2.ABORTED,
    Reason.POOL_RULE: _PRECONDITION,
    Reason.SEAT_REQUIRED: _PRECONDITION,
    Reason.SESSION_EXPIRED: _PRECONDITION,
    Reason.RESUME_INVALID: code_pb2.PERMISSION_DENIED,
    Reason.SESSION_SUPERSEDED: code_pb2.ABORTED,
    Reason.FRAME_FORGED: code_pb2.PERMISSION_DENIED,
    Reason.FRAME_REPLAYED: _INVALID,
    Reason.SESSION_CLOSED: code_pb2.ABORTED,
    Reason.KEY_MISSING: _PRECONDITION,
    Reason.KEY_UNPLUGGED: _PRECONDITION,
    Reason.KEY_UNSUITABLE: _PRECONDITION,
    Reason.KEY_BUSY: _UNAVAILABLE,
    Reason.KEY_FAULTY: _PRECONDITION,
    Reason.KEY_FULL: _EXHAUSTED,
    Reason.KEY_EMULATED: _PRECONDITION,
    Reason.KEY_NOT_ENROLLED: _PRECONDITION,
    Reason.KEY_AUTHORIZATION_FAILED: code_pb2.PERMISSION_DENIED,
    Reason.KEY_ROLLED_BACK: _PRECONDITION,
    Reason.KEY_LOST: _PRECONDITION,
    Reason.KEY_LOSS_POLICY: _PRECONDITION,
    Reason.KEY_NOT_ATTESTED: _PRECONDITION,
    Reason.DOCUMENT_MALFORMED: _INVALID,
    Reason.DOCUMENT_TYPE: _INVALID,
    Reason.SIGNATURE_INVALID: _INVALID,
    Reason.SIGNER_UNKNOWN: _PRECONDITION,
    Reason.PURPOSE_NOT_DELEGATED: _PRECONDITION,
    Reason.DELEGATION_EXPIRED: _PRECONDITION,
    Reason.DELEGATION_NOT_YET_VALID: _PRECONDITION,
    Reason.DOCUMENT_OTHER_PUBLISHER: _PRECONDITION,
    Reason.DOCUMENT_OTHER_PRODUCT: _PRECONDITION,
    Reason.DOCUMENT_OTHER_DEVICE: _PRECONDITION,
    Reason.DOCUMENT_EXPIRED: _PRECONDITION,
    Reason.NONCE_MISMATCH: _PRECONDITION,
    Reason.DOCUMENT_OTHER_SESSION: _PRECONDITION,
    Reason.KEY_PROOF_INVALID: _PRECONDITION,
    Reason.GRANT_EXPIRED: _PRECONDITION,
    Reason.DOCUMENT_SUPERSEDED: _PRECONDITION,
    Reason.LAST_OWNER: _PRECONDITION,
    Reason.INVITATION_INVALID: _PRECONDITION,
    Reason.ACCOUNT_OWNED: _PRECONDITION,
    Reason.SECOND_FACTOR_REQUIRED: _PRECONDITION,
}
assert set(CODES) == set(Reason), "every reason has its code"

# What a status of an unknown reason, or of none, still says.
_BY_CODE: Final[Mapping[int, type[KeypegError]]] = {
    code_pb2.INVALID_ARGUMENT: errors.FieldInvalid,
    code_pb2.DEADLINE_EXCEEDED: errors.TimedOut,
    code_pb2.NOT_FOUND: errors.NotFound,
    code_pb2.ALREADY_EXISTS: errors.AlreadyExists,
    code_pb2.PERMISSION_DENIED: errors.PermissionDenied,
    code_pb2.RESOURCE_EXHAUSTED: errors.Busy,
    code_pb2.UNAVAILABLE: errors.Unreachable,
    code_pb2.UNAUTHENTICATED: errors.SignInRequired,
}


def to_status(error: KeypegError) -> status_pb2.Status:
    """The status of an error, of at most STATUS_BYTES: what helps least is left out first."""
    explanation = error.explanation
    status = _packed(error, dict(error.metadata), explanation)
    if status.ByteSize() > STATUS_BYTES and explanation is not None:
        explanation = _copy(explanation)
        while explanation.holders and status.ByteSize() > STATUS_BYTES:
            del explanation.holders[len(explanation.holders) // 2 :]
            status = _packed(error, dict(error.metadata), explanation)
    if status.ByteSize() > STATUS_BYTES:
        status = _packed(error, dict(error.metadata), None)
    if status.ByteSize() > STATUS_BYTES:
        cut = {key: value[:_VALUE_CHARACTERS] for key, value in list(error.metadata.items())[:8]}
        status = _packed(error, {k: v for k, v in cut.items() if len(k) <= _VALUE_CHARACTERS}, None)
    if status.ByteSize() > STATUS_BYTES:  # only fields, of a caller who sent very many wrong ones
        plain = error_class(error.reason)(error.sentence, retry_after=error.retry_after)
        status = _packed(plain, {}, None)
    return status


def from_status(status: status_pb2.Status) -> KeypegError:
    """The error of a status; a reason that is not known here becomes the nearest one by code."""
    info: error_details_pb2.ErrorInfo | None = None
    explanation: explanation_pb2.Explanation | None = None
    retry_after: timedelta | None = None
    fields: dict[str, str] = {}
    for detail in status.details:
        kind = detail.TypeName()
        try:
            if kind == _ERROR_INFO and info is None:
                found = error_details_pb2.ErrorInfo.FromString(detail.value)
                info = found if found.domain == DOMAIN else None
            elif kind == _BAD_REQUEST:
                bad = error_details_pb2.BadRequest.FromString(detail.value)
                fields.update({one.field: one.description for one in bad.field_violations})
            elif kind == _RETRY_INFO:
                retry = error_details_pb2.RetryInfo.FromString(detail.value)
                retry_after = retry.retry_delay.ToTimedelta()
            elif kind == _EXPLANATION:
                explanation = explanation_pb2.Explanation.FromString(detail.value)
        except (DecodeError, ValueError, OverflowError):
            continue  # a detail that cannot be read says nothing; the code still does
    cls = _class_of(info.reason if info else "", status.code)
    sentence = status.message or "The server refused and gave no reason; see its log."
    error = cls(sentence, explanation=explanation, retry_after=retry_after, fields=fields)
    if info is not None:  # set afterwards: foreign keys may be any words
        error.metadata.update(info.metadata)
        if info.reason not in Reason.__members__:
            error.metadata["reason"] = info.reason
    return error


def from_trailing_metadata(
    metadata: Iterable[tuple[str, str | bytes]] | None,
) -> KeypegError | None:
    """The error that a failed call carries in its trailing metadata; None when it carries none."""
    for key, value in metadata or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return from_status(status_pb2.Status.FromString(value))
            except DecodeError:
                return None
    return None


def explain(error: KeypegError) -> explanation_pb2.Explanation:
    """The explanation of an error: its own, or one built of its sentence and metadata."""
    explanation = explanation_pb2.Explanation()
    if error.explanation is not None:
        explanation.CopyFrom(error.explanation)
    if not explanation.reason:
        explanation.reason = error.reason.value  # type: ignore[assignment]  # equal by test
    if not explanation.sentence:
        explanation.sentence = error.sentence
    for key, value in error.metadata.items():
        if key not in explanation.metadata:
            explanation.metadata[key] = value
    return explanation


def from_explanation(explanation: explanation_pb2.Explanation) -> KeypegError:
    """The error of an explanation, which it keeps; Internal when its reason is not known here."""
    known = explanation.reason in {reason.value for reason in Reason}
    cls = error_class(Reason(explanation.reason)) if known else errors.Internal
    sentence = explanation.sentence or "The server refused and gave no reason; see its log."
    error = cls(sentence, explanation=explanation)
    error.metadata.update(explanation.metadata)
    return error


def _packed(
    error: KeypegError,
    metadata: Mapping[str, str],
    explanation: explanation_pb2.Explanation | None,
) -> status_pb2.Status:
    message = error.sentence.encode("utf-8", "replace")[:MESSAGE_BYTES].decode("utf-8", "ignore")
    status = status_pb2.Status(code=CODES[error.reason], message=message)
    reason = error.reason.name
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)
    ]
    if error.fields:
        bad = error_details_pb2.BadRequest()
        for field, description in error.fields.items():
            bad.field_violations.add(field=field, description=description)
        details.append(bad)
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        details.append(retry)
    if error.reason is Reason.LIMIT_EXCEEDED and "limit" in error.metadata:
        quota = error_details_pb2.QuotaFailure()
        quota.violations.add(subject=error.metadata["limit"], description=message)
        details.append(quota)
    if explanation is not None:
        details.append(explanation)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _class_of(reason: str, code: int) -> type[KeypegError]:
    if reason in Reason.__members__:
        return error_class(Reason[reason])
    return _BY_CODE.get(code, errors.Internal)


def _copy(explanation: explanation_pb2.Explanation) -> explanation_pb2.Explanation:
    copy = explanation_pb2.Explanation()
    copy.CopyFrom(explanation)
    return copy
