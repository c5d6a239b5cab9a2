"""The parts of a computer, read from trees made for the purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from keypeg import fingerprint, hostinfo


@pytest.fixture
def root(tmp_path: Path) -> Path:
    def put(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    put("etc/machine-id", "0123456789abcdef\n")
    put("sys/class/dmi/id/board_serial", "4711-0815\n")
    put("sys/class/dmi/id/product_name", "Workbench 9\n")
    put("sys/block/sda/removable", "1\n")
    put("sys/block/sda/device/serial", "a stick\n")
    put("sys/block/sdb/removable", "0\n")
    put("sys/block/sdb/device/wwid", "naa.5000c500\n")
    put("sys/class/net/docker0/address", "02:42:ac:11:00:02\n")
    put("sys/class/net/eth0/address", "00:16:3e:12:34:56\n")
    put("sys/class/net/eth0/device/vendor", "0x8086\n")
    put("proc/cpuinfo", "processor : 0\nmodel name : Fast 3000\n")
    return tmp_path


def test_every_part_is_read_and_what_can_be_taken_out_is_not(root):
    assert hostinfo.parts(root) == {
        "machine_id": "0123456789abcdef",
        "board": "4711-0815",
        "disk": "naa.5000c500",
        "mac": "00:16:3e:12:34:56",
        "model": "Workbench 9",
        "cpu": "Fast 3000",
    }


def test_an_address_that_was_made_up_tells_nothing(root):
    (root / "sys/class/net/eth0/address").write_text("02:16:3e:12:34:56")
    assert "mac" not in hostinfo.parts(root)
    (root / "sys/class/net/eth0/address").write_text("nonsense")
    assert "mac" not in hostinfo.parts(root)


def test_a_computer_that_tells_nothing_has_no_parts(tmp_path):
    assert hostinfo.parts(tmp_path) == {}


def test_this_computer_can_be_known_again():
    parts = hostinfo.parts()
    made = fingerprint.make({**parts, "test": "always there"}, bytes(16))
    assert fingerprint.check(made, {**parts, "test": "always there"}).enough
    assert 0 < len(hostinfo.host_name()) <= 255
