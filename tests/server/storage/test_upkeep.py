"""Upkeep: what is kept of the clock only grows, and servers on one database count their time together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from keypeg_server.clock import SystemClock, to_us
from keypeg_server.storage import upkeep
from keypeg_server.storage.database import Database
from tests.server.databases import Place

NOW = datetime(2126, 11, 1, tzinfo=UTC)  # later than any computer says
DAY = timedelta(days=1)


class HandClock(SystemClock):
    """The server's clock, on a computer whose clocks stand until they are set."""

    def __init__(self, booted: float = 0.0) -> None:
        self.seconds = booted
        super().__init__()

    def monotonic(self) -> float:
        return self.seconds

    def set(self, wall: datetime) -> None:
        self._high_water = to_us(wall)


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    opened = place.make()
    yield opened
    opened.close()


async def restarted(database: Database, booted: float = 5.0) -> HandClock:
    clock = HandClock(booted)
    await upkeep.restore_clock(database, clock)
    return clock


async def test_a_new_database_was_never_served(database: Database) -> None:
    clock = await restarted(database)
    assert clock.wall() < NOW
    assert clock.served_us() == 0


async def test_the_mark_of_the_clock_only_grows(database: Database) -> None:
    clock = HandClock()
    for wall in (NOW, NOW - DAY):
        clock.set(wall)
        await upkeep.keep_clock(database, clock)
        assert (await restarted(database)).wall() == NOW
    clock.set(NOW + DAY)
    await upkeep.keep_clock(database, clock)
    assert (await restarted(database)).wall() == NOW + DAY


async def test_served_time_is_counted_over_restarts_and_whatever_the_wall_clock_says(
    database: Database,
) -> None:
    clock = HandClock(booted=100.0)
    clock.seconds += 60
    clock.set(NOW)
    await upkeep.keep_clock(database, clock)
    clock.seconds += 60  # and is killed before it keeps that
    clock = await restarted(database, booted=7.0)
    clock.set(NOW + 365 * DAY)
    clock.seconds += 30
    assert clock.served_us() == 90_000_000


async def test_two_servers_count_no_faster_than_one(database: Database) -> None:
    first = await restarted(database, booted=1_000.0)
    first.seconds += 60
    await upkeep.keep_clock(database, first)
    second = await restarted(database, booted=5.0)
    for clock in (first, second):
        clock.seconds += 60
    await upkeep.keep_clock(database, first)
    await upkeep.keep_clock(database, second)
    assert first.served_us() == second.served_us() == 120_000_000
    first.seconds += 3_600  # the other one stood still: it was suspended
    await upkeep.keep_clock(database, first)
    await upkeep.keep_clock(database, second)
    assert second.served_us() == 3_720_000_000
