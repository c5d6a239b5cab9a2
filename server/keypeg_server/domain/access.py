"""Ways in for people and programs beside a password: invitations and API keys.

Promises: immutable values that hold no secret; what ends is looked at with a time that is given.

Leaves to others: their secrets (service/labeled.py), storing them (storage/people_store.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from keypeg import names

from .account import NO_ACCOUNT
from .rights import Right, Role

INVITATION_TTL: Final = timedelta(days=7)  # unless the invitation says otherwise
KEY_TTL: Final = timedelta(days=90)  # unless the key says otherwise
KEYS_LIMIT: Final = 20  # of a user: each service its own, and some being rotated
INVITATIONS_LIMIT: Final = 1_000  # open ones of an account
RESELLER_LIMIT: Final = (
    10_000  # accounts of a reseller: they are in memory with each of their tokens
)
USE_EVERY: Final = timedelta(minutes=10)  # how exactly the last use of a key is known


@dataclass(frozen=True)
class Invitation:
    """Somebody may join an account, once."""

    account: str | None  # id; None for the publisher's people
    id: str
    address: str  # of who is invited: for people
    role: Role
    created_by: str  # name
    create_time: datetime
    expire_time: datetime

    @property
    def name(self) -> str:
        return names.INVITATION.build(self.account or NO_ACCOUNT, self.id)


@dataclass(frozen=True)
class ApiKey:
    """A program may call as its user, within scopes."""

    user: str  # name
    id: str
    display_name: str
    scopes: frozenset[Right]
    create_time: datetime
    expire_time: datetime
    last_use_time: datetime | None = None

    @property
    def name(self) -> str:
        return names.API_KEY.build(*names.USER.parse(self.user), self.id)
