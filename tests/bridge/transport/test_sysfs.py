"""Where a device node is plugged in, as the files below /sys tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from keypeg_bridge.transport import sysfs
from keypeg_bridge.transport.backends import usb_nodes


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    device = tmp_path / "devices" / "pci" / "usb1" / "1-1" / "1-1.4"
    hid = device / "1-1.4:1.1" / "0003:1209:0001.0005"
    hid.mkdir(parents=True)
    for name, text in {
        "busnum": "1\n", "devnum": "23\n", "idVendor": "1209\n", "idProduct": "00a1\n",
        "product": "A\x07 key\n", "serial": "0042\n",
    }.items():  # fmt: skip
        (device / name).write_text(text)
    for link, target in (("bus/usb/devices/1-1.4", device), ("class/hidraw/hidraw3/device", hid)):
        (tmp_path / link).parent.mkdir(parents=True)
        (tmp_path / link).symlink_to(target)
    return tmp_path


def test_an_interface_and_its_reader_are_at_the_same_spot(sys: Path) -> None:
    found = sysfs.behind_hidraw(b"/dev/hidraw3", sys)
    assert found == sysfs.at(1, 23, sys)
    assert found is not None
    assert (found.spot, found.vendor, found.product) == ("usb 1-23", 0x1209, 0xA1)
    assert (found.manufacturer, found.product_name, found.serial) == (None, "A key", "0042")


def test_what_is_not_there_or_tells_nonsense_is_unknown(sys: Path) -> None:
    assert sysfs.behind_hidraw(b"/dev/hidraw4", sys) is None
    assert sysfs.behind_hidraw(b"\xff\x00", sys) is None
    assert sysfs.at(1, 24, sys) is None
    assert sysfs.at(1, 23, sys / "none") is None
    (sys / "devices/pci/usb1/1-1/1-1.4/devnum").write_text("many")
    assert sysfs.behind_hidraw(b"/dev/hidraw3", sys) is None
    assert sysfs.at(1, 23, sys) is None


def test_nodes_of_devices_change_when_a_device_comes_or_goes(tmp_path: Path) -> None:
    (tmp_path / "001").mkdir()
    before = usb_nodes(tmp_path)
    assert before == frozenset()
    (tmp_path / "001" / "004").touch()
    assert usb_nodes(tmp_path) != before
    assert usb_nodes(tmp_path / "none") is None
