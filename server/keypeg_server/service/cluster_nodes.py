"""Which servers of a database live, as one of them has seen them last.

Promises: a server is declared dead when its counter has not moved for long enough on this server's own clock
(domain/home.py), and by its row only if nobody has seen it beat since; whoever waits for a change hears of it.

Leaves to others: when to look (cluster.py), the rows (storage/home_store.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Final

from keypeg.errors import KeypegError
from keypeg_server.domain.home import Observation
from keypeg_server.service.homes import Directory, Node, There

_LOG: Final = logging.getLogger(__name__)


class Nodes:
    """All servers, as last seen."""

    def __init__(self, rows: Directory, changed: Callable[[Mapping[str, Node]], None]) -> None:
        """`changed` hears of all, whenever one has come or gone."""
        self._rows = rows
        self._changed = changed
        self._observation = Observation()
        self._change = asyncio.Event()
        self.known: Mapping[str, Node] = {}

    def begin(self) -> None:
        """This server is another one from now on: what it has seen so far counts no more."""
        self._observation = Observation()

    def silence(self, now: float) -> float:
        """For how long nothing was seen; infinite before the first time."""
        return now - self._observation.answered

    def add(self, node: Node) -> None:
        """One that has come since they were seen last."""
        if node.id not in self.known:
            self.known = {**self.known, node.id: node}

    def see(
        self, found: Mapping[str, Node], own: str, asked: float, answered: float
    ) -> Mapping[str, Node]:
        """These are there, this server among them; those that were seen before."""
        before, self.known = self.known, found
        beats = {id: one.beat for id, one in found.items() if id != own}
        self._observation = self._observation.after(beats, asked, answered)
        return before

    async def gone(self, before: Mapping[str, Node]) -> set[str]:
        """Which servers are there no more; those that are dead are declared so."""
        left = set(before) - set(self.known)
        for id, last in self._observation.dead().items():
            with contextlib.suppress(KeypegError):
                if await self._rows.declare_dead(id, last):
                    _LOG.warning("server is dead", extra={"node": id})
                    left.add(id)
                    self.known = {other: n for other, n in self.known.items() if other != id}
        if left or set(self.known) != set(before):
            self._changed(self.known)
            self._change.set()
            self._change = asyncio.Event()
        return left

    async def wait_for_end(self, there: There, within: float) -> bool:
        """Whether a server goes within so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while there.node in self.known:
                    await self._change.wait()
        return there.node not in self.known
