"""Why somebody is not let in, or does not join or leave: signing in, credential files, and the people of an account."""

from __future__ import annotations

from keypeg.errors.refusal import KeypegError, Reason


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


class CredentialRevoked(KeypegError, reason=Reason.CREDENTIAL_REVOKED):
    """The credential was reset or taken away, or this device was taken off it; metadata `credential`."""


class CredentialExpired(KeypegError, reason=Reason.CREDENTIAL_EXPIRED):
    """The time of the credential has not begun, or is over; metadata `credential`."""


class LastOwner(KeypegError, reason=Reason.LAST_OWNER):
    """The last who may do everything somewhere can not be taken away."""


class InvitationInvalid(KeypegError, reason=Reason.INVITATION_INVALID):
    """The ticket of an invitation is not known, was used or revoked, or has run out; never says which."""


class AccountOwned(KeypegError, reason=Reason.ACCOUNT_OWNED):
    """The account has an owner, who decides this: a reseller does so no more."""


class SecondFactorRequired(KeypegError, reason=Reason.SECOND_FACTOR_REQUIRED):
    """The account requires a second factor, and the user has none, or would have none left."""
