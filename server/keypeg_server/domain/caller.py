"""Who calls: the user behind a token, and what they may see.

Promises: an immutable value that holds no secret.

Leaves to others: finding it (rpc/caller.py), and what each role may call (rpc/authorization.py).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Role(enum.IntEnum):
    """What a user may do; numbers of keypeg.v1.Role."""

    MEMBER = 1
    ADMIN = 2
    PUBLISHER = 3


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user."""

    user: str  # `accounts/{account}/users/{user}`; for the publisher's staff the name they are kept under
    login: str
    account: str | None  # `accounts/{account}`; None for the publisher's staff, who have none
    role: Role
    token: str  # the token's id, never the token

    def sees_account(self, account: str) -> bool:
        """Whether the caller may know of what this account has."""
        return self.role is Role.PUBLISHER or self.account == account

    def sees_holder(self, account: str, user: str) -> bool:
        """Whether the caller may know who holds something of this account: `user` is its holder."""
        if self.user == user:
            return True
        return self.sees_account(account) and self.role is not Role.MEMBER
