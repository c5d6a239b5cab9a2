"""Keys with old contents, and lost ones: what apps, and programs that list keys, are told."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from keypeg.errors import FieldInvalid, KeyLost, KeypegError, KeyRolledBack, SignerUnknown
from keypeg.v1 import error_pb2, key_pb2, key_service_pb2, key_service_pb2_grpc, session_pb2
from tests.bridge.app_side import error_of
from tests.bridge.fakes import FakeKey
from tests.bridge.publisher import Publisher
from tests.bridge.rpc.conftest import ServedBridge


def stub_of(bridge: ServedBridge) -> Any:
    return key_service_pb2_grpc.KeyServiceStub(bridge.channel)


async def listed(bridge: ServedBridge) -> key_pb2.Key:
    key: key_pb2.Key
    (key,) = (await stub_of(bridge).ListKeys(key_service_pb2.ListKeysRequest())).keys
    return key


async def fence(bridge: ServedBridge, key: FakeKey, by: Publisher, *, lost: bool = True) -> None:
    await stub_of(bridge).FenceKey(
        key_service_pb2.FenceKeyRequest(
            contents=by.contents(key.point, 9, lost=lost), delegation=by.delegation()
        )
    )


@pytest.fixture
def carried(bridge: ServedBridge) -> FakeKey:
    """A key whose license is named by its contents."""
    made = FakeKey()
    license_ = bridge.publisher.license(made.point, contents_version=1)
    made.carry_all(bridge.publisher, 1, license_)
    return made


async def test_an_app_verifies_what_the_key_should_carry(
    bridge: ServedBridge, carried: FakeKey
) -> None:
    await bridge.plug(carried)
    app = bridge.app()
    opened = await app.open()
    verified = app.check(opened.proof, bridge.publisher)
    assert verified.contents is not None
    assert verified.contents.version == 1
    opened.proof.key.ClearField("contents")
    with pytest.raises(KeyRolledBack):
        app.check(opened.proof, bridge.publisher)


async def test_old_contents_are_refused_with_their_own_reason_and_shown(
    bridge: ServedBridge, carried: FakeKey
) -> None:
    old = dict(carried.slots)
    place = await bridge.plug(carried)
    bridge.bus.pull(place)
    carried.carry_all(bridge.publisher, 2)
    place = await bridge.plug(carried)
    bridge.bus.pull(place)
    carried.slots = old
    await bridge.plug(carried)
    with pytest.raises(KeyRolledBack):
        await bridge.app().open()
    key = await listed(bridge)
    assert "carries old contents" in key.suspicions[0]
    assert key.suspicions[0] in key.fault
    assert len(key.contents) == 1


async def test_a_key_that_is_fenced_is_refused_at_once_and_its_apps_hear(
    bridge: ServedBridge, carried: FakeKey
) -> None:
    await bridge.plug(carried)
    app = bridge.app()
    await app.open()
    await fence(bridge, carried, bridge.publisher)
    changed = (await app.receive()).changed
    assert changed.change == session_pb2.CHANGE_LICENSE_REMOVED
    denied = (await app.renew()).denied
    assert denied.explanation.reason == error_pb2.REASON_KEY_LOST
    with pytest.raises(KeyLost):
        await bridge.app().open()
    assert "reported lost" in (await listed(bridge)).fault


@pytest.mark.parametrize(
    ("contents", "delegation", "error"),
    [
        ("own", "none", FieldInvalid),
        ("none", "own", FieldInvalid),
        ("own", "another", SignerUnknown),
    ],
)
async def test_a_fence_that_nobody_signed_is_refused(
    bridge: ServedBridge,
    carried: FakeKey,
    contents: str,
    delegation: str,
    error: type[KeypegError],
) -> None:
    await bridge.plug(carried)
    request = key_service_pb2.FenceKeyRequest()
    if contents == "own":
        request.contents.CopyFrom(bridge.publisher.contents(carried.point, 9, lost=True))
    if delegation != "none":
        by = bridge.publisher if delegation == "own" else Publisher()
        request.delegation.CopyFrom(by.delegation())
    with pytest.raises(grpc.RpcError) as refused:
        await stub_of(bridge).FenceKey(request)
    assert isinstance(error_of(refused.value), error)
    await bridge.app().open()


async def test_another_root_fences_nothing_of_this_one(
    bridge: ServedBridge, carried: FakeKey
) -> None:
    await bridge.plug(carried)
    await fence(bridge, carried, Publisher())
    await bridge.app().open()
