"""When a process ends: known in milliseconds, and only of that very process.

Promises: `ProcessWatch` calls back once, on the event loop, when the process behind a pidfd has ended,
however it ended; at once when it had ended before. It keeps a pidfd of its own, so that an id used again
by another process can not confuse it.

Leaves to others: whose process that is (peercred), and what to do then (service).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from keypeg.agent.peercred import has_exited


class ProcessWatch:
    """Watches one process from creation until `stop`, or until it has called back."""

    def __init__(self, pidfd: int, on_exit: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_exit = on_exit
        self._pidfd = os.dup(pidfd) if pidfd >= 0 else -1
        if self._pidfd < 0:
            self._loop.call_soon(self._exited)
        else:
            self._loop.add_reader(self._pidfd, self._exited)

    def look(self) -> None:
        """Calls back now when the process has ended and the loop has not come to say so."""
        if self._pidfd >= 0 and has_exited(self._pidfd):
            self._exited()

    def stop(self) -> None:
        """Watches no more; nothing is called from here on."""
        self._on_exit = _nothing
        self._close()

    def _exited(self) -> None:
        on_exit, self._on_exit = self._on_exit, _nothing
        self._close()
        on_exit()

    def _close(self) -> None:
        pidfd, self._pidfd = self._pidfd, -1
        if pidfd >= 0:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)


def _nothing() -> None:
    pass
