"""Upkeep: the clock's mark only grows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from keypeg_server.clock import to_us
from keypeg_server.storage import upkeep
from keypeg_server.storage.database import Database
from tests.server.databases import Place

NOW = datetime(2026, 11, 1, tzinfo=UTC)


class HandClock:
    now = NOW

    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> datetime:
        return self.now

    def wall_us(self) -> int:
        return to_us(self.wall())


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    opened = place.make()
    yield opened
    opened.close()


async def test_the_mark_of_the_clock_only_grows(database: Database) -> None:
    clock = HandClock()
    assert await upkeep.high_water(database) is None
    await upkeep.keep_high_water(database, clock)
    clock.now = NOW - timedelta(days=1)
    await upkeep.keep_high_water(database, clock)
    assert await upkeep.high_water(database) == NOW
    clock.now = NOW + timedelta(days=1)
    await upkeep.keep_high_water(database, clock)
    assert await upkeep.high_water(database) == clock.now
