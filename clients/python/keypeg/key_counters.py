"""The highest counter that this app has seen of each smartkey, for all of its sessions together.

Promises: in memory only. `known` is taken when a nonce is given out: what a key signs after that counts
higher, in whatever order the answers come. Threads need no lock: two that tell at the same moment can leave
a number a little too low, never too high.

Leaves to others: verification (proof), and what is remembered over the end of the app: the bridge has it on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

KEYS: Final = 256  # a computer has a few, and each took a license to get here


class KeyCounters:
    """Counters by key id."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}

    def known(self) -> Mapping[str, int]:
        """The highest seen of each key; a snapshot."""
        return dict(self._highest)

    def saw(self, key: str, counter: int) -> None:
        """A key has counted so far, as a verified proof says."""
        if key not in self._highest and len(self._highest) >= KEYS:
            self._highest.pop(next(iter(self._highest)), None)  # the one that came first
        self._highest[key] = max(counter, self._highest.get(key, 0))
