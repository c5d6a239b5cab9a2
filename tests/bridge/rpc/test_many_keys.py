"""Several keys and several apps at once: each key has its own queue, in which its apps take turns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from keypeg.errors import Reason
from keypeg_bridge.rack.rack import PROVE_LIMIT
from tests.bridge.app_side import AppSide
from tests.bridge.fakes import FakeKey
from tests.bridge.rpc.conftest import ServedBridge

KEYS = 4
APPS = 4
"""On each key."""


@pytest.fixture
async def roomy() -> AsyncIterator[ServedBridge]:
    """A bridge with room for all these apps."""
    made = ServedBridge(KEYS * APPS)
    await made.rack.start()
    await made.server.start()
    try:
        yield made
    finally:
        await made.close()


async def opened(bridge: ServedBridge) -> dict[int, list[AppSide]]:
    """Keys, each with a product of its own, and apps on them."""
    apps: dict[int, list[AppSide]] = {}
    for number in range(KEYS):
        key = FakeKey(number + 1)
        key.carry(bridge.publisher, f"product-{number}")
        await bridge.plug(key)
        apps[number] = [bridge.app(f"product-{number}") for _ in range(APPS)]
    await asyncio.gather(*(app.open() for each in apps.values() for app in each))
    return apps


@pytest.mark.behaviour("KEY-12")
async def test_a_key_that_hangs_makes_only_its_own_apps_wait(roomy: ServedBridge) -> None:
    bridge = roomy
    apps = await opened(bridge)
    slow = next(key for key in bridge.bus.plugged.values() if key.card_id == bytes([1]) * 16)
    slow.stall = threading.Event()
    waiting = [asyncio.ensure_future(app.renew()) for app in apps[0]]
    assert await asyncio.to_thread(slow.stalled.wait, 10)
    for _ in range(5):
        answers = await asyncio.gather(
            *(app.renew() for number in range(1, KEYS) for app in apps[number])
        )
        assert {answer.WhichOneof("frame") for answer in answers} == {"renewed"}
    assert not any(one.done() for one in waiting)
    bridge.time.advance(PROVE_LIMIT)
    refused = await asyncio.gather(*waiting)
    reasons = {one.denied.explanation.reason for one in refused}
    assert reasons == {Reason.KEY_FAULTY.value}, "they hear so when its time is over"
    release, slow.stall = slow.stall, None
    release.set()
