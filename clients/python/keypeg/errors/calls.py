"""Why any call may be refused, whatever it is about: its form, its caller's rights, and how the server is."""

from __future__ import annotations

from keypeg.errors.refusal import KeypegError, Reason


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
