"""Where the tests of this folder run, and what stands in both places: the card service with an emulated card, other people's tools.

Promises: outside the guest nothing of this folder touches the computer's own USB, card service or network.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import card_service as service
from tests.bridge.emukey import Emukey
from tests.usb.programs import Tools

IN_GUEST = "KEYPEG_USB_LAB" in os.environ
"""Whether this is the guest of tools/usb_lab, whose kernel, devices and services are the tests' own."""

# What needs a kernel of its own; `make test-usb` runs it.
collect_ignore = [] if IN_GUEST else ["test_kernel.py", "test_fido_tools.py", "test_the_bridge.py"]

DRIVER_LIST = Path("/etc/libccid_Info.plist")
VIRTUAL_READERS = Path("/etc/reader.conf.d/vpcd")


def know_the_reader() -> None:
    """Have the card service's USB driver take our reader, and no virtual ones: it takes those on its list, whatever their class."""
    VIRTUAL_READERS.unlink(missing_ok=True)
    text = DRIVER_LIST.read_text()
    for name, value in (
        ("ifdVendorID", "0x1209"),
        ("ifdProductID", "0x0001"),
        ("ifdFriendlyName", "keypeg emulated key"),
    ):
        text = re.sub(
            rf"(<key>{name}</key>\s*<array>)", rf"\1\n<string>{value}</string>", text, count=1
        )
    DRIVER_LIST.write_text(text)


@pytest.fixture(scope="session")
def udev() -> Iterator[None]:
    """The system's device manager, as at every boot: it makes events of what the kernel says, and the card service hears those."""
    subprocess.run(["/lib/systemd/systemd-udevd", "--daemon"], check=True)
    subprocess.run(["udevadm", "trigger", "--subsystem-match=usb"], check=True)
    yield
    subprocess.run(["udevadm", "control", "--exit"], check=False)


@pytest.fixture(scope="session")
def usb_key(udev: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emukey]:
    """The key that all tests in the guest share, plugged into its kernel: starting one takes seconds there."""
    key = Emukey(tmp_path_factory.mktemp("key"), "--vhci", "--profile", "token-3des")
    try:
        yield key.start()
    finally:
        key.stop()
        key.discard()


@dataclass(frozen=True)
class CardPlace:
    """A card service with one reader, in which the emulated key is."""

    key: Emukey
    tools: Tools
    reader: str


@pytest.fixture(scope="module")
def card_place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CardPlace]:
    folder = tmp_path_factory.mktemp("cards")
    with ExitStack() as stack:
        under: tuple[str, ...] = ()
        if IN_GUEST:
            know_the_reader()
            key: Emukey = request.getfixturevalue("usb_key")
            reader = "keypeg emulated key"
            stack.enter_context(service.card_service())
        else:
            under = stack.enter_context(service.room())
            stack.enter_context(service.card_service(under))
            arguments = ("--vpicc", service.VPCD, "--profile", "token-3des")
            key = Emukey(folder, *arguments, under=under)
            stack.callback(key.discard)
            stack.callback(key.stop)
            key.start()
            reader = "Virtual PCD 00 00"
        tools = Tools(folder, under)
        tools.until("Yes ", "opensc-tool", "--list-readers")
        yield CardPlace(key, tools, reader)
