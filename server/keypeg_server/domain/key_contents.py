"""Versions of what a key carries: which was given out, and which the key has shown.

Promises: pure. A version only grows, with every change; a key that shows less than it has shown before has
old contents put back on it (KEY-7). A key that shows less than was given out, and no less than before, is only
behind: a write was interrupted.

Leaves to others: what is signed (service/key_contents.py), and looking at keys (bridges).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Versions:
    """Of one publisher's licenses on one key."""

    version: int = 0  # given out last
    seen_version: int = 0  # the highest that the key has shown

    def changed(self) -> Versions:
        """After a change of what the key should carry."""
        return replace(self, version=self.version + 1)

    def shown(self, found: int) -> Versions:
        """After the key showed a version that this server has signed.

        One above all that were given out is from before a backup: what comes next has to be above it.
        """
        version = self.version if found <= self.version else found + 1
        return Versions(version, max(self.seen_version, found))


class Standing(enum.IntEnum):
    """keypeg.v1.KeyStanding, but for its zero; a higher one says more."""

    CURRENT = 1
    BEHIND = 2
    ROLLED_BACK = 3
    LOST = 4


def standing(versions: Versions, found: int) -> Standing:
    """What a key is that shows version `found`; 0 when it shows none."""
    if found < versions.seen_version:
        return Standing.ROLLED_BACK
    return Standing.CURRENT if found == versions.version else Standing.BEHIND


def worst(standings: Iterable[Standing]) -> Standing:
    """The one that says most; CURRENT when there are none."""
    return max(standings, default=Standing.CURRENT)
