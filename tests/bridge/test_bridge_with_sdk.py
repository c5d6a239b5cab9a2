"""The SDK in an app, on a real bridge with an emulated key: what a person with a key in their hand sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import keypeg.aio
from keypeg import events
from keypeg.errors import KeyUnplugged
from lab.processes import Lab
from tests.bridge.bridge_process import BridgeProcess, laboratory
from tests.bridge.emukey import Emukey
from tests.bridge.publisher import Publisher

pytestmark = pytest.mark.system


class KeyHolder:
    """A bridge with an enrolled key, and an app that uses it."""

    def __init__(self, bridge: BridgeProcess, publisher: Publisher) -> None:
        self.bridge = bridge
        self.publisher = publisher
        self._loop = asyncio.get_running_loop()
        self._heard: asyncio.Queue[events.Event] = asyncio.Queue()

    async def license(self, grace: timedelta) -> None:
        """Enroll the key, and put a license on it."""
        [key] = await self.bridge.listed()
        key = await self.bridge.enroll(key)
        license_ = self.publisher.license(key.public_key.key, grace=grace)
        await self.bridge.put(key, license_, self.publisher.delegation())

    def open(self) -> keypeg.aio.Opening:
        """The app opens its session."""
        return keypeg.aio.open_session(
            "synth",
            root=self.publisher.pinned,
            bridge=self.bridge.ready["target"],
            on_event=self._hear,
        )

    def _hear(self, event: events.Event) -> None:
        """From a thread of the SDK's."""
        self._loop.call_soon_threadsafe(self._heard.put_nowait, event)

    async def hears(self, kind: type[events.Event]) -> events.Event:
        """The next event of a kind."""
        async with asyncio.timeout(20):
            while not isinstance(event := await self._heard.get(), kind):
                pass
        return event


@pytest.fixture
def lab() -> Iterator[Lab]:
    with laboratory() as made:
        yield made


@pytest.fixture
async def holder(
    emukey: Emukey, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[KeyHolder]:
    monkeypatch.setenv("KEYPEG_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("KEYPEG_DEVICE", "device-of-a-test")
    bridge = BridgeProcess(lab, "--backend", emukey.backend).start()
    yield KeyHolder(bridge, Publisher())
    await bridge.close()


@pytest.mark.behaviour("KEY-5")
async def test_an_app_goes_on_through_a_short_absence_of_its_key(
    holder: KeyHolder, emukey: Emukey
) -> None:
    await holder.license(timedelta(seconds=20))
    async with holder.open() as session:
        await holder.hears(events.Running)
        assert session.may_run
        emukey.unplug()
        await holder.hears(events.KeyMissing)
        assert session.may_run
        emukey.plug()
        await holder.hears(events.KeyReturned)
        assert session.may_run


@pytest.mark.behaviour("KEY-5")
async def test_an_app_stops_when_its_key_stays_away(holder: KeyHolder, emukey: Emukey) -> None:
    await holder.license(timedelta(seconds=1))
    async with holder.open() as session:
        emukey.unplug()
        await holder.hears(events.KeyMissing)
        stopped = await holder.hears(events.Stopped)
        assert isinstance(stopped, events.Stopped)
        assert not session.may_run
        with pytest.raises(KeyUnplugged):
            session.require()


async def test_an_app_survives_a_restart_of_the_bridge(holder: KeyHolder, emukey: Emukey) -> None:
    await holder.license(timedelta(seconds=20))
    async with holder.open() as session:
        await holder.hears(events.Running)
        holder.bridge.kill()
        await holder.hears(events.ConnectionLost)
        assert session.may_run
        holder.bridge.start()
        await holder.hears(events.Reconnected)
        assert session.may_run
        emukey.unplug()
        await holder.hears(events.KeyMissing)


@pytest.mark.long
async def test_an_app_that_reconnects_while_its_key_is_away_goes_on_when_it_is_back(
    holder: KeyHolder, emukey: Emukey
) -> None:
    await holder.license(timedelta(seconds=30))
    async with holder.open() as session:
        await holder.hears(events.Running)
        emukey.unplug()
        await holder.hears(events.KeyMissing)
        holder.bridge.kill()
        await holder.hears(events.ConnectionLost)
        holder.bridge.start()
        assert session.may_run
        emukey.plug()
        await holder.hears(events.Reconnected)
        assert session.may_run
