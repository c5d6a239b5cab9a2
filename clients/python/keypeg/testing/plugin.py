"""Fixtures for the tests of an app, under pytest: an emulated key with its bridge, and seats of a server on the LAN.

Promises: nothing starts unless a test asks for it; the programs are started once a run, and every test begins with all
keys plugged in, no fault active and no script running. Each fixture says what it gives.

Leaves to others: being found. It is asked for, by `pytest_plugins = ["keypeg.testing.plugin"]` in the conftest.py of the
tests or `-p keypeg.testing.plugin`: keypeg is installed beside apps, and must not load itself into everybody's tests.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from keypeg.testing.lab import KeyLab
from keypeg.testing.seat_server import SeatServer


@pytest.fixture(scope="session")
def keypeg_key_lab() -> Iterator[KeyLab]:
    """The laboratory of the whole run; override it for other keys, as in `KeyLab(keys=3, seed=7)`."""
    with KeyLab() as lab:
        yield lab


@pytest.fixture
def key_lab(keypeg_key_lab: KeyLab) -> Iterator[KeyLab]:
    """A laboratory of keys whose every key is plugged in and works; faults end with the test, licenses stay."""
    keypeg_key_lab.reset()
    yield keypeg_key_lab
    keypeg_key_lab.reset()


@pytest.fixture(scope="session")
def keypeg_seat_server() -> Iterator[SeatServer]:
    """The server of the whole run."""
    with SeatServer() as server:
        yield server


@pytest.fixture
def seat_server(keypeg_seat_server: SeatServer) -> SeatServer:
    """A keypegd on loopback that shares seats, as on a LAN; each test gives itself pools of its own products."""
    return keypeg_seat_server
