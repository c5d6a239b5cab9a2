"""Fixtures of the bridge's tests: an emulated key in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridge.emukey import Emukey, running


@pytest.fixture
def emukey(tmp_path: Path) -> Iterator[Emukey]:
    """A fresh emulated key, served and plugged in."""
    with running(tmp_path) as key:
        yield key
