"""Fixtures of the use cases: an office of one's own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.server.service.office import Office


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    made = Office(tmp_path)
    await made.furnish()
    made.events.clear()
    yield made
    await made.close()
