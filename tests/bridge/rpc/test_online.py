"""A bridge with a server: what it asks about keys, when, and what it makes of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keypeg.errors import KeyLost, KeyNotEnrolled, KeypegError, SignInRequired, Unreachable
from keypeg.v1.document_pb2 import Envelope
from keypeg.v1.location_service_pb2 import CheckKeyRequest, CheckKeyResponse
from keypeg_bridge.rpc.online import Access, AccountServer, Online
from tests.bridge.fakes import FakeKey
from tests.bridge.rpc.conftest import ServedBridge

NOW = datetime(2026, 11, 1, tzinfo=UTC)


class FakeServer:
    """Answers as it is told to."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[CheckKeyRequest] = asyncio.Queue()
        self.answer = CheckKeyResponse()
        self.refusal: KeypegError | None = None

    async def check(self, request: CheckKeyRequest) -> CheckKeyResponse:
        self.asked.put_nowait(request)
        if self.refusal is not None:
            raise self.refusal
        return self.answer

    async def next(self) -> CheckKeyRequest:
        async with asyncio.timeout(10):
            return await self.asked.get()


@asynccontextmanager
async def online(
    bridge: ServedBridge, server: FakeServer, *, interval: float = 3_600, again: float = 3_600
) -> AsyncIterator[None]:
    seconds = timedelta(seconds=interval)
    made = Online(bridge.rack, bridge.memory, server, seconds, again)
    made.start()
    try:
        yield
    finally:
        await made.stop()


@pytest.fixture
def carried(bridge: ServedBridge) -> FakeKey:
    made = FakeKey()
    license_ = bridge.publisher.license(made.point, contents_version=1)
    made.carry_all(bridge.publisher, 1, license_)
    return made


def shown(request: CheckKeyRequest) -> list[Envelope]:
    return list(request.contents)


async def test_a_key_that_comes_is_compared_and_a_lost_one_refused_from_then_on(
    bridge: ServedBridge, carried: FakeKey
) -> None:
    server = FakeServer()
    lost = bridge.publisher.contents(carried.point, 2, lost=True)
    server.answer.statements.add(contents=lost, delegation=bridge.publisher.delegation())
    await bridge.plug(carried)
    app = bridge.app()
    await app.open()
    async with online(bridge, server):
        request = await server.next()
        assert request.card_id == "01" * 16
        assert request.public_key.key == carried.point
        assert len(shown(request)) == 1
        assert (await app.receive()).changed.resource
        with pytest.raises(KeyLost):
            await bridge.app().open()


async def test_it_is_asked_again_only_about_what_is_new(
    bridge: ServedBridge, carried: FakeKey
) -> None:
    server = FakeServer()
    async with online(bridge, server):
        place = await bridge.plug(carried)
        first = await server.next()
        bridge.bus.pull(place)
        carried.carry_all(bridge.publisher, 2)
        await bridge.plug(carried)
        second = await server.next()
        assert shown(first) != shown(second)
        assert server.asked.empty()


async def test_keys_that_stay_are_asked_about_from_time_to_time(
    bridge: ServedBridge, carried: FakeKey
) -> None:
    server = FakeServer()
    await bridge.plug(carried)
    async with online(bridge, server, interval=0.01):
        for _ in range(3):
            await server.next()


async def test_a_server_that_can_not_be_reached_is_asked_again_and_delays_nobody(
    bridge: ServedBridge, carried: FakeKey
) -> None:
    server = FakeServer()
    server.refusal = Unreachable("The server can not be reached.")
    await bridge.plug(carried)
    async with online(bridge, server, again=0.01):
        for _ in range(3):
            await server.next()
        await bridge.app().open()


async def test_keys_of_other_accounts_are_left_alone(
    bridge: ServedBridge, carried: FakeKey
) -> None:
    server = FakeServer()
    server.refusal = KeyNotEnrolled("Not enrolled here.")
    await bridge.plug(carried)
    async with online(bridge, server, again=0.01):
        await server.next()
        await bridge.app().open()
        assert server.asked.empty()


async def test_a_token_that_can_not_be_read_is_said_without_its_content(tmp_path: Path) -> None:
    server = AccountServer(Access("127.0.0.1:9", None, tmp_path / "token"), lambda: NOW)
    with pytest.raises(SignInRequired, match="cannot be read"):
        await server.check(CheckKeyRequest())
