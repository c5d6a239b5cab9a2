"""Everything for which keypeg refuses: one list of reasons, one class for each.

Promises: `Reason` equals the contract's enum by name and number (but for its zero, which is never sent);
there is exactly one class per reason, named as it in CamelCase; str and repr show the sentence and no
more, so that a variable in the metadata never reaches a log by accident. Imports neither grpc nor protobuf.

Leaves to others: the sentences, which the one who raises writes (what, which, and what to do next), and
the way over the wire (status.py).
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


class Internal(KeypegError, reason=Reason.INTERNAL):
    """A call failed in a way that nobody foresaw; metadata `incident` finds it in the server's log."""


class FieldInvalid(KeypegError, reason=Reason.FIELD_INVALID):
    """A field is missing, malformed or out of range; `fields` says which and what is wrong."""


class RequestIdReused(KeypegError, reason=Reason.REQUEST_ID_REUSED):
    """A request id comes again, but with another request body."""


class ProtocolViolation(KeypegError, reason=Reason.PROTOCOL_VIOLATION):
    """A frame comes at a point of the stream where it may not."""


class UpdateRequired(KeypegError, reason=Reason.UPDATE_REQUIRED):
    """One side is too old for what is asked; metadata `minimum_version`, `component`, `version`."""

    @property
    def minimum_version(self) -> str:
        """The version to update to, or a newer one; empty when it is not known."""
        return self.metadata.get("minimum_version", "")

    @property
    def component(self) -> str:
        """What is to be updated: `app`, `client` (keypeg, as the program has it) or `server`; or empty."""
        return self.metadata.get("component", "")


class ProtocolUnsupported(UpdateRequired, reason=Reason.PROTOCOL_UNSUPPORTED):
    """The protocol version of `open` or `resume` is not spoken here; metadata `supported` names those that are."""


class ClientTooOld(UpdateRequired, reason=Reason.CLIENT_TOO_OLD):
    """The app is older than its publisher allows; metadata `minimum_version`."""


class NotFound(KeypegError, reason=Reason.NOT_FOUND):
    """There is no such resource, or the caller may not know of it."""


class AlreadyExists(KeypegError, reason=Reason.ALREADY_EXISTS):
    """A resource of this name exists already."""


class PermissionDenied(KeypegError, reason=Reason.PERMISSION_DENIED):
    """The caller is known, but may not call this method."""


class StorageUnavailable(KeypegError, reason=Reason.STORAGE_UNAVAILABLE):
    """The database cannot be written at the moment; nothing was changed."""


class ServerDraining(KeypegError, reason=Reason.SERVER_DRAINING):
    """The server is going away and takes nothing new."""


class Busy(KeypegError, reason=Reason.BUSY):
    """Too much is under way at once; `retry_after` says when to try again."""


class LimitExceeded(KeypegError, reason=Reason.LIMIT_EXCEEDED):
    """A named limit was reached; metadata `limit` names it."""


class Unreachable(KeypegError, reason=Reason.UNREACHABLE):
    """A client cannot reach the other side, or lost it; never sent."""


class TimedOut(KeypegError, reason=Reason.TIMED_OUT):
    """A client got no answer within its deadline; never sent."""


class ChangedMeanwhile(KeypegError, reason=Reason.CHANGED_MEANWHILE):
    """The resource has changed since it was read, as its etag says; read it again."""


class Elsewhere(KeypegError, reason=Reason.ELSEWHERE):
    """Another server answers for this account: the one at the address in metadata `server`."""


class SignInRequired(KeypegError, reason=Reason.SIGN_IN_REQUIRED):
    """A call that needs a caller came without credentials."""


class CredentialsInvalid(KeypegError, reason=Reason.CREDENTIALS_INVALID):
    """User name or password is wrong; never says which."""


class TokenInvalid(KeypegError, reason=Reason.TOKEN_INVALID):
    """The token is unknown or was revoked."""


class TokenExpired(KeypegError, reason=Reason.TOKEN_EXPIRED):
    """The token has run out."""


class CodeRequired(KeypegError, reason=Reason.CODE_REQUIRED):
    """A one-time code is needed beside the password."""


class SignInPending(KeypegError, reason=Reason.SIGN_IN_PENDING):
    """Nobody has decided yet about this device code; ask again after `retry_after`."""


class SignInDeclined(KeypegError, reason=Reason.SIGN_IN_DECLINED):
    """Whoever was asked declined this sign-in."""


class ProviderUnavailable(KeypegError, reason=Reason.PROVIDER_UNAVAILABLE):
    """The outside provider of sign-ins does not answer."""


class ProviderRefused(KeypegError, reason=Reason.PROVIDER_REFUSED):
    """What the outside provider of sign-ins said is not to be believed, or was refused by it."""


class IdentityUnknown(KeypegError, reason=Reason.IDENTITY_UNKNOWN):
    """Who signed in at the provider is linked to nobody here."""


class LicenseMissing(KeypegError, reason=Reason.LICENSE_MISSING):
    """The account has no license for the product that can be used here."""


class LicenseExpired(KeypegError, reason=Reason.LICENSE_EXPIRED):
    """The license has run out; metadata `expire_time`."""


class LicenseSuspended(KeypegError, reason=Reason.LICENSE_SUSPENDED):
    """The license's publisher has suspended it."""


class LicenseRevoked(KeypegError, reason=Reason.LICENSE_REVOKED):
    """The license's publisher has revoked it."""


class LocationNotAllowed(KeypegError, reason=Reason.LOCATION_NOT_ALLOWED):
    """The license may not live at this kind of location; metadata `allowed`."""


class ActivationsExhausted(KeypegError, reason=Reason.ACTIVATIONS_EXHAUSTED):
    """All activations of the license are used; metadata `locations` says where."""


class ReceiptRequired(KeypegError, reason=Reason.RECEIPT_REQUIRED):
    """An activation is to be returned without the receipt that its location must give."""


class LicenseUnsuitable(KeypegError, reason=Reason.LICENSE_UNSUITABLE):
    """The license cannot do what was asked; metadata `rule`."""


class VersionNotCovered(KeypegError, reason=Reason.VERSION_NOT_COVERED):
    """The license does not open this version of the app; metadata `rule`, and what it does open."""


class SwitchedOff(KeypegError, reason=Reason.SWITCHED_OFF):
    """The product's publisher does not let the account do this; metadata `switch` and `allowed`."""


class PendingChange(KeypegError, reason=Reason.PENDING_CHANGE):
    """A recorded change of the license comes first; metadata `change` and `location`."""


class ActivateThere(KeypegError, reason=Reason.ACTIVATE_THERE):
    """What is to live on a key or device is activated only there; metadata `location`."""


class CloudSessionClosed(KeypegError, reason=Reason.CLOUD_SESSION_CLOSED):
    """A cloud license is asked for while no device holds the account's cloud session."""


class CloudSessionElsewhere(KeypegError, reason=Reason.CLOUD_SESSION_ELSEWHERE):
    """A cloud license is asked for while another device holds the cloud session; metadata `device`."""


class CloudSessionMoved(KeypegError, reason=Reason.CLOUD_SESSION_MOVED):
    """The cloud session has just been opened on another device, which ends this session; metadata `device`."""


class DeviceCopied(KeypegError, reason=Reason.DEVICE_COPIED):
    """Another copy of this computer uses the cloud session now; metadata `host_name` and `address`."""


class DevicesExhausted(KeypegError, reason=Reason.DEVICES_EXHAUSTED):
    """The account is in use on as many devices as it may be; metadata `devices` says on which."""


class CredentialRevoked(KeypegError, reason=Reason.CREDENTIAL_REVOKED):
    """The credential was reset or taken away, or this device was taken off it; metadata `credential`."""


class CredentialExpired(KeypegError, reason=Reason.CREDENTIAL_EXPIRED):
    """The time of the credential has not begun, or is over; metadata `credential`."""


class MemberRemoved(KeypegError, reason=Reason.MEMBER_REMOVED):
    """The member was removed from the group whose licenses the app ran by; metadata `account`."""


class MemberSuspended(KeypegError, reason=Reason.MEMBER_SUSPENDED):
    """An administrator keeps the member from the group's cloud licenses; metadata `account`, `cloud_session` and `why`."""


class PoolExhausted(KeypegError, reason=Reason.POOL_EXHAUSTED):
    """Every seat of the pool is held."""


class QueueFull(KeypegError, reason=Reason.QUEUE_FULL):
    """The queue of the pool takes no one more."""


class PoolTooSmall(KeypegError, reason=Reason.POOL_TOO_SMALL):
    """More seats were asked for than the pool will ever have."""


class FeatureUnknown(KeypegError, reason=Reason.FEATURE_UNKNOWN):
    """The pool has no feature of this name."""


class LeaseExpired(KeypegError, reason=Reason.LEASE_EXPIRED):
    """The lease has run out or was released."""


class LeaseRecalled(KeypegError, reason=Reason.LEASE_RECALLED):
    """An administrator took the lease back."""


class FencingStale(KeypegError, reason=Reason.FENCING_STALE):
    """A newer holder with a higher fencing number has been seen."""


class PoolRule(KeypegError, reason=Reason.POOL_RULE):
    """A rule of the pool forbids it; metadata `rule`."""


class SeatRequired(KeypegError, reason=Reason.SEAT_REQUIRED):
    """The product takes a seat to run, and the session holds none."""


class SessionExpired(KeypegError, reason=Reason.SESSION_EXPIRED):
    """The session is not known here, or has run out."""


class ResumeInvalid(KeypegError, reason=Reason.RESUME_INVALID):
    """The resume ticket is not this server's, or its bearer does not have the session key."""


class SessionSuperseded(KeypegError, reason=Reason.SESSION_SUPERSEDED):
    """Another stream has resumed this session, which ends this stream."""


class FrameForged(KeypegError, reason=Reason.FRAME_FORGED):
    """The code that authenticates a frame is wrong."""


class FrameReplayed(KeypegError, reason=Reason.FRAME_REPLAYED):
    """The sequence number of a frame did not grow."""


class SessionClosed(KeypegError, reason=Reason.SESSION_CLOSED):
    """The session was ended by its release token, or by an administrator."""


class KeyMissing(KeypegError, reason=Reason.KEY_MISSING):
    """No plugged-in key carries a license for the product."""


class KeyUnplugged(KeypegError, reason=Reason.KEY_UNPLUGGED):
    """The key was unplugged and did not come back within its grace."""


class KeyUnsuitable(KeypegError, reason=Reason.KEY_UNSUITABLE):
    """The key cannot do what is needed; metadata `capability`."""


class KeyBusy(KeypegError, reason=Reason.KEY_BUSY):
    """The key is in use by another transaction."""


class KeyFaulty(KeypegError, reason=Reason.KEY_FAULTY):
    """The key answered with something that it should not; metadata `detail`."""


class KeyFull(KeypegError, reason=Reason.KEY_FULL):
    """The key has no room for the document."""


class KeyEmulated(KeypegError, reason=Reason.KEY_EMULATED):
    """An emulated key is used where the server's settings allow none."""


class KeyNotEnrolled(KeypegError, reason=Reason.KEY_NOT_ENROLLED):
    """The key is not enrolled at this account."""


class KeyAuthorizationFailed(KeypegError, reason=Reason.KEY_AUTHORIZATION_FAILED):
    """The key did not accept the authorization to write."""


class KeyRolledBack(KeypegError, reason=Reason.KEY_ROLLED_BACK):
    """A key tells less than was seen of it: it was put back, or copied; metadata `told` and `seen`."""


class KeyLost(KeypegError, reason=Reason.KEY_LOST):
    """A key was reported lost, and is refused for good; metadata `location`."""


class KeyLossPolicy(KeypegError, reason=Reason.KEY_LOSS_POLICY):
    """A license may not leave a lost key, or not yet; metadata `rule`, and `free_time` when it will."""


class KeyNotAttested(KeypegError, reason=Reason.KEY_NOT_ATTESTED):
    """Nobody that the server trusts vouches for a key, and it takes no others."""


class DocumentMalformed(KeypegError, reason=Reason.DOCUMENT_MALFORMED):
    """Bytes or text are no document, or break a limit of its format."""


class DocumentType(KeypegError, reason=Reason.DOCUMENT_TYPE):
    """A document is of another type or kind than the one needed."""


class SignatureInvalid(KeypegError, reason=Reason.SIGNATURE_INVALID):
    """No signature of a document by a trusted key is right."""


class SignerUnknown(KeypegError, reason=Reason.SIGNER_UNKNOWN):
    """A document is signed only by keys that the verifier does not trust."""


class PurposeNotDelegated(KeypegError, reason=Reason.PURPOSE_NOT_DELEGATED):
    """The signing key is delegated, but not to sign this type of document."""


class DelegationExpired(KeypegError, reason=Reason.DELEGATION_EXPIRED):
    """The delegation of the signing key has ended."""


class DelegationNotYetValid(KeypegError, reason=Reason.DELEGATION_NOT_YET_VALID):
    """The delegation of the signing key has not begun: one of the clocks is wrong."""


class DocumentOtherPublisher(KeypegError, reason=Reason.DOCUMENT_OTHER_PUBLISHER):
    """A document is of another publisher than the one expected."""


class DocumentOtherProduct(KeypegError, reason=Reason.DOCUMENT_OTHER_PRODUCT):
    """A document does not open the product."""


class DocumentOtherDevice(KeypegError, reason=Reason.DOCUMENT_OTHER_DEVICE):
    """A document is for another device, key or site."""


class DocumentExpired(KeypegError, reason=Reason.DOCUMENT_EXPIRED):
    """The term of a document has ended, or the day by which it must be renewed has passed."""


class NonceMismatch(KeypegError, reason=Reason.NONCE_MISMATCH):
    """A grant answers another nonce: it is old, or another app's."""


class DocumentOtherSession(KeypegError, reason=Reason.DOCUMENT_OTHER_SESSION):
    """A document is for another session."""


class KeyProofInvalid(KeypegError, reason=Reason.KEY_PROOF_INVALID):
    """The key's own signature over the challenge is wrong."""


class GrantExpired(KeypegError, reason=Reason.GRANT_EXPIRED):
    """The time for which the app may run is over."""


class DocumentSuperseded(KeypegError, reason=Reason.DOCUMENT_SUPERSEDED):
    """A newer generation of the document has been seen."""


class LastOwner(KeypegError, reason=Reason.LAST_OWNER):
    """The last who may do everything somewhere can not be taken away."""


class InvitationInvalid(KeypegError, reason=Reason.INVITATION_INVALID):
    """The ticket of an invitation is not known, was used or revoked, or has run out; never says which."""


class AccountOwned(KeypegError, reason=Reason.ACCOUNT_OWNED):
    """The account has an owner, who decides this: a reseller does so no more."""


class SecondFactorRequired(KeypegError, reason=Reason.SECOND_FACTOR_REQUIRED):
    """The account requires a second factor, and the user has none, or would have none left."""


def error_class(reason: Reason) -> type[KeypegError]:
    """The one class of a reason."""
    return _CLASSES[reason]


def _class_name(reason: Reason) -> str:
    return "".join(word.capitalize() for word in reason.name.split("_"))


assert {reason: _class_name(reason) for reason in Reason} == {
    reason: cls.__name__ for reason, cls in _CLASSES.items()
}, "every reason has its class, named as it"
