"""A rack on fake keys and a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from keypeg_bridge.rack.rack import Rack, RackSettings
from keypeg_bridge.rack.record import Namer
from tests.bridge.fakes import FakeSource, FakeTime, Watch

QUICK = RackSettings(poll_interval=0.01, pauses=(0.01, 0.02), stop_limit=5)


class Bench:
    """A rack, and everything around it in a test's hands."""

    def __init__(self, *sources: FakeSource) -> None:
        self.sources = sources
        self.time = FakeTime()
        self.rack = Rack(sources, Namer(b"s" * 32), self.time, QUICK)
        self.watch = Watch(self.rack)


OpenBench = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture
def open_bench() -> OpenBench:
    @asynccontextmanager
    async def opened(*sources: FakeSource) -> AsyncIterator[Bench]:
        bench = Bench(*sources)
        await bench.rack.start()
        try:
            yield bench
        finally:
            await bench.rack.stop()

    return opened
