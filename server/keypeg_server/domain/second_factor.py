"""Second factors: of whom one is required, who is there in person, and what is told of factors that were reset.

Promises: pure; time is an argument. The same rule holds for the people of an account and for the publisher's.

Leaves to others: who decides and who resets (people.py), what the factors are (totp.py, passkey.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from .account import Account, PublisherPeople, User
from .passkey import FRESH, STRONG
from .sign_in import Method, SignIn

TOLD_FOR: Final = timedelta(days=7)
"""How long a reset is told after the first sign-in that was told of it: whoever signed in first may have been a thief."""

_WITH_FACTOR: Final = STRONG | {Method.TRUSTED_PROVIDER}
_WITHOUT: Final = frozenset({Method.PASSWORD, Method.PROVIDER})


def is_required(group: Account | PublisherPeople, user: User) -> bool:
    """Whether somebody of this group needs a second factor. Programs have no part in it."""
    return group.second_factor_required and not user.service


def is_in_person(sign_in: SignIn | None, now: datetime, *, has_factor: bool) -> bool:
    """Whether who signed in has just shown everything that they have: no old token, and no code approved elsewhere."""
    if sign_in is None or now - sign_in.create_time > FRESH:
        return False
    return sign_in.method in _WITH_FACTOR or (not has_factor and sign_in.method in _WITHOUT)


@dataclass(frozen=True)
class FactorReset:
    """Somebody's second factors were taken away by somebody else: the last time that this was so."""

    user: str  # id
    reset_time: datetime
    by: str  # name of who did it
    by_login: str
    one_time_codes: bool  # whether there were any
    passkey_count: int
    first_told: datetime | None = None  # in answer to a sign-in

    def is_told(self, now: datetime) -> bool:
        """Whether a sign-in of now is told of it."""
        return self.first_told is None or now - self.first_told < TOLD_FOR

    def told(self, now: datetime) -> FactorReset:
        """The same, once a sign-in of now was told."""
        return self if self.first_told is not None else replace(self, first_told=now)
