"""Ids for leases and places: they grow with time, and nobody can guess one.

Promises: as keypeg.ids; randomness is read from the system for many ids at once, for each read costs more
than the id.

Leaves to others: the clock.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from keypeg.ids import RANDOM_BYTES, uuid7_text

SPARE_BYTES: Final = 512 * RANDOM_BYTES


class LeaseIds:
    """A source of new ids."""

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random
        self._spare = b""
        self._at = 0

    def new(self, now_us: int) -> str:
        """An id of this moment (microseconds since 1970)."""
        at = self._at
        if at >= len(self._spare):
            self._spare, at = self._random(SPARE_BYTES), 0
        self._at = at + RANDOM_BYTES
        return uuid7_text(now_us, self._spare[at : at + RANDOM_BYTES])
