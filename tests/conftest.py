"""What every test of the project shares: the behaviour markers, real keys only on demand, hypothesis.

Promises: tests below tests/device are collected only with `--device SERIAL`; a test that hangs ends the
run with every thread's stack (faulthandler settings in pyproject.toml); compiled code is kept; files whose tests mostly wait for
whole processes come first, so that no worker is left alone with one of them at the end.

Leaves to others: fixtures, which live in the conftest.py of the room that they serve.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import behaviours_plugin

# Whatever the environment says: hundreds of programs are started, and each would compile keypeg for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# What is signed in here is kept away from the keyring of whoever runs the tests.
os.environ.pop("DBUS_SESSION_BUS_ADDRESS", None)
os.environ["KEYPEG_TOKENS"] = "file"

DEVICE_TESTS = Path(__file__).parent / "device"

# By what they wait for, the longest first.
WAITING = (
    "tests/system/test_seats.py",
    "tests/system/test_seats_and_clocks.py",
    "tests/server/test_program.py",
    "tests/test_seatcheck_runs.py",
    "tests/system/",
    "tests/server/test_backup.py",
    "tests/bridge/test_faults_of_keys.py",
    "tests/bridge/test_bridge_process.py",
    "tests/client/test_labs_page.py",
)

if "KEYPEG_USB_LAB" not in os.environ:  # there nothing uses it, and loading it takes seconds
    from hypothesis import HealthCheck, settings

    # No deadline: this project's machines are shared, and a slow example is not a wrong one.
    settings.register_profile("keypeg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("keypeg")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Thousands of tests stay until the end: nobody looks for garbage among them, neither now nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def made_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that `keypegd init` has made, to be copied: making one takes a second."""
    from lab.processes import Lab  # loads gRPC, which not every run of tests needs
    from lab.world import make_data

    folder = tmp_path_factory.mktemp("made")
    with Lab(folder) as lab:
        make_data(lab, folder / "data")
    return folder / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    behaviours_plugin.add_option(parser)
    parser.addoption(
        "--device", metavar="SERIAL", help="also run tests/device, on the real key with this serial"
    )
    parser.addoption(
        "--device-driver", default="piv", help="its side: piv, smartkey or fido2 (piv)"
    )
    parser.addoption(
        "--device-backend",
        default="",
        help="how it is reached: pcsc, hidapi, libusb, usbip:HOST:PORT",
    )
    parser.addoption(
        "--device-erase",
        action="store_true",
        help="let the tests enroll it: its identity key, certificate and first slots are replaced",
    )


def pytest_configure(config: pytest.Config) -> None:
    behaviours_plugin.register(config)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path.is_relative_to(DEVICE_TESTS) and not config.getoption("--device"):
        return True
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stable: within a file, and among the others, the order stays."""

    def rank(item: pytest.Item) -> int:
        return next((i for i, begin in enumerate(WAITING) if item.nodeid.startswith(begin)), 99)

    items.sort(key=rank)
