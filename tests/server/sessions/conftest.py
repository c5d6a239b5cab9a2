"""A real gRPC server on loopback with a real SQLite file; only licenses, signing and time are stand-ins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.server.sessions.world import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "keypeg.db")
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
