"""Which of many like events are told: the first of a kind, then how many there were since, once in a while.

Promises: pure; time is an argument (seconds, monotonic). However many come, and from however many, so many at most are
told in a while, and memory is bounded.

Leaves to others: what the events are, and the telling (rpc/refusing.py).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

WHILE: Final = 60.0  # seconds between two tellings of one kind
KINDS: Final = 200  # told in a while; who sends from everywhere fills no disk


class Notices:
    """Of one sort of events; a kind is whatever its key says."""

    def __init__(self) -> None:
        self._told: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()  # when, and since then

    def see(self, kind: Hashable, now: float) -> int:
        """How many of this kind to tell of now, this one included; 0: nothing now."""
        found = self._told.get(kind)
        if found is None:
            if len(self._told) >= KINDS and not self._forgot(now):
                return 0
            self._told[kind] = (now, 0)
            return 1
        at, since = found
        if now - at < WHILE:
            self._told[kind] = (at, since + 1)
            return 0
        self._told[kind] = (now, 0)
        self._told.move_to_end(kind)
        return since + 1

    def _forgot(self, now: float) -> bool:
        """Whether there was room to be made: the kind that was told longest ago, when that is a while."""
        at, _ = next(iter(self._told.values()))
        if now - at < WHILE:
            return False
        self._told.popitem(last=False)
        return True
