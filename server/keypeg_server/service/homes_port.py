"""Who writes what: the accounts and publishers that a piece of work is about, and whether they are this server's.

An account or publisher (a *parent*) is served by one server at a time, its home; each time it moves, its epoch
grows. Several servers on one database write beside each other, and what a server still writes for a parent that
is another's by now must not count. So every transaction that writes for parents says which, and storage looks
in that transaction whether their homes are still those that this server believes in (storage/fence.py).

What was decided in memory is written under the epoch of that moment, and no other: this server may have lost the home
since, and have taken it again.

Promises: `acting_for` says for whom everything that is written in this call is; `HomesLost` tells which parents
are another server's, after nothing was written.

Leaves to others: taking and giving back homes, and what a call is about (Homes' implementer, the relay).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

from keypeg.errors import KeypegError

_PARENTS: Final[ContextVar[tuple[str, ...]]] = ContextVar("keypeg_parents", default=())


def parents() -> tuple[str, ...]:
    """For whom (names) this call writes; empty when what it writes is nobody's home, as a token."""
    return _PARENTS.get()


@contextmanager
def acting_for(*names: str) -> Iterator[None]:
    """Whatever units of work write inside of this is for these accounts and publishers (names)."""
    token = _PARENTS.set(names)
    try:
        yield
    finally:
        _PARENTS.reset(token)


class HomesLost(Exception):
    """Parents that this server is not the home of any more; nothing was written."""

    def __init__(self, believed: Mapping[str, int | None]) -> None:
        """Each with the epoch that was believed in; None when this server knew already that it is not its home."""
        super().__init__(f"not the home of {', '.join(sorted(believed))}")
        self.believed: Final = dict(believed)
        self.lost: Final = frozenset(believed)


class Homes(Protocol):
    """The homes of this server, as it believes. Called from the event loop and from the writer's thread."""

    @property
    def node(self) -> str:
        """What this server process is called in table `home`."""
        ...

    def epoch(self, parent: str) -> int | None:
        """The epoch under which this server took a parent; None when it is not its home. Quick: a dict's get."""
        ...

    def lost(self, believed: Mapping[str, int | None]) -> KeypegError:
        """Under these epochs they are this server's no more: forget those that still are believed in.

        What those who asked are told. In the event loop.
        """
        ...
