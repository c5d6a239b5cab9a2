"""What people's use cases need from storage beside accounts and users: a repository in a unit of work."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from keypeg_server.domain.access import ApiKey, Invitation
from keypeg_server.domain.account import User
from keypeg_server.domain.rights import Role


@dataclass(frozen=True)
class FoundKey:
    """A key, with the user as whom it calls."""

    key: ApiKey
    user: User
    digest: bytes = field(repr=False)


class People(Protocol):
    """Invitations, API keys, and what resellers act for."""

    def change_role(self, user: User, role: Role) -> User: ...
    def invitation(self, account: str, id: str) -> tuple[Invitation, bytes] | None:
        """With the digest of its ticket; `account` is NO_ACCOUNT for the publisher's people."""
        ...

    def list_invitations(self, account: str, after: str, limit: int) -> list[Invitation]: ...
    def add_invitation(self, invitation: Invitation, digest: bytes) -> None: ...
    def delete_invitation(self, id: str) -> None: ...
    def delete_ended_invitations(self, account: str, now: datetime) -> None: ...
    def key_by_digest(self, digest: bytes) -> FoundKey | None: ...
    def keys_of(self, user: User) -> list[ApiKey]:
        """Oldest first."""
        ...

    def add_key(self, key: ApiKey, digest: bytes) -> None: ...
    def update_key(self, key: ApiKey) -> None:
        """Its end and last use."""
        ...

    def delete_key(self, id: str) -> None: ...
    def act_for(self, user: User, accounts: frozenset[str]) -> User:
        """A reseller acts for exactly these accounts (names)."""
        ...
