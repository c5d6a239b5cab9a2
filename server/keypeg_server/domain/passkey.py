"""Passkeys: what is kept of one, what its counter says, and what a challenge is for.

Promises: pure; time is an argument. A challenge is for one ceremony, of one user where that is known, and of a time; it is
used up with all of that user's that were given before it, as one-time codes are.

Leaves to others: verifying signatures (service/passkey_checks.py), sealing challenges (service/passkey_challenges.py).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from keypeg import names

from .account import NO_ACCOUNT, User
from .sign_in import Method, SignIn

PASSKEYS_LIMIT: Final = 20  # of a user: two or three security keys, and a few that were forgotten
VALID_FOR: Final = timedelta(minutes=3)  # a challenge: to find the key, type its PIN and touch it
AHEAD: Final = timedelta(seconds=30)  # what another server's clock may be before this one's
FRESH: Final = timedelta(minutes=10)  # a sign-in that stands for the second factor of now
STRONG: Final = frozenset({Method.PASSKEY, Method.PASSWORD_AND_CODE, Method.PASSWORD_AND_PASSKEY})
"""Ways to sign in by which somebody has shown a second factor."""


class Ceremony(enum.IntEnum):
    """What a challenge is for; a byte of it."""

    REGISTER = 1
    ALONE = 2  # signing in with nothing else
    BESIDE_PASSWORD = 3


@dataclass(frozen=True)
class Challenge:
    """What a challenge of this server says."""

    ceremony: Ceremony
    user: bytes  # what names the user in it; zeros for anybody
    issue_us: int

    def holds(self, now_us: int) -> bool:
        """Whether it is in its time."""
        age = timedelta(microseconds=now_us - self.issue_us)
        return -AHEAD <= age < VALID_FOR


@dataclass(frozen=True)
class Passkey:
    """A credential of a user."""

    user: User
    id: str
    credential_id: bytes
    public_key: bytes = field(repr=False)  # COSE, as the security key gave it
    sign_count: int
    display_name: str
    create_time: datetime
    use_time: datetime | None = None

    @property
    def name(self) -> str:
        return names.PASSKEY.build(self.user.account or NO_ACCOUNT, self.user.id, self.id)


def handle_of(user: User) -> bytes:
    """What a passkey knows its user by: the id, which says nothing of the person."""
    return user.id.encode()


def is_copied(kept: int, told: int) -> bool:
    """Whether a counter did not grow: there may be two of the key. Keys that do not count tell 0 each time."""
    return (kept, told) != (0, 0) and told <= kept


def is_strong(sign_in: SignIn | None, now: datetime) -> bool:
    """Whether it was just now that this sign-in began, with a second factor."""
    return sign_in is not None and sign_in.method in STRONG and now - sign_in.create_time <= FRESH
