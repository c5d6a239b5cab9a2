"""What a home is made of: loading all that a parent has, and dropping it; implements `Household` (homes.py).

Promises: nothing that was remembered of a parent before it was taken is believed after; whoever holds its seats
gets one full grant to come back. What is dropped writes nothing.

Leaves to others: when (cluster.py), sessions and pools (sessions.py), the log's rows (storage/log_store.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from keypeg import names
from keypeg_server.domain.events import Event
from keypeg_server.service import news as kinds
from keypeg_server.service.homes import News
from keypeg_server.service.sessions import Sessions

_LOG = logging.getLogger(__name__)


class Remembers(Protocol):
    """What reads ahead of the rows (Store)."""

    generation: int


class Log(Protocol):
    """The log of a parent."""

    async def begin(self, parent: str) -> None:
        """Look whether it is as its last home left it, and go on there."""
        ...

    def forget(self, parent: str) -> None:
        """Remember nothing of it."""
        ...


class ServerHousehold:
    """All that one server has of its parents."""

    def __init__(
        self,
        sessions: Sessions,
        store: Remembers,
        log: Log,
        publish: Callable[[Event], None],
        forget_tokens: Callable[[], None],
    ) -> None:
        """`publish` tells this server's own hub."""
        self._sessions = sessions
        self._store = store
        self._log = log
        self._publish = publish
        self._forget_tokens = forget_tokens

    async def adopt(self, parent: str) -> None:
        self._store.generation += 1
        self._log.forget(parent)
        await self._log.begin(parent)
        if names.ACCOUNT.matches(parent):
            await self._sessions.adopt(parent)

    def abandon(self, parent: str) -> None:
        self._log.forget(parent)
        if names.ACCOUNT.matches(parent):
            self._sessions.abandon(parent)

    def suspend(self) -> None:
        self._sessions.disconnect()

    def hear(self, news: Sequence[News]) -> None:
        for one in news:
            try:
                event = kinds.heard(one.kind, one.payload)
            except (ValueError, TypeError):
                _LOG.exception("news can not be read", extra={"kind": one.kind, "node": one.node})
                self.forget()
                continue
            if event is not None:
                self._publish(event)

    def forget(self) -> None:
        self._store.generation += 1
        self._forget_tokens()
