"""Why an app may not run or take a seat: licenses, the cloud, pools and sessions."""

from __future__ import annotations

from keypeg.errors.refusal import KeypegError, Reason


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
