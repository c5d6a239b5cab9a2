"""The emulated key as a device of a Linux kernel: found, bound to drivers, allowed by our udev rules, pulled and put back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from keypeg_bridge.emulator import control
from tests.bridge.emukey import Emukey
from tests.usb import kernel
from tests.usb.programs import Tools
from tests.usb.test_fido_tools import Account

pytestmark = pytest.mark.system

RULES = Path(__file__).resolve().parents[2] / "bridge" / "packaging" / "70-keypeg.rules"
HID, CCID = 1, 0


def properties(*words: str) -> str:
    """What udev knows of a device."""
    done = subprocess.run(
        ["udevadm", "info", "--query=all", *words], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.behaviour("KEY-10")
def test_the_kernel_takes_it_for_a_key_that_says_it_is_emulated(usb_key: Emukey) -> None:
    [key] = kernel.plugged_in()
    assert key.text("manufacturer") == "keypeg"
    assert key.text("product") == "keypeg emulated key"
    assert key.text("serial") == usb_key.ready["serial"]
    assert key.text("speed") == "12"
    assert key.drivers.get(HID) == "usbhid"
    assert key.drivers.get(CCID) in (None, "usbfs"), "the kernel itself has no driver for cards"
    assert key.node is not None
    [described] = (kernel.NODES / key.node.name / "device").glob("report_descriptor")
    assert described.read_bytes().startswith(bytes.fromhex("06d0f10901")), "a FIDO device"


@pytest.mark.behaviour("KEY-10")
def test_our_rules_give_the_key_to_whoever_sits_at_the_computer(usb_key: Emukey) -> None:
    shutil.copy(RULES, "/etc/udev/rules.d/")
    subprocess.run(["udevadm", "control", "--reload"], check=True)
    usb_key.unplug()
    kernel.all_gone()
    usb_key.plug()
    [key] = kernel.plugged_in()
    subprocess.run(["udevadm", "settle", "--timeout=30"], check=True)
    node = properties(f"--name={key.node}")
    assert "ID_FIDO_TOKEN=1" in node
    assert ":uaccess:" in node
    whole = properties(f"--path={key.folder}")
    assert "ID_USB_INTERFACES=:0b0000:030000:" in whole
    assert ":uaccess:" in whole


@pytest.mark.behaviour("KEY-10")
def test_it_can_be_pulled_and_put_back(usb_key: Emukey) -> None:
    places = set()
    for _ in range(3):
        [key] = kernel.plugged_in()
        places.add(key.text("devnum"))
        assert usb_key.status()["attached"] is True
        usb_key.unplug()
        kernel.all_gone()
        assert usb_key.status()["plugged"] is False
        usb_key.plug()
    kernel.plugged_in()
    assert len(places) == 3, "each time it is a new device"


@pytest.mark.behaviour("KEY-10")
def test_keys_of_one_process_are_devices_of_their_own_are_touched_and_leave_with_it(
    usb_key: Emukey, tmp_path: Path
) -> None:
    others = Emukey(tmp_path, "--vhci", "--keys", "2", "--touch", "command", name="others")
    tools = Tools(tmp_path)
    try:
        others.start()
        serials = {key.text("serial"): key for key in kernel.plugged_in(3)}
        assert set(serials) == {
            usb_key.ready["serial"],
            *(key["serial"] for key in others.ready["keys"]),
        }
        # The first of them waits for its finger; the program that asks goes on then, or can be ended.
        node = str(serials[others.ready["serial"]].node)
        request = Account(tools, "emil").request()
        made = tools.start("fido2-cred", "-M", "-i", request, "-o", "emil.made", node)
        kernel.until(lambda: others.status()["wants_touch"], "the key to want a touch")
        control.call(others.control, "touch", key="key-1")
        assert made.wait(kernel.SECONDS) == 0
        given_up = tools.start("fido2-cred", "-M", "-i", request, "-o", "no", node)
        kernel.until(lambda: others.status()["wants_touch"], "the key to want a touch")
        given_up.kill()
        given_up.wait(kernel.SECONDS)
        tools.run("fido2-token", "-I", node)
        others.kill()
        [left] = kernel.plugged_in(1)
        assert left.text("serial") == usb_key.ready["serial"]
    finally:
        others.discard()
