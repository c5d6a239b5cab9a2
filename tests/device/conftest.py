"""The key that was asked for by its serial number, found on whatever way reaches it; the run ends when it is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from keypeg.clock import monotonic
from keypeg_bridge.keys.driver import KeyDriver
from keypeg_bridge.keys.errors import KeyDriverError
from keypeg_bridge.keys.opening import INTERFACES, Drivers, open_driver
from keypeg_bridge.transport import pcsc
from keypeg_bridge.transport.backends import make_backend
from keypeg_bridge.transport.errors import TransportError
from keypeg_bridge.transport.ports import Backend, FoundDevice


@dataclass(frozen=True)
class RealKey:
    """Where the key is, and how it is opened."""

    backend: Backend
    device: FoundDevice
    drivers: Drivers

    def open(self) -> KeyDriver:
        """Its driver; the caller closes it."""
        return open_driver(self.backend, self.device, self.drivers)


def ways(chosen: str) -> list[str]:
    """The ways to look, the preferred first."""
    usual = ["hidapi", "libusb"]
    return [chosen] if chosen else (["pcsc", *usual] if pcsc.is_installed() else usual)


@pytest.fixture(scope="session")
def real_key(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealKey]:
    serial = request.config.getoption("--device")
    driver = request.config.getoption("--device-driver")
    drivers = Drivers(monotonic, tmp_path_factory.mktemp("shelf"), (driver,))
    seen: list[str] = []
    with ExitStack() as stack:
        for way in ways(request.config.getoption("--device-backend")):
            backend = make_backend(way, monotonic)
            if close := getattr(backend, "close", None):
                stack.callback(close)
            devices, problems = backend.devices()
            seen += [f"{way}: {problem}" for problem in problems]
            for device in devices:
                if INTERFACES[driver] not in device.interfaces:
                    continue
                key = RealKey(backend, device, drivers)
                found = said_serial(key, seen)
                seen.append(f"{way}: {device.product_name}, serial {found}")
                if found == serial:
                    yield key
                    return
    pytest.exit(f"No key with serial {serial} and a {driver} side. Seen: {seen or 'none'}.", 2)


def said_serial(key: RealKey, problems: list[str]) -> str | None:
    """What the key's USB descriptor says, or else the key itself."""
    if key.device.serial:
        return key.device.serial
    try:
        driver = key.open()
    except (KeyDriverError, TransportError) as error:
        problems.append(str(error))
        return None
    try:
        return driver.identity().serial
    finally:
        driver.close()


@pytest.fixture
def driver(real_key: RealKey) -> Iterator[KeyDriver]:
    opened = real_key.open()
    yield opened
    opened.close()


@pytest.fixture
def may_erase(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--device-erase"):
        pytest.skip("NOT RUN: it replaces what is on the key. Allow it with --device-erase.")


Note = Callable[[str], None]


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Note:
    """Say something to whoever runs the tests, at once."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", end="")

    return say
