"""Work that goes on whatever happens to it once."""

from __future__ import annotations

import asyncio

import structlog

from keypeg.errors import StorageUnavailable
from keypeg_server.repeating import every


async def test_neither_a_refusal_nor_a_fault_ends_it_and_a_fault_is_told_once() -> None:
    comes = iter(
        (OSError("gone"), OSError("gone"), StorageUnavailable("Full."), None, OSError("again"))
    )
    over = asyncio.Event()

    async def work() -> None:
        try:
            fault = next(comes)
        except StopIteration:
            over.set()
            return
        if fault is not None:
            raise fault

    with structlog.testing.capture_logs() as logged:
        task = every(0.0, work)
        async with asyncio.timeout(5):
            await over.wait()
        task.cancel()
    assert [str(one["exc_info"]) for one in logged] == ["gone", "again"]
