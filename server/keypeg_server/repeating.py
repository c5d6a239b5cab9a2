"""Work that a server does again and again.

Promises: a refusal ends nothing: the next time may be better. What has ended by a fault is in the log.

Leaves to others: what is done, and how often (app.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from keypeg.errors import KeypegError

_LOG: Final = structlog.get_logger("keypegd")


def died(task: asyncio.Task[None]) -> None:
    """Say so when what should go on for ever has ended by a fault."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.error("upkeep ended", exc_info=error)


def every(pause: float, work: Callable[[], Awaitable[object]]) -> asyncio.Task[None]:
    """Do this again and again, with a pause in seconds before each time."""

    async def run() -> None:
        while True:
            await asyncio.sleep(pause)
            with contextlib.suppress(KeypegError):  # storage has logged it; next time may be better
                await work()

    return asyncio.create_task(run())
