"""What every client of the checker has: a journal of what it believes, and its end.

Promises: each line is on its way to disk when `write` returns. A client ends with SIGTERM, or with who started it.

Leaves to others: what is believed (stream_client.py, unary_client.py), reading journals (history.py).
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any, Final

from keypeg import clock
from seatchecker.history import Entry, write_entry

BEAT: Final = 0.05  # seconds between two uses of a seat


class Journal:
    """Lines to a file, each written at once by one write."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def write(self, what: str, at: float | None = None, **facts: Any) -> None:
        """One entry."""
        moment = clock.monotonic() if at is None else at
        self._file.write(write_entry(Entry(moment, "", what, facts)) + "\n")


class Ending:
    """Set by SIGTERM, or when the process that started this one is gone."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._parent = os.getppid()

    def listen(self) -> None:
        """From now on."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._event.set)

    def __bool__(self) -> bool:
        return self._event.is_set() or os.getppid() != self._parent

    async def wait(self, seconds: float) -> None:
        """So long, or until the end."""
        until = clock.monotonic() + seconds
        while not self and (left := until - clock.monotonic()) > 0:
            try:
                await asyncio.wait_for(self._event.wait(), min(left, 0.5))
            except TimeoutError:
                continue
