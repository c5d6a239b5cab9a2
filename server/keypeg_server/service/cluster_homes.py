"""What a server remembers of each home, and the household that it has before it starts.

Promises: a home goes from state to state by the table of domain/home.py alone.

Leaves to others: when what happens (cluster.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from keypeg_server.domain import home as rules
from keypeg_server.domain.home import Happens, State
from keypeg_server.service.homes import News, There
from keypeg_server.service.refusals import draining


class Nobody:
    """The household of a server that has not started: nothing is taken, nothing is told."""

    async def adopt(self, parent: str) -> None:
        raise draining()

    def abandon(self, parent: str) -> None: ...
    def suspend(self) -> None: ...
    def hear(self, news: Sequence[News]) -> None: ...
    def forget(self) -> None: ...


class Home:
    """What is known of one parent."""

    __slots__ = ("epoch", "state", "task", "there")

    def __init__(self) -> None:
        self.state = State.UNOWNED
        self.epoch: int | None = None  # while it is this server's by its row
        self.there: There | None = None
        self.task: asyncio.Task[None] | None = None  # that takes it

    def happens(self, what: Happens) -> None:
        self.state = rules.following(self.state, what)

    def wanted(self, take: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """It is being taken."""
        self.happens(Happens.WANTED)
        self.task = asyncio.get_running_loop().create_task(take)
        self.task.add_done_callback(_seen)
        return self.task

    def orphaned(self) -> None:
        """Whoever had it has gone."""
        self.happens(Happens.ORPHANED)
        self.there = None


def _seen(task: asyncio.Task[None]) -> None:
    """Whoever asked has gone: the error of taking is nobody's."""
    if not task.cancelled():
        task.exception()
