"""The list of reasons, and what a refusal is.

Promises: `Reason` equals the contract's enum by name and number (but for its zero, which is never sent); no reason has
two classes; str and repr show the sentence and no more, so that a variable in the metadata never reaches a log by
accident.

Leaves to others: the classes (calls.py, people.py, licenses.py, proofs.py).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from keypeg.v1 import explanation_pb2

_NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})


class Reason(enum.Enum):
    """Why something was refused; names and numbers of keypeg.v1.Reason."""

    INTERNAL = 1
    FIELD_INVALID = 2
    REQUEST_ID_REUSED = 3
    PROTOCOL_VIOLATION = 4
    PROTOCOL_UNSUPPORTED = 5
    CLIENT_TOO_OLD = 6
    NOT_FOUND = 7
    ALREADY_EXISTS = 8
    PERMISSION_DENIED = 9
    STORAGE_UNAVAILABLE = 10
    SERVER_DRAINING = 11
    BUSY = 12
    LIMIT_EXCEEDED = 13
    UNREACHABLE = 14
    TIMED_OUT = 15
    CHANGED_MEANWHILE = 16
    ELSEWHERE = 17
    UPDATE_REQUIRED = 18
    PROVIDER_UNAVAILABLE = 19

    SIGN_IN_REQUIRED = 20
    CREDENTIALS_INVALID = 21
    TOKEN_INVALID = 22
    TOKEN_EXPIRED = 23
    CODE_REQUIRED = 24
    SIGN_IN_PENDING = 26
    SIGN_IN_DECLINED = 27
    PROVIDER_REFUSED = 28
    IDENTITY_UNKNOWN = 29

    LICENSE_MISSING = 30
    LICENSE_EXPIRED = 31
    LICENSE_SUSPENDED = 32
    LICENSE_REVOKED = 33
    LOCATION_NOT_ALLOWED = 34
    ACTIVATIONS_EXHAUSTED = 35
    RECEIPT_REQUIRED = 36
    LICENSE_UNSUITABLE = 37
    VERSION_NOT_COVERED = 38
    SWITCHED_OFF = 39
    PENDING_CHANGE = 44
    ACTIVATE_THERE = 45

    CLOUD_SESSION_CLOSED = 40
    CLOUD_SESSION_ELSEWHERE = 41
    CLOUD_SESSION_MOVED = 42

    DEVICE_COPIED = 130
    DEVICES_EXHAUSTED = 131
    CREDENTIAL_REVOKED = 132
    CREDENTIAL_EXPIRED = 133
    MEMBER_REMOVED = 134
    MEMBER_SUSPENDED = 135

    POOL_EXHAUSTED = 50
    QUEUE_FULL = 51
    POOL_TOO_SMALL = 52
    FEATURE_UNKNOWN = 53
    LEASE_EXPIRED = 54
    LEASE_RECALLED = 55
    FENCING_STALE = 56
    POOL_RULE = 57
    SEAT_REQUIRED = 58

    SESSION_EXPIRED = 60
    RESUME_INVALID = 61
    SESSION_SUPERSEDED = 62
    FRAME_FORGED = 63
    FRAME_REPLAYED = 64
    SESSION_CLOSED = 65

    KEY_MISSING = 70
    KEY_UNPLUGGED = 71
    KEY_UNSUITABLE = 72
    KEY_BUSY = 73
    KEY_FAULTY = 74
    KEY_FULL = 75
    KEY_EMULATED = 76
    KEY_NOT_ENROLLED = 77
    KEY_AUTHORIZATION_FAILED = 78
    KEY_ROLLED_BACK = 79
    KEY_LOST = 96
    KEY_LOSS_POLICY = 97
    KEY_NOT_ATTESTED = 98

    DOCUMENT_MALFORMED = 80
    DOCUMENT_TYPE = 81
    SIGNATURE_INVALID = 82
    SIGNER_UNKNOWN = 83
    PURPOSE_NOT_DELEGATED = 84
    DELEGATION_EXPIRED = 85
    DELEGATION_NOT_YET_VALID = 86
    DOCUMENT_OTHER_PUBLISHER = 87
    DOCUMENT_OTHER_PRODUCT = 88
    DOCUMENT_OTHER_DEVICE = 89

    DOCUMENT_EXPIRED = 90
    NONCE_MISMATCH = 91
    DOCUMENT_OTHER_SESSION = 92
    KEY_PROOF_INVALID = 93
    GRANT_EXPIRED = 94
    DOCUMENT_SUPERSEDED = 95

    LAST_OWNER = 120
    INVITATION_INVALID = 121
    ACCOUNT_OWNED = 122
    SECOND_FACTOR_REQUIRED = 123


class KeypegError(Exception):
    """What every refusal is; never raised itself, always as one of the classes below.

    `sentence` is for people. Programs decide by the class or `reason`, and find every variable of the
    sentence in `metadata`. `fields` says what is wrong with which field of a request, `retry_after` when
    it is worth trying again, `explanation` who or what is in the way.
    """

    reason: ClassVar[Reason]

    def __init_subclass__(cls, *, reason: Reason | None = None) -> None:
        """Give the class its reason; a class without one keeps that of the class above it."""
        super().__init_subclass__()
        if reason is not None:
            assert reason not in _CLASSES, f"two classes for {reason}"
            cls.reason = reason
            cls.__module__ = "keypeg.errors"  # as programs import it, in tracebacks and pickles too
            _CLASSES[reason] = cls

    def __init__(
        self,
        sentence: str,
        *,
        explanation: explanation_pb2.Explanation | None = None,
        retry_after: timedelta | None = None,
        fields: Mapping[str, str] = _NO_FIELDS,
        **metadata: str,
    ) -> None:
        super().__init__(sentence)
        self.sentence: str = sentence
        self.explanation: explanation_pb2.Explanation | None = explanation
        self.retry_after: timedelta | None = retry_after
        self.fields: dict[str, str] = dict(fields)
        self.metadata: dict[str, str] = dict(metadata)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.sentence!r})"


_CLASSES: Final[dict[Reason, type[KeypegError]]] = {}


def error_class(reason: Reason) -> type[KeypegError]:
    """The one class of a reason."""
    return _CLASSES[reason]
