"""Which connections do not go on: they are there, and have not said what a handshake takes.

One look at what is open costs little, looking at each connection more: so that is done only when much was opened since
the last time, or when many said nothing then.

Promises: pure. A connection is told of when two looks in a row found it silent; what has gone on is not looked at again;
how many are looked at in one look is bounded.

Leaves to others: looking (silent_connections.py), and how often what is found is told (noticing.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

HANDSHAKE_BYTES: Final = 300  # no client that calls has sent fewer
GROWN: Final = 50  # connections: as few that say nothing harm nobody
SHARE: Final = 50  # nor does this part of all, however many there are; a look at many costs more
AT_ONCE: Final = 20_000  # connections of one look

Connection = tuple[int, int]  # the file's number and its inode: together they come once


@dataclass(frozen=True)
class Seen:
    """What a look found of one connection to this server."""

    place: str
    received: int  # bytes


class Silence:
    """Of one server."""

    def __init__(self) -> None:
        self._open = 0
        self._again = False
        self._settled: set[Connection] = set()
        self._silent: set[Connection] = set()

    def is_time(self, open_files: int) -> bool:
        """Whether connections are worth a look, with so many files open."""
        self._open = min(self._open, open_files)
        return self._again or open_files >= self._open + _many(self._open)

    def unknown(self, there: Collection[Connection]) -> list[Connection]:
        """Those to look at, of all that are there."""
        return [each for each in there if each not in self._settled][:AT_ONCE]

    def looked(
        self, there: Collection[Connection], found: Mapping[Connection, Seen | None]
    ) -> dict[str, int]:
        """How many connections of each place said nothing, now and at the last look.

        `found`: what was looked at; None for what is no connection to this server, or not any more.
        """
        silent = {
            each
            for each, seen in found.items()
            if seen is not None and seen.received < HANDSHAKE_BYTES
        }
        twice = (found[each] for each in silent & self._silent)
        told = Counter(seen.place for seen in twice if seen is not None)
        self._settled = self._settled.intersection(there).union(found.keys() - silent)
        self._again = 2 * len(silent) >= _many(len(there)) or len(found) >= AT_ONCE
        self._silent = silent
        self._open = len(there)
        return dict(told)


def _many(there: int) -> int:
    return max(GROWN, there // SHARE)
