"""Several servers in one process: rows in memory, a household that remembers what it was told, a clock.

Promises: rows change at one instant each, as a database's do; `away` makes them fail as a database that is gone.

Leaves to others: the rows on a real database, which pass the same tests (test_home_rows.py).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from keypeg.errors import StorageUnavailable
from keypeg_server.service.cluster import Cluster
from keypeg_server.service.homes import Beat, Here, News, Node, There


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    def wall_us(self) -> int:
        return round(self.now * 1e6)

    def served_us(self) -> int:
        return round(self.monotonic() * 1e6)


class MemoryRows:
    """`Directory` in memory."""

    def __init__(self) -> None:
        self.there: dict[str, Node] = {}
        self.homes: dict[str, tuple[str | None, int]] = {}
        self.news: list[News] = []
        self.with_seats: set[str] = set()
        self.away = False

    def _ask(self) -> None:
        if self.away:
            raise StorageUnavailable("The database is away.")

    async def join(self, node: Node) -> None:
        self._ask()
        assert node.id not in self.there
        self.there[node.id] = node

    async def beat(self, node: str) -> Beat | None:
        self._ask()
        if node not in self.there:
            return None
        self.there[node] = replace(self.there[node], beat=self.there[node].beat + 1)
        return Beat(dict(self.there), [one for one in self.news if one.node != node])

    async def nodes(self) -> Mapping[str, Node]:
        self._ask()
        return dict(self.there)

    async def declare_dead(self, node: str, beat: int) -> bool:
        self._ask()
        if node in self.there and self.there[node].beat == beat:
            del self.there[node]
            return True
        return False

    async def take(self, parent: str, node: str) -> Here | There:
        self._ask()
        owner, epoch = self.homes.get(parent, (None, 0))
        if owner in self.there and owner != node:
            return There(owner, self.there[owner].address)
        self.homes[parent] = node, epoch + 1
        return Here(epoch + 1)

    async def look(self, parent: str) -> There | None:
        self._ask()
        owner, _ = self.homes.get(parent, (None, 0))
        return There(owner, self.there[owner].address) if owner in self.there else None

    async def orphans(self, limit: int) -> list[str]:
        self._ask()
        found = [p for p, (node, _) in sorted(self.homes.items()) if node not in self.there]
        return [parent for parent in found if parent in self.with_seats][:limit]

    async def leave(self, node: str) -> None:
        self._ask()
        for parent, (owner, epoch) in self.homes.items():
            if owner == node:
                self.homes[parent] = None, epoch
        self.there.pop(node, None)

    async def sweep(self, heard: Mapping[str, int], gone: Collection[str]) -> list[str]:
        self._ask()
        self.news = [
            one for one in self.news if one.number > heard.get(one.node, 0) and one.node not in gone
        ]
        return sorted({one.node for one in self.news} - self.there.keys())


@dataclass
class Household:
    """What a server was told to do, in order."""

    said: list[str] = field(default_factory=list)
    held_up: asyncio.Event | None = None  # adopting waits for it
    fails: bool = False

    async def adopt(self, parent: str) -> None:
        if self.held_up is not None:
            await self.held_up.wait()
        if self.fails:
            raise StorageUnavailable("It can not be read.")
        self.said.append(f"adopt {parent}")

    def abandon(self, parent: str) -> None:
        self.said.append(f"abandon {parent}")

    def suspend(self) -> None:
        self.said.append("suspend")

    def hear(self, news: Sequence[News]) -> None:
        self.said += [f"hear {one.kind}" for one in news]

    def forget(self) -> None:
        self.said.append("forget")


_numbers = itertools.count(1)


@dataclass
class Server:
    """One of them."""

    cluster: Cluster
    household: Household
    clock: Clock

    @classmethod
    async def start(
        cls, rows: MemoryRows, clock: Clock, name: str, gone: Collection[str] = ()
    ) -> Server:
        def last_news() -> int:
            return max((one.number for one in rows.news if one.node == cluster.node), default=0)

        cluster = Cluster(
            rows,
            clock,
            lambda: f"{name}-{next(_numbers)}",
            process=f"process of {name}",
            gone=lambda process: process in gone,
            last_news=last_news,
        )
        household = Household()
        await cluster.start(f"{name}:1", household)
        return cls(cluster, household, clock)


async def pass_time(clock: Clock, seconds: float, *servers: Server) -> None:
    """Let time go by; these servers beat meanwhile, as they do by themselves."""
    left = seconds
    while left > 1e-9:
        step = min(0.5, left)
        clock.now += step
        left -= step
        for server in servers:
            await server.cluster.tick()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
