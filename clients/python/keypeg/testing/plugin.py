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
def key_lab(
    keypeg_key_lab: KeyLab, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KeyLab]:
    """A laboratory of keys whose every key is plugged in and works; faults end with the test, licenses stay.

    The test's environment, and so every app that it starts, knows this bridge and no other.
    """
    keypeg_key_lab.reset()
    with_server = "seat_server" in request.fixturenames
    for name, value in keypeg_key_lab.environment.items():
        if not (with_server and name in ("KEYPEG_SERVER", "KEYPEG_TOKEN")):
            monkeypatch.setenv(name, value)
    yield keypeg_key_lab
    keypeg_key_lab.reset()


@pytest.fixture(scope="session")
def keypeg_seat_server() -> Iterator[SeatServer]:
    """The server of the whole run."""
    with SeatServer() as server:
        yield server


@pytest.fixture
def seat_server(
    keypeg_seat_server: SeatServer,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> SeatServer:
    """A keypegd on loopback that shares seats, as on a LAN; seats that a test makes stay for those after it.

    The test's environment, and so every app that it starts, is signed in at this server and knows no other.
    """
    with_keys = "key_lab" in request.fixturenames
    for name, value in keypeg_seat_server.environment.items():
        if not (with_keys and name == "KEYPEG_BRIDGE"):
            monkeypatch.setenv(name, value)
    return keypeg_seat_server
