"""Why what was shown proves nothing: keys, and signed documents."""

from __future__ import annotations

from keypeg.errors.refusal import KeypegError, Reason


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
