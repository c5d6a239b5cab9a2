"""A bridge process and a smartkey: which side of a key is used, and what is remembered over a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from keypeg.v1 import document_pb2, key_pb2
from keypeg.v1 import key_service_pb2 as pb
from keypeg_bridge.emulator import control
from lab.processes import Lab
from tests.bridge.bridge_process import BridgeProcess, laboratory
from tests.bridge.emukey import Emukey

pytestmark = pytest.mark.system


@pytest.fixture
def lab() -> Iterator[Lab]:
    with laboratory() as made:
        yield made


@pytest.fixture
def environment() -> dict[str, str]:
    """Of the bridge, at its next start."""
    return {"KEYPEG_BRIDGE_KEYS__DRIVERS": "smartkey"}


@pytest.fixture
async def bridge(
    lab: Lab, emukey: Emukey, environment: dict[str, str]
) -> AsyncIterator[BridgeProcess]:
    made = BridgeProcess(lab, "--backend", emukey.backend, env=environment)
    yield made.start()
    await made.close()


async def until(watching: Any, right: Callable[[key_pb2.Key], bool]) -> key_pb2.Key:
    """The key, once it is as it should be."""
    while not right(key := (await watching.read()).key):
        pass
    return key


def has(state: int) -> Callable[[key_pb2.Key], bool]:
    return lambda key: key.state == state


@pytest.mark.behaviour("KEY-7")
async def test_the_enrolled_side_is_used_and_a_count_that_fell_is_remembered(
    emukey: Emukey, bridge: BridgeProcess, environment: dict[str, str]
) -> None:
    [blank] = await bridge.listed()
    assert (blank.driver, blank.enrolled, blank.emulated) == ("smartkey", False, True)
    key = await bridge.enroll(blank)
    assert key.public_key.algorithm == document_pb2.KEY_ALGORITHM_SMARTKEY_P256
    assert bridge.stop() == 0

    environment.clear()  # every driver, PIV first
    bridge.start()
    [again] = await bridge.listed()
    assert (again.driver, again.name, again.fault) == ("smartkey", key.name, "")
    control.call(emukey.control, "fault", fault="snapshot", name="before")
    watching = bridge.keys().WatchKeys(pb.WatchKeysRequest(), timeout=30)
    await until(watching, has(key_pb2.KEY_STATE_PRESENT))
    emukey.unplug()
    await until(watching, has(key_pb2.KEY_STATE_GONE))
    emukey.plug()
    await until(watching, has(key_pb2.KEY_STATE_PRESENT))  # its counter has gone on
    control.call(emukey.control, "fault", fault="rollback", to="before")
    fallen = await until(watching, lambda key: bool(key.fault))
    watching.cancel()
    assert fallen.state == key_pb2.KEY_STATE_PRESENT
    assert "its counter told" in fallen.fault
    assert "clone suspected" in bridge.log()
    control.call(emukey.control, "clear")
    assert bridge.stop() == 0

    bridge.start()
    [later] = await bridge.listed()
    assert later.fault == fallen.fault
