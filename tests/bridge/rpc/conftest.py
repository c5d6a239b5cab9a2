"""The bridge's services on a real gRPC server on a Unix socket, over a rack of fake keys."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest

from keypeg.serving import ErrorInterceptor
from keypeg.v1 import (
    key_service_pb2_grpc,
    session_service_pb2_grpc,
)
from keypeg_bridge.rack.memory import Memory
from keypeg_bridge.rack.writes import Writes
from keypeg_bridge.rpc.key_service import KeyService
from keypeg_bridge.rpc.session import SessionSettings
from keypeg_bridge.rpc.session_service import SessionService
from keypeg_bridge.rpc.sessions import Sessions
from tests.bridge.app_side import AppSide
from tests.bridge.fakes import FakeKey, FakeSource
from tests.bridge.publisher import Publisher
from tests.bridge.rack.conftest import Bench

LOCATION_HOST = "bridges/b1"
SESSION_LIMIT = 5


class ServedBridge(Bench):
    """A bridge without its process."""

    def __init__(self, sessions: int = SESSION_LIMIT) -> None:
        self.bus = FakeSource()
        super().__init__(self.bus)
        self.publisher = Publisher()
        self.memory = Memory()
        self.rack.listen(self.memory.heard)
        self.sessions = Sessions(
            self.rack,
            self.time,
            LOCATION_HOST,
            b"r" * 32,
            SessionSettings(limit=sessions),
            memory=self.memory,
        )
        self.keys = KeyService(
            self.rack,
            Writes(self.rack, self.time, memory=self.memory),
            LOCATION_HOST,
            writable=True,
            memory=self.memory,
        )
        self.server = grpc.aio.server(interceptors=(ErrorInterceptor(),))
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(
            SessionService(self.sessions), self.server
        )
        key_service_pb2_grpc.add_KeyServiceServicer_to_server(self.keys, self.server)
        self._folder = tempfile.TemporaryDirectory(prefix="bridge-")
        self.target = f"unix:{Path(self._folder.name) / 's'}"
        self.server.add_insecure_port(self.target)
        self.channel = grpc.aio.insecure_channel(self.target)

    def app(self, product: str = "synth") -> AppSide:
        """A new app."""
        return AppSide(self.channel, product)

    async def plug(self, key: FakeKey) -> str:
        """Plug a key in, and wait until the rack has it; its place."""
        place = self.bus.plug(key)
        await self.watch.next(
            lambda one: one.record.place is not None and one.record.place.bus_id == place
        )
        return place

    async def close(self) -> None:
        """End everything."""
        await self.channel.close()
        await self.server.stop(grace=0)
        await self.rack.stop()
        self._folder.cleanup()


@pytest.fixture
async def bridge() -> AsyncIterator[ServedBridge]:
    made = ServedBridge()
    await made.rack.start()
    await made.server.start()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def key(bridge: ServedBridge) -> FakeKey:
    """A key with a license for `synth`, not plugged in yet."""
    made = FakeKey()
    made.carry(bridge.publisher)
    return made
