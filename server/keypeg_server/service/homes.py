"""What homes are about: where a parent (an account or publisher) is served, and what serving it needs of others.

Promises: only values and Protocols.

Leaves to others: taking and giving back homes (cluster.py), the rows (storage/home_store.py), what is loaded and
dropped (household.py), calls that belong elsewhere (rpc/relay.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Here:
    """Served by this process."""

    epoch: int


@dataclass(frozen=True, slots=True)
class There:
    """Served by another one."""

    node: str
    address: str


@dataclass(frozen=True, slots=True)
class Node:
    """A server process on the database."""

    id: str
    address: str  # where other servers and clients reach it
    process: str  # which process of which computer it is, as far as that can be said; may be empty
    beat: int = 0


@dataclass(frozen=True, slots=True)
class News:
    """What a server has told the others."""

    node: str
    number: int
    kind: str
    payload: str


@dataclass(frozen=True, slots=True)
class Beat:
    """What a beat finds."""

    nodes: Mapping[str, Node]
    news: Sequence[News]  # of the others


class Directory(Protocol):
    """The rows that all servers share; each method is one transaction, StorageUnavailable when it fails."""

    async def join(self, node: Node) -> None:
        """A server is there, with an id that no other had."""
        ...

    async def beat(self, node: str) -> Beat | None:
        """One more beat, and what the others have; None when this node was declared dead."""
        ...

    async def nodes(self) -> Mapping[str, Node]:
        """All servers that are there."""
        ...

    async def declare_dead(self, node: str, beat: int) -> bool:
        """Remove a server that still has this beat; whether it is gone by that."""
        ...

    async def take(self, parent: str, node: str) -> Here | There:
        """Make a node the home of a parent that nobody else who is there has, under a new epoch; who is it otherwise."""
        ...

    async def look(self, parent: str) -> There | None:
        """Who is the home of a parent; None when nobody is who is there."""
        ...

    async def orphans(self, limit: int) -> list[str]:
        """Some of the parents that have seats out or people waiting, and no home that is there."""
        ...

    async def leave(self, node: str) -> None:
        """Give all homes of a node back, and remove it."""
        ...

    async def sweep(self, heard: Mapping[str, int], gone: Collection[str]) -> list[str]:
        """Remove news up to these numbers, and all of these nodes; who has news but is not there."""
        ...


class Household(Protocol):
    """What is in memory of parents."""

    async def adopt(self, parent: str) -> None:
        """Load what a parent has; whoever holds seats gets one full grant to come back."""
        ...

    def abandon(self, parent: str) -> None:
        """Drop what is here of a parent, and end its streams; nothing is written."""
        ...

    def suspend(self) -> None:
        """End all streams: this server may not act for now. What they hold stays."""
        ...

    def hear(self, news: Sequence[News]) -> None:
        """What other servers tell."""
        ...

    def forget(self) -> None:
        """This server may have missed news: trust nothing that was remembered of other servers' doing."""
        ...


class Finder(Protocol):
    """What a relay needs to know."""

    def here(self, parent: str) -> int | None:
        """The epoch of a parent that is served here at this moment; None when it is not."""
        ...

    async def find(self, parent: str) -> Here | There:
        """Where a parent is served; taken when nobody living does. KeypegError when that can not be said."""
        ...

    def not_there(self, parent: str, there: There) -> None:
        """Who was thought to serve a parent says that it does not."""
        ...

    async def changed(self, there: There, within: float) -> bool:
        """Wait until a server is gone; whether it is, after so many seconds at most."""
        ...
