"""The bridge, as people run it, on keys of a Linux kernel: hidraw, libusb and the card service, from arrival to re-plugging."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from keypeg.v1 import session_pb2
from keypeg_bridge.transport import pcsc
from lab import card_service as service
from lab.processes import PATIENCE, Lab
from tests.bridge.bridge_process import BridgeProcess, laboratory
from tests.bridge.emukey import Emukey
from tests.bridge.publisher import Publisher
from tests.usb import kernel
from tests.usb.conftest import know_the_reader

pytestmark = pytest.mark.system

GRACE = timedelta(seconds=60)
HEARS_WITHIN = 1.0 * PATIENCE
"""Seconds until an app knows that its key was unplugged: one on a computer that is not emulated itself."""

WAYS = {"hidapi": "fido2", "libusb": "piv", "pcsc": "piv"}
"""Each with the driver that goes through it."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory() as made:
        yield made


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.mark.behaviour("KEY-1", "KEY-2", "KEY-3", "KEY-4", "KEY-5", "KEY-9", "KEY-10")
@pytest.mark.parametrize("way", list(WAYS))
async def test_a_key_is_found_enrolled_activated_proves_is_pulled_and_put_back(
    usb_key: Emukey, lab: Lab, publisher: Publisher, way: str
) -> None:
    if way == "pcsc" and not pcsc.is_installed():
        pytest.skip("NOT RUN: pyscard is missing: pip install 'keypeg[pcsc]'")
    async with AsyncExitStack() as stack:
        if way == "pcsc":
            know_the_reader()
            stack.enter_context(service.card_service())
        bridge = BridgeProcess(
            lab, "--backend", way, env={"KEYPEG_BRIDGE_KEYS__DRIVERS": WAYS[way]}
        )
        stack.push_async_callback(bridge.close)
        await asyncio.to_thread(bridge.start)
        [key] = await bridge.arrived(1)
        assert key.driver == WAYS[way]
        assert key.emulated
        assert key.serial == usb_key.ready["serial"]
        if not key.licenses:  # a card that was reached in another way before has one on it
            key = await bridge.enroll(key)
            named = key.public_key
            document = publisher.license(named.key, grace=GRACE, algorithm=named.algorithm)
            await bridge.put(key, document, publisher.delegation())
        app = bridge.app()
        opened = await app.open()
        app.check(opened.proof, publisher)
        loop = asyncio.get_running_loop()
        for _ in range(2):
            pulled = loop.time()
            usb_key.unplug()
            missing = (await app.receive()).missing
            assert loop.time() - pulled < HEARS_WITHIN
            assert missing.resource == key.name
            kernel.all_gone()
            usb_key.plug()
            changed = (await app.receive()).changed
            assert changed.change == session_pb2.CHANGE_KEY_RETURNED
            app.check((await app.renew()).renewed.proof, publisher)
        assert bridge.stop() == 0
