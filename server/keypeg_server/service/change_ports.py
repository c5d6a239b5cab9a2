"""What the use cases of planned changes need from storage.

Promises: a repository that is called within a unit of work only (store.py), and the value that crosses it.

Leaves to others: how it is kept (storage/change_store.py), and the rules (domain/license_change.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from keypeg_server.domain.license_change import LicenseChange

if TYPE_CHECKING:
    from keypeg_server.service.store import Page


@dataclass(frozen=True)
class Due:
    """A license with a change to be applied."""

    account: str  # id
    license: str  # id


class Changes(Protocol):
    """Changes of licenses that are not applied yet. The license is marked with them by who calls."""

    def change(self, account: str, license: str, id: str) -> LicenseChange | None: ...
    def list_changes(
        self, account: str, license: str | None = None, page: Page | None = None
    ) -> list[LicenseChange]:
        """Of an account or of one license, oldest first; all when no page is given."""
        ...

    def add_change(self, change: LicenseChange) -> None: ...
    def update_waits_for(self, change: LicenseChange) -> None: ...
    def delete_change(self, change: LicenseChange) -> None: ...
    def due(self, now_us: int, limit: int) -> list[Due]:
        """Of all accounts, those that are due first first, without those that wait for a key."""
        ...
