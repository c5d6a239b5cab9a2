"""When the process looks for garbage: at what is new while some is found, at everything only when it has grown.

Python's own rule looks at what was made since its last look when that has grown by some number. With many sessions
held, what is made replaces as much that goes, so that it grows slowly, to a long look at all of them (0.2 s of
standing still with 60,000 sessions, every half minute).

Here whatever is there at the end of a PAUSE is left alone from then on. Calls leave garbage of gRPC's, which is found
before that; renewals leave none, and are not looked at but now and then.

What the libraries have freed stays with the process, in pieces: 10,000 connections that came and went leave 400 MiB, and
the next as many more. When memory has grown, the system gets it back (50 ms for so much, 1 ms for nothing; glibc alone);
what has grown for all that may be garbage, unless Python keeps no more blocks than before: then it is the libraries'.

Promises: a look at what is new takes a few milliseconds whatever the server holds; what was freed is given back when
memory has grown by a quarter and GROWTH_BYTES, and what looks at the new did not find is found when there are more
blocks as well, at the latest when they have grown by half and BLOCKS_MOST more are there.

Leaves to others: making few cycles that live long (a stream takes its own apart when it ends).
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

PAUSE: Final = 0.2  # seconds: what is older is left alone
REST: Final = 10  # pauses between two looks, when nothing is found
GROWTH: Final = 1.25  # times the memory after the last look at everything
GROWTH_BYTES: Final = 64 << 20
BLOCKS_GROWTH: Final = 1.1  # times the blocks that Python kept after the last look at everything
BLOCKS: Final = 20_000
BLOCKS_MOST_GROWTH: Final = (
    1.5  # whatever memory says: it grows in steps, and does not come back whole
)
BLOCKS_MOST: Final = 400_000
_STATM: Final = Path("/proc/self/statm")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Garbage:
    """Looks for garbage in this process, from `begin` on."""

    def __init__(
        self,
        memory: Callable[[], int] | None = None,
        give_back: Callable[[], None] | None = None,
    ) -> None:
        """`memory`: how much the process has, in bytes; `give_back`: what was freed. The system's, unless they are given."""
        self._memory = memory or resident
        self._give_back = give_back or returner()
        self._limit = 0  # bytes, from which on everything is looked at
        self._blocks = 0  # after the last look at everything
        self._free_limit = 0  # from which on what was freed is given back
        self._rest = 1  # pauses from one look at what is new to the next
        self._rested = 0

    def begin(self) -> None:
        """Leave alone what lives as long as the program. Once everything is loaded."""
        gc.set_threshold(20_000, 50, 1_000)  # between two looks, for bursts
        self._look_at_everything()

    def look(self) -> None:
        """Look at what is new, less often while nothing is found; at everything, when memory or what Python keeps has grown."""
        self._rested += 1
        if self._rested >= self._rest:
            self._rested = 0
            self._rest = 1 if gc.collect(1) else min(2 * self._rest, REST)
        gc.freeze()
        larger = self._memory() > self._limit
        if self._keeps_more(BLOCKS_MOST_GROWTH, BLOCKS_MOST) or (
            larger and self._keeps_more(BLOCKS_GROWTH, BLOCKS)
        ):
            gc.unfreeze()
            self._look_at_everything()
        elif larger:
            self._limit = self._grown()

    async def run(self) -> None:
        """Look now and again, until canceled."""
        while True:
            await asyncio.sleep(PAUSE)
            await self.tidy()
            self.look()

    async def tidy(self) -> None:
        """Give back what was freed, when memory has grown; in a thread, as it takes a while."""
        if self._memory() > self._free_limit:
            await asyncio.to_thread(self._give_back)
            self._free_limit = self._grown()

    def _keeps_more(self, times: float, blocks: int) -> bool:
        """Whether Python keeps so much more: a count of well below a millisecond, as none of the things is touched."""
        return sys.getallocatedblocks() > self._blocks * times + blocks

    def _look_at_everything(self) -> None:
        gc.collect()
        gc.freeze()
        self._blocks = sys.getallocatedblocks()
        self._limit = self._grown()

    def _grown(self) -> int:
        """Bytes of memory that are much more than now."""
        return int(self._memory() * GROWTH) + GROWTH_BYTES


def returner() -> Callable[[], None]:
    """What gives memory that was freed back to the system; nothing, where the library of C has no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    return (lambda: None) if trim is None else (lambda: trim(0))


def resident() -> int:
    """Bytes of memory that the process has now; a guess by what Python keeps, where the system does not say."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except OSError:
        return sys.getallocatedblocks() * 100
