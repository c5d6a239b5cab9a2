"""What a refusal means for a launch, by its reason.

Promises: pure. What is in neither set is told to the person as it is.

Leaves to others: what follows from it (launch_flow).
"""

from __future__ import annotations

from typing import Final

from keypeg.errors import Reason

NOBODY: Final = frozenset({Reason.SIGN_IN_REQUIRED, Reason.TOKEN_INVALID, Reason.TOKEN_EXPIRED})
# There is no license here, but perhaps the account has one that could be.
MISSING: Final = frozenset(
    {
        Reason.LICENSE_MISSING,
        Reason.LICENSE_EXPIRED,
        Reason.LICENSE_SUSPENDED,
        Reason.LICENSE_REVOKED,
        Reason.LOCATION_NOT_ALLOWED,
        Reason.CLOUD_SESSION_CLOSED,
        Reason.CLOUD_SESSION_ELSEWHERE,
        Reason.KEY_MISSING,
        Reason.KEY_NOT_ENROLLED,
        Reason.KEY_LOST,
        Reason.DOCUMENT_EXPIRED,
        Reason.DOCUMENT_OTHER_DEVICE,
    }
)
