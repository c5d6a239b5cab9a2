"""Looking after what is planned: nothing that is planned meanwhile is slept over."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from keypeg.errors import StorageUnavailable
from keypeg_server.domain.events import CapacityPlanned
from keypeg_server.service.capacity_keeping import CapacityKeeper
from keypeg_server.service.events import EventHub
from tests.server.service.office import HandClock

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
