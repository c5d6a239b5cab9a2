"""Who calls: the user behind a token or key, what they may see, and what they may do.

Promises: an immutable value that holds no secret.

Leaves to others: finding it (rpc/caller.py), the rights of each role (rights.py), which right a method takes
(rpc/authorization.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from keypeg_server.domain.client_certificate import CertificateRole
from keypeg_server.domain.rights import RIGHTS, STAFF, Right, Role

__all__ = ["Caller", "Right", "Role"]


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user."""

    user: str  # `accounts/{account}/users/{user}`; for who belongs to no account the name they are kept under
    login: str
    account: str | None  # `accounts/{account}`; None for the publisher's staff and resellers
    role: Role
    token: str  # the token's or key's id, never itself
    acts_for: frozenset[str] = frozenset()  # the accounts of a reseller
    scopes: frozenset[Right] | None = None  # of an API key; None for who has signed in
    credential: str = ""  # the credential by which they signed in (name)
    certificate: str = ""  # the certificate (name) by which a bridge or site calls
    machine: CertificateRole | None = None  # which of the two that is
    device: str = ""  # of a credential: the only one that the caller may speak for
    owes_factor: bool = False  # the account requires a second factor, and the user has none

    def may(self, right: Right) -> bool:
        """Whether the caller has a right, in what they see."""
        return right in RIGHTS[self.role] and (self.scopes is None or right in self.scopes)

    def sees_account(self, account: str) -> bool:
        """Whether the caller may know of what this account has."""
        return self.account == account or self.role in STAFF or account in self.acts_for

    def sees_holder(self, account: str, user: str) -> bool:
        """Whether the caller may know who holds something of this account: `user` is its holder."""
        if self.user == user:
            return True
        return self.sees_account(account) and self.may(Right.PEOPLE_READ)
