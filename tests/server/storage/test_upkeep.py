"""Upkeep: the clock's mark only grows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keypeg_server.clock import to_us
from keypeg_server.storage import schema, upkeep
from keypeg_server.storage.sqlite import SqliteDatabase

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
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    opened = SqliteDatabase.open(tmp_path / "test.sqlite3")
    opened.migrate(schema.upgrade)
    yield opened
    opened.close()


async def test_the_mark_of_the_clock_only_grows(database: SqliteDatabase) -> None:
    clock = HandClock()
    assert await upkeep.high_water(database) is None
    await upkeep.keep_high_water(database, clock)
    clock.now = NOW - timedelta(days=1)
    await upkeep.keep_high_water(database, clock)
    assert await upkeep.high_water(database) == NOW
    clock.now = NOW + timedelta(days=1)
    await upkeep.keep_high_water(database, clock)
    assert await upkeep.high_water(database) == clock.now
