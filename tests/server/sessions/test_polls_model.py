"""Any mixture of waiting, leaving, coming back, restarts and time: never more believe than there are seats.

A caller believes in its seat from when it is answered until `valid_for` after it *sent* the call, unless it gives
the seat back before. What it believes is compared with the number of seats whenever somebody begins to believe.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from keypeg.errors import KeypegError, LeaseExpired
from keypeg_server.service.polls import Held
from keypeg_server.service.ports import AppInfo, DeviceInfo
from keypeg_server.service.seat_taking import Queued, Wanted
from keypeg_server.service.seats import Seats
from tests.server.sessions.world import World, caller

POOL = "pools/p1"
SEATS = 2
CALLERS = 6
STEPS = 120


@dataclass
class Someone:
    """A caller with one request at a time."""

    name: str
    request: int = 0
    sent_at: float = 0.0
    call: asyncio.Task[Held | Queued] | None = None
    lease: str = ""
    fencing: int = 0
    until: float = 0.0  # it believes in its lease
    leases: dict[int, str] = field(default_factory=dict)  # by request


class Story:
    """One run."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.people = [Someone(f"user-{number}") for number in range(CALLERS)]
        self.seats = self._seats()
        self.highest = 0

    def _seats(self) -> Seats:
        world = self.world
        return Seats(world.engine, world.licenses, world.clock, world.hub)

    @property
    def now(self) -> float:
        return float(self.world.clock.seconds)

    async def ask(self, one: Someone) -> None:
        if one.call is not None or one.until > self.now:
            return
        wait = self.random.choice((0, 5, 30, 60))
        wanted = Wanted(
            f"{one.name}-{one.request}",
            POOL,
            1,
            (),
            timedelta(seconds=20),
            DeviceInfo(f"device-{one.name}", ""),
            AppInfo("app", "", "", 1),
            timedelta(seconds=wait),
        )
        one.sent_at = self.now
        one.call = asyncio.create_task(self.seats.taking.acquire(caller(one.name), wanted))

    async def look(self) -> None:
        """Hear the answers that are there."""
        for one in self.people:
            if one.call is None or not one.call.done():
                continue
            call, one.call = one.call, None
            if call.cancelled():
                continue
            error = call.exception()
            if isinstance(error, LeaseExpired):
                one.request += 1
            if error is not None:
                assert isinstance(error, KeypegError), error
                continue
            got = call.result()
            if isinstance(got, Held):
                self.believe(one, got)

    def believe(self, one: Someone, got: Held) -> None:
        one.until = max(one.until, one.sent_at + got.valid_for.total_seconds())
        one.lease, one.fencing = got.lease.id, got.lease.fencing_number
        assert one.leases.setdefault(one.request, one.lease) == one.lease, "one seat a request"
        others = {other.lease for other in self.people if other.until > self.now}
        assert len(others) <= SEATS, (one, others)
        assert len([other for other in self.people if other.until > self.now]) == len(others)

    async def release(self, one: Someone) -> None:
        if one.until <= self.now:
            return
        one.until = 0.0  # it stops before it says so
        name = f"{POOL}/leases/{one.lease}"
        await self.seats.release(caller(one.name), name, one.fencing)
        one.request += 1

    async def cancel(self, one: Someone) -> None:
        if one.call is not None:
            one.call.cancel()
            await asyncio.gather(one.call, return_exceptions=True)
            one.call = None  # whatever it was answered, nobody has heard of it

    async def pass_time(self, seconds: float) -> None:
        await self.world.pass_time(seconds)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(3):
            await self.world.settled()
            await asyncio.sleep(0)
        await self.look()

    async def restart(self) -> None:
        for one in self.people:
            await self.cancel(one)
        await self.world.restart()
        self.seats = self._seats()

    async def run(self) -> None:
        steps = (self.ask, self.ask, self.ask, self.release, self.cancel)
        for _ in range(STEPS):
            chosen = self.random.random()
            if chosen < 0.25:
                await self.pass_time(self.random.choice((0.5, 5, 19, 21, 45, 62)))
            elif chosen < 0.28:
                await self.restart()
            else:
                await self.random.choice(steps)(self.random.choice(self.people))
                await self.settle()
            places = [place.request_id for place in self.world.pool_of(POOL).queue()]
            assert len(places) == len(set(places)), "one place a request"
        for one in self.people:
            await self.cancel(one)
        for _ in range(8):
            await self.pass_time(62)
        pool = self.world.pool_of(POOL)
        assert (pool.held, pool.waiting) == (0, 0), "nothing is kept for ever"
        assert not self.world.engine.aftermath.polls._waits


@pytest.mark.behaviour("SEAT-1")
@pytest.mark.behaviour("SEAT-3")
@pytest.mark.parametrize("seed", range(4))
async def test_never_more_believe_in_a_seat_than_there_are(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path / "keypeg.db")
    await world.start()
    try:
        await world.add_pool(SEATS)
        await Story(world, seed).run()
    finally:
        await world.stop()
