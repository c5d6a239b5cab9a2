"""Sign-ins: who is signed in by which client, and what becomes of a refresh token.

Promises: pure; time is an argument. A refresh token is good once. The same request again gives the same next one, as
long as that is not used; an older one, or the last one with another request, was copied, and its sign-in ends.

Leaves to others: the text of tokens (service/token_texts.py), keeping sign-ins (storage).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from datetime import datetime

from keypeg import names

from .account import User


class Method(enum.IntEnum):
    """How somebody signed in; numbers of keypeg.v1.SignInMethod."""

    PASSWORD = 1
    PASSWORD_AND_CODE = 2
    PASSKEY = 3
    PROVIDER = 4
    DEVICE_CODE = 5
    TRUSTED_PROVIDER = 6  # which has asked for a second factor, where one is needed
    PASSWORD_AND_PASSKEY = 7


class Refresh(enum.Enum):
    """What a refresh token is."""

    NEXT = "the newest: the next one is made"
    REPEATED = "the one before, by the request that made the newest: the newest is given again"
    COPIED = "one that was used before by another request"


@dataclass(frozen=True)
class SignIn:
    """A client that is signed in."""

    id: str
    user: User
    method: Method
    client_name: str
    create_time: datetime
    use_time: datetime
    expire_time: datetime
    generation: int  # of the newest refresh token; it grows
    salt: bytes = field(repr=False)  # of the newest refresh token

    @property
    def name(self) -> str:
        return names.SIGN_IN.build(self.id)

    def presented(self, generation: int, salt: bytes, next_salt: bytes) -> Refresh:
        """What a refresh token of this sign-in is; `next_salt` is what its request would make the next one of.

        Its generation and salt are as this server made them: that its text is right was looked at before.
        """
        if generation > self.generation:  # this server made it, and was restored from before
            return Refresh.NEXT
        if generation == self.generation and salt == self.salt:
            return Refresh.NEXT
        if generation == self.generation - 1 and next_salt == self.salt:
            return Refresh.REPEATED
        return Refresh.COPIED

    def refreshed(
        self, generation: int, salt: bytes, now: datetime, expire_time: datetime
    ) -> SignIn:
        """The same with its next refresh token, which ends later; `generation` is of the one that was presented."""
        return replace(
            self,
            generation=generation + 1,
            salt=salt,
            use_time=max(self.use_time, now),
            expire_time=max(self.expire_time, expire_time),
        )


class Decision(enum.IntEnum):
    """What somebody said to a code; numbers in the database."""

    NONE = 0
    APPROVED = 1
    DECLINED = 2


@dataclass(frozen=True)
class DeviceSignIn:
    """A client that shows a code and waits for somebody to approve it."""

    digest: bytes = field(repr=False)  # SHA-256 of the device code
    user_code: str
    client_name: str
    address: str
    create_time: datetime
    expire_time: datetime
    decision: Decision = Decision.NONE
    user: User | None = None  # who decided


def read_user_code(text: str) -> str:
    """A code as people type it, in its one spelling."""
    return text.replace("-", "").replace(" ", "").upper()


def shown_user_code(code: str) -> str:
    """A code as people read it."""
    return f"{code[:4]}-{code[4:]}"
