"""The news that servers of one database leave each other: which are new here, and how long they stay.

Promises: of each server's news every one is heard once, in order. They are removed when everyone has heard them who
may have, by this server's own clock alone, and those of a server that has gone with its row.

Leaves to others: reading and removing them (storage/home_store.py), what they mean (the household).
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from keypeg.errors import KeypegError
from keypeg_server.service.homes import Directory, News

NEWS_KEPT: Final = 60.0  # seconds that news stay, for servers that were away
SWEEP: Final = 10.0  # seconds between looks for news that all have had


class Newsroom:
    """What one server has heard and told."""

    def __init__(self, rows: Directory, last: Callable[[], int]) -> None:
        """`last` is the number of this server's latest news."""
        self._rows = rows
        self._last = last
        self._heard: dict[str, int] = {}  # the last number of each node's news
        self._marks: deque[tuple[float, int]] = deque()
        self._gone_since: dict[str, float] = {}
        self._swept_at = float("-inf")

    def missed(self, silence: float) -> bool:
        """Whether news may have gone unheard in so many seconds without a beat."""
        return NEWS_KEPT / 2 < silence < float("inf")  # who has just come remembers nothing

    def new_of(self, news: Sequence[News]) -> list[News]:
        """Those that were not heard before; they are now."""
        new = [one for one in news if one.number > self._heard.get(one.node, 0)]
        for one in new:
            self._heard[one.node] = one.number
        return new

    def left(self, nodes: Iterable[str], now: float) -> None:
        """These servers have gone."""
        self._gone_since.update(dict.fromkeys(nodes, now))

    async def sweep(self, node: str, now: float) -> None:
        """Remove what everyone has heard who may have; `node` is this server."""
        if now - self._swept_at < SWEEP:
            return
        self._swept_at = now
        marks = self._marks
        marks.append((now, self._last()))
        through = 0
        while marks and now - marks[0][0] >= NEWS_KEPT:
            through = marks.popleft()[1]
        gone = [one for one, since in self._gone_since.items() if now - since >= NEWS_KEPT]
        heard = {node: through} if through else {}
        with contextlib.suppress(KeypegError):
            for one in await self._rows.sweep(heard, gone):
                self._gone_since.setdefault(one, now)
            for one in gone:
                del self._gone_since[one]
                self._heard.pop(one, None)
