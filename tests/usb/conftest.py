"""Where the tests of this folder run, and what stands in both places: the card service with an emulated card, other people's tools.

Promises: outside the guest nothing of this folder touches the computer's own USB, card service or network.
"""

from __future__ import annotations

import os
import re
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
collect_ignore = [] if IN_GUEST else ["test_kernel.py", "test_fido_tools.py", "test_bridge.py"]

DRIVER_LIST = Path("/etc/libccid_Info.plist")


def know_the_reader() -> None:
    """Have the card service's USB driver take our reader: it takes those on its list, whatever their class."""
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


@dataclass(frozen=True)
class CardPlace:
    """A card service with one reader, in which the emulated key is."""

    key: Emukey
    tools: Tools
    reader: str


@pytest.fixture(scope="module")
def card_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CardPlace]:
    folder = tmp_path_factory.mktemp("cards")
    profile = ("--profile", "token-3des")
    with ExitStack() as stack:
        if IN_GUEST:
            know_the_reader()
            key = Emukey(folder, "--vhci", *profile)
            under: tuple[str, ...] = ()
            reader = "keypeg emulated key"
            stack.enter_context(service.card_service())
        else:
            under = stack.enter_context(service.room())
            key = Emukey(folder, "--vpicc", service.VPCD, *profile, under=under)
            reader = "Virtual PCD 00 00"
            stack.enter_context(service.card_service(under))
        stack.callback(key.discard)
        stack.callback(key.stop)
        key.start()
        tools = Tools(folder, under)
        tools.run("opensc-tool", "--wait", "--reader", "0", "--atr")
        yield CardPlace(key, tools, reader)
