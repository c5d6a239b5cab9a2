"""The keys over the wire: listed, watched, written to."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from keypeg.errors import FieldInvalid, KeyBusy, KeypegError, NotFound, PermissionDenied
from keypeg.possession import check_possession, enrollment_challenge
from keypeg.v1 import key_pb2, key_service_pb2_grpc
from keypeg.v1 import key_service_pb2 as pb
from keypeg_bridge.rack.writes import Writes
from keypeg_bridge.rpc.key_service import KeyService
from tests.bridge.app_side import error_of
from tests.bridge.fakes import RESPONSE, FakeKey
from tests.bridge.publisher import ACCOUNT
from tests.bridge.rpc.conftest import LOCATION_HOST, ServedBridge

NONCE = b"n" * 32


def stub(bridge: ServedBridge) -> Any:
    return key_service_pb2_grpc.KeyServiceStub(bridge.channel)


async def refused(call: Any) -> KeypegError:
    with pytest.raises(grpc.RpcError) as error:
        await call
    return error_of(error.value)


async def test_keys_are_listed_with_all_that_is_known_of_them(bridge: ServedBridge) -> None:
    key, blank = FakeKey(1), FakeKey(2, enrolled=False, card_id=False)
    key.carry(bridge.publisher)
    await bridge.plug(key)
    await bridge.plug(blank)
    bridge.bus.partial = ("Device 1234:5678: busy",)
    listed = await stub(bridge).ListKeys(pb.ListKeysRequest(), timeout=10)
    async with asyncio.timeout(10):
        while not listed.problems:
            listed = await stub(bridge).ListKeys(pb.ListKeysRequest(), timeout=10)
    assert listed.location_host == LOCATION_HOST
    assert list(listed.problems) == ["Device 1234:5678: busy"]
    first, second = listed.keys
    assert first.state == key_pb2.KEY_STATE_PRESENT
    assert (first.driver, first.model, first.serial) == ("piv", "fake key", "0000000001")
    assert first.emulated
    assert first.enrolled
    assert first.card_id == "01" * 16
    assert first.public_key.key == key.point
    assert first.capabilities.silent_proof
    assert first.capabilities.slot_count == 19
    assert [one.slot for one in first.licenses] == [1]
    assert first.licenses[0].license.SerializeToString() == key.slots[1]
    assert not second.enrolled
    assert second.card_id == ""
    assert not second.HasField("public_key")
    found = await stub(bridge).GetKey(pb.GetKeyRequest(name=first.name), timeout=10)
    assert found.key == first


@pytest.mark.parametrize(
    ("name", "error"), [("keys/unknown", NotFound), ("nonsense", FieldInvalid), ("", FieldInvalid)]
)
async def test_a_key_that_is_not_there_is_not_found(
    bridge: ServedBridge, name: str, error: type[KeypegError]
) -> None:
    answer = stub(bridge).GetKey(pb.GetKeyRequest(name=name), timeout=10)
    assert isinstance(await refused(answer), error)


async def test_a_watcher_sees_what_is_there_and_then_each_change(bridge: ServedBridge) -> None:
    key = FakeKey()
    key.carry(bridge.publisher)
    place = await bridge.plug(key)
    watching = stub(bridge).WatchKeys(pb.WatchKeysRequest())

    async def next_state() -> int:
        async with asyncio.timeout(10):
            return (await watching.read()).key.state

    assert await next_state() == key_pb2.KEY_STATE_PRESENT
    bridge.bus.pull(place)
    assert await next_state() == key_pb2.KEY_STATE_MISSING
    bridge.time.advance(30)
    assert await next_state() == key_pb2.KEY_STATE_GONE
    await bridge.plug(key)
    assert await next_state() == key_pb2.KEY_STATE_PRESENT
    bridge.keys.end()
    async with asyncio.timeout(10):
        assert await watching.read() is grpc.aio.EOF


async def test_a_key_is_enrolled_and_takes_a_license_over_the_wire(bridge: ServedBridge) -> None:
    key = FakeKey(enrolled=False)
    await bridge.plug(key)
    keys = stub(bridge)
    name = (await keys.ListKeys(pb.ListKeysRequest(), timeout=10)).keys[0].name
    begun = await keys.BeginKeyWrite(pb.BeginKeyWriteRequest(key=name), timeout=10)
    assert begun.factory_key
    assert begun.management_algorithm == "aes192"
    assert begun.valid_for.seconds == 30
    enrolled = await keys.EnrollKey(
        pb.EnrollKeyRequest(
            write=begun.write,
            response=RESPONSE,
            new_management_key=b"k" * 32,
            new_management_algorithm="aes256",
            enrollment_nonce=NONCE,
            account=ACCOUNT,
        ),
        timeout=10,
    )
    check_possession(
        enrolled.key.public_key,
        enrollment_challenge(begun.card_id, ACCOUNT, NONCE),
        enrolled.signature,
    )
    written = await keys.WriteKeyLicense(
        pb.WriteKeyLicenseRequest(
            write=begun.write,
            license=bridge.publisher.license(enrolled.key.public_key.key),
            delegation=bridge.publisher.delegation(),
        ),
        timeout=10,
    )
    assert [one.slot for one in written.key.licenses] == [1]
    again = keys.BeginKeyWrite(pb.BeginKeyWriteRequest(key=name), timeout=10)
    busy = await refused(again)
    assert isinstance(busy, KeyBusy)
    assert busy.retry_after is not None
    await keys.EndKeyWrite(pb.EndKeyWriteRequest(write=begun.write), timeout=10)
    app = bridge.app()
    app.check((await app.open()).proof, bridge.publisher)


WRITE = "0" * 32


@pytest.mark.parametrize(
    ("method", "request_", "error"),
    [
        ("BeginKeyWrite", pb.BeginKeyWriteRequest(), FieldInvalid),
        ("BeginKeyWrite", pb.BeginKeyWriteRequest(key="keys/unknown"), NotFound),
        ("EnrollKey", pb.EnrollKeyRequest(), FieldInvalid),
        (
            "EnrollKey",
            pb.EnrollKeyRequest(write=WRITE, response=b"r", enrollment_nonce=NONCE),
            FieldInvalid,
        ),
        (
            "EnrollKey",
            pb.EnrollKeyRequest(
                write=WRITE, response=b"r", enrollment_nonce=NONCE, account=ACCOUNT
            ),
            NotFound,
        ),
        ("WriteKeyLicense", pb.WriteKeyLicenseRequest(write=WRITE), FieldInvalid),
        ("EndKeyWrite", pb.EndKeyWriteRequest(write="x"), FieldInvalid),
    ],
)
async def test_bad_requests_are_refused(
    bridge: ServedBridge, method: str, request_: Any, error: type[KeypegError]
) -> None:
    assert isinstance(await refused(getattr(stub(bridge), method)(request_, timeout=10)), error)


async def test_an_unknown_write_may_be_ended(bridge: ServedBridge) -> None:
    await stub(bridge).EndKeyWrite(pb.EndKeyWriteRequest(write=WRITE), timeout=10)


@pytest.mark.parametrize(
    "method", [m.name for m in pb.DESCRIPTOR.services_by_name["KeyService"].methods]
)
async def test_bytes_that_are_no_request_are_refused(bridge: ServedBridge, method: str) -> None:
    path = f"/keypeg.v1.KeyService/{method}"
    unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = bridge.channel.unary_unary(path)
    stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = bridge.channel.unary_stream(path)
    if method == "WatchKeys":
        error = await refused(stream(b"\xff\xff", timeout=10).read())
    else:
        error = await refused(unary(b"\xff\xff", timeout=10))
    assert isinstance(error, FieldInvalid)


async def test_writes_are_taken_over_the_own_socket_only(bridge: ServedBridge) -> None:
    service = KeyService(
        bridge.rack, Writes(bridge.rack, bridge.time), LOCATION_HOST, writable=False
    )
    context: Any = None
    for method, request in (
        ("BeginKeyWrite", pb.BeginKeyWriteRequest()),
        ("EnrollKey", pb.EnrollKeyRequest()),
        ("WriteKeyLicense", pb.WriteKeyLicenseRequest()),
        ("EndKeyWrite", pb.EndKeyWriteRequest()),
    ):
        with pytest.raises(PermissionDenied):
            await getattr(service, method)(request, context)
    assert (await service.ListKeys(pb.ListKeysRequest(), context)).location_host == LOCATION_HOST
