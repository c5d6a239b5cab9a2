"""Work that a server does again and again.

Promises: neither a refusal nor a fault ends it: the next time may be better. Faults are in the log, once until it works
again.

Leaves to others: what is done, and how often (app.py).
"""

from __future__ import annotations

import asyncio
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
        failing = False
        while True:
            await asyncio.sleep(pause)
            try:
                await work()
            except KeypegError:
                continue  # storage has logged it
            except Exception as fault:  # of a file that is away, say: a server goes on for months
                if not failing:
                    _LOG.error("upkeep failed, and is tried again", exc_info=fault)
                failing = True
            else:
                failing = False

    return asyncio.create_task(run())
