"""Looking after what is planned: nothing that is planned meanwhile is slept over."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from keypeg.errors import StorageUnavailable
from keypeg_server.domain.capacity import Capacity
from keypeg_server.domain.events import CapacityPlanned
from keypeg_server.service import capacity_keeping
from keypeg_server.service.capacity_keeping import CapacityKeeper
from keypeg_server.service.events import EventHub
from tests.server.service.office import HandClock

BEGIN_US, END_US = 60_000_000, 120_000_000
PLANNED = CapacityPlanned("accounts/studio", "accounts/studio/licenses/one")


class Gated:
    """A store of which each reading waits to be let on."""

    def __init__(self) -> None:
        self.readings: list[asyncio.Future[list[Any]]] = []

    async def read(self, _: object) -> list[Any]:
        self.readings.append(asyncio.get_running_loop().create_future())
        return await self.readings[-1]


class Kept:
    """A keeper, and what it is given."""

    def __init__(self) -> None:
        self.store, self.hub = Gated(), EventHub()
        nobody: Any = SimpleNamespace(heard=[], pools=SimpleNamespace(all=tuple))
        store: Any = self.store
        self.keeper = CapacityKeeper(store, HandClock(), self.hub, nobody, nobody)

    async def looks(self) -> asyncio.Task[None]:
        """It has begun to look."""
        task = asyncio.create_task(self.keeper.look())
        await asyncio.sleep(0)
        return task


async def turns(count: int) -> None:
    """So many turns of the event loop, in which what can go on does."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_is_planned_during_a_reading_is_read() -> None:
    kept = Kept()
    task = await kept.looks()
    kept.hub.publish(PLANNED)
    kept.store.readings[0].set_result([])
    await task
    task = await kept.looks()
    assert len(kept.store.readings) == 2
    kept.store.readings[1].set_result([])
    await task
    await kept.keeper.look()
    assert len(kept.store.readings) == 2, "nothing was planned since"


async def test_what_could_not_be_read_is_read_the_next_time() -> None:
    kept = Kept()
    task = await kept.looks()
    kept.store.readings[0].set_exception(StorageUnavailable("The disk is full."))
    with pytest.raises(StorageUnavailable):
        await task
    await kept.looks()
    assert len(kept.store.readings) == 2


class Late(HandClock):
    """What is asked for the time twice is told two moments, the first just before a capacity begins."""

    def __init__(self) -> None:
        super().__init__()
        self.told = [BEGIN_US - 1]

    def wall_us(self) -> int:
        return self.told.pop(0) if self.told else BEGIN_US + 1


async def test_what_begins_between_a_look_and_the_pause_after_it_is_not_slept_over() -> None:
    """A timer comes a little early, or the look takes a while."""
    more = Capacity("more", 1, 0, BEGIN_US, END_US)
    name = "accounts/studio/licenses/one"
    license = SimpleNamespace(name=name, account="studio", id="one", capacities=(more,))
    pool = SimpleNamespace(activation=f"{name}/activations/here", base=1, capacity=1, plan=())
    carried = asyncio.Event()
    engine: Any = SimpleNamespace(
        heard=[],
        pools=SimpleNamespace(all=lambda: [pool], serves=lambda _: False),
        aftermath=SimpleNamespace(resized=lambda _: None),
        carry=lambda *_: carried.set(),
    )

    async def read(_: object) -> list[Any]:
        return [(license, BEGIN_US)]

    store: Any = SimpleNamespace(read=read)
    keeper = CapacityKeeper(store, Late(), EventHub(), engine, engine)
    await keeper.start()
    assert not carried.is_set()
    try:
        await asyncio.wait_for(carried.wait(), capacity_keeping.LOOK / 2)
    finally:
        keeper.stop()


async def test_a_disk_that_is_away_is_not_asked_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capacity_keeping, "SHORTEST", 0.0)
    kept = Kept()
    starting = asyncio.create_task(kept.keeper.start())
    await asyncio.sleep(0)
    kept.store.readings[0].set_result([])
    await starting
    kept.hub.publish(PLANNED)
    await turns(100)
    kept.store.readings[1].set_exception(StorageUnavailable("The disk is full."))
    await turns(100)
    kept.keeper.stop()
    assert len(kept.store.readings) == 2
