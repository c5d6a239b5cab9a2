"""Homes that nobody serves, taken without being asked for: so that seats go on when a server has gone.

Promises: one look at a time; what cannot be taken is left for whoever asks for it.

Leaves to others: which server is the first for a home (domain/home.py), and taking it (cluster.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from keypeg.errors import KeypegError
from keypeg_server.service.homes import Directory

LOOK: Final = 30.0  # seconds; beside at the start and whenever a server goes
LISTED_AT_ONCE: Final = 500
TAKEN_AT_ONCE: Final = 8  # homes loaded at a time, so that calls come in between


class Orphans:
    """What one server does for them."""

    def __init__(
        self,
        rows: Directory,
        is_mine: Callable[[str], bool],
        take: Callable[[str], Awaitable[object]],
    ) -> None:
        """`is_mine` says of a parent whether this server is the first for it; `take` is asked for those."""
        self._rows = rows
        self._is_mine = is_mine
        self._take = take
        self._looked_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def is_due(self, now: float) -> bool:
        """Whether it is time to look again."""
        return now - self._looked_at >= LOOK

    def look(self, now: float) -> None:
        """Begin to look for them, and take them, unless that is under way."""
        self._looked_at = now
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._take_all())

    def leave(self) -> None:
        """Nothing is taken any more."""
        if self._task is not None:
            self._task.cancel()

    async def _take_all(self) -> None:
        slots = asyncio.Semaphore(TAKEN_AT_ONCE)

        async def take(parent: str) -> None:
            async with slots:
                with contextlib.suppress(KeypegError):  # whoever asks for it tries again
                    await self._take(parent)

        try:
            orphans = await self._rows.orphans(LISTED_AT_ONCE)
        except KeypegError:
            return
        await asyncio.gather(*(take(parent) for parent in orphans if self._is_mine(parent)))
