"""Until when a server may act for what is here: no other may take it before.

Promises: `may` is false when the time is over, to the clock; whoever wants to know hears of it, by a timer.

Leaves to others: until when a beat that was kept lets it act (domain/home.py), and what follows (cluster.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from keypeg_server.service.ports import Clock

_LOG: Final = logging.getLogger(__name__)

TIMER_SLACK: Final = 0.005  # seconds


class Acting:
    """Whether one server may act. One event loop."""

    def __init__(
        self, clock: Clock, node: Callable[[], str], changed: Callable[[bool], None]
    ) -> None:
        """`changed` hears true with every time that is added, and false when the time is over."""
        self._clock = clock
        self._node = node
        self._changed = changed
        self._until = float("-inf")
        self._suspended = False
        self._left = False
        self._timer: asyncio.TimerHandle | None = None

    def may(self) -> bool:
        """Whether this server may act."""
        return self._clock.monotonic() < self._until and not self._left

    def extend(self, until: float) -> None:
        """It may act until then, or longer."""
        self._until = max(self._until, until)
        if self._timer is not None:
            self._timer.cancel()
        left = self._until - self._clock.monotonic()
        if left <= 0:  # the answer took so long
            self._suspend()
            return
        self._timer = asyncio.get_running_loop().call_later(left, self._ended)
        if self._suspended:
            self._suspended = False
            _LOG.info("acts again", extra={"node": self._node()})
        self._changed(True)

    def end(self) -> None:
        """It may not any more, until it is told otherwise."""
        self._until = float("-inf")
        self._suspend()

    def leave(self) -> None:
        """It never may again, and nobody has to hear of it."""
        self._left = True
        if self._timer is not None:
            self._timer.cancel()

    def _ended(self) -> None:
        left = self._until - self._clock.monotonic()
        if left > 0:  # the loop's clock is another one
            self._timer = asyncio.get_running_loop().call_later(left + TIMER_SLACK, self._ended)
        else:
            self._suspend()

    def _suspend(self) -> None:
        if not self._suspended and not self._left:
            self._suspended = True
            _LOG.warning("may not act: no beat was kept", extra={"node": self._node()})
            self._changed(False)
