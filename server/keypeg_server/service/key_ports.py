"""What the use cases of keys need from storage, beside locations and activations.

Promises: a repository that is called within a unit of work only (store.py), and the values that cross it.

Leaves to others: how it is kept (storage/key_store.py), and the rules (domain/key_contents.py, key_loss.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from keypeg_server.domain.key_contents import Versions
from keypeg_server.domain.key_loss import Move
from keypeg_server.domain.location import Location


@dataclass(frozen=True)
class Returned:
    """An activation that its key gave back."""

    activation: str  # id
    location: str  # id
    nonce: bytes = field(repr=False)


class Keys(Protocol):
    """What keys carry, gave back and lost."""

    def of_card(self, account: str, card_id: str) -> list[Location]:
        """The key locations of a card, lost ones too, oldest first."""
        ...

    def versions(self, account: str, location: str) -> dict[str, Versions]:
        """By the publisher's id."""
        ...

    def save_versions(
        self, account: str, location: str, publisher: str, versions: Versions
    ) -> None: ...
    def returned(self, account: str, activation: str) -> Returned | None: ...
    def add_return(self, account: str, returned: Returned, now: datetime) -> None: ...
    def moves(self, account: str, license: str) -> list[datetime]:
        """When activations of a license left lost keys, oldest first."""
        ...

    def add_move(self, move: Move) -> None: ...
