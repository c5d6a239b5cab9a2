"""FIDO interfaces through hidapi: what is listed, how departures are noticed, and why a key cannot be opened."""

from __future__ import annotations

import threading

import pytest

from keypeg_bridge.transport import hid_pipe, hidapi
from keypeg_bridge.transport.backends import list_all, make_backend
from keypeg_bridge.transport.errors import (
    BackendUnavailable,
    DeviceBusy,
    DeviceGone,
    DeviceRefused,
    DeviceTimeout,
)
from keypeg_bridge.transport.permissions import not_permitted
from keypeg_bridge.transport.ports import FIDO
from keypeg_bridge.transport.sysfs import UsbDevice
from tests.bridge.hid_library import HidLibrary

REPORT = bytes(range(64))


def echo(report: bytes) -> list[bytes]:
    return [report]


@pytest.fixture(autouse=True)
def quick_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hid_pipe, "WATCH_MS", 10)


@pytest.fixture
def library() -> HidLibrary:
    return HidLibrary()


@pytest.fixture
def backend(library: HidLibrary) -> hidapi.HidapiBackend:
    return hidapi.HidapiBackend(
        library, node=library.node, nodes=library.nodes, may_open=library.may_open
    )


def test_only_fido_interfaces_are_listed(
    library: HidLibrary, backend: hidapi.HidapiBackend
) -> None:
    library.plug(echo, b"/dev/hidraw0", usage_page=1, usage=6)
    library.plug(echo, b"/dev/hidraw1", serial_number="42", product_string="A\x00key" + "x" * 200)
    found, problems = backend.devices()
    assert problems == []
    assert [(one.serial, one.interfaces, one.emulated) for one in found] == [
        ("42", frozenset({FIDO}), False)
    ]
    assert found[0].product_name == "Akey" + "x" * 121
    with pytest.raises(DeviceRefused, match="card"):
        backend.open(found[0].handle)


def test_the_emulated_key_is_known_by_its_strings(
    library: HidLibrary, backend: hidapi.HidapiBackend
) -> None:
    library.plug(echo, manufacturer_string="keypeg", product_string="keypeg emulated key")
    assert backend.devices()[0][0].emulated


def test_an_interface_is_where_its_usb_device_is(library: HidLibrary) -> None:
    def behind(path: bytes) -> UsbDevice | None:
        return UsbDevice(1, 7, 1, 2) if path == b"/dev/hidraw1" else None

    backend = hidapi.HidapiBackend(
        library, node=library.node, nodes=library.nodes, behind=behind, may_open=library.may_open
    )
    library.plug(echo, b"/dev/hidraw1")
    library.plug(echo, b"/dev/hidraw2", serial_number="42")
    found, _ = backend.devices()
    assert [one.spot for one in found] == ["usb 1-7", ""]
    assert [one.alike for one in found] == ["", "42"]


def test_reports_go_out_and_come_in(library: HidLibrary, backend: hidapi.HidapiBackend) -> None:
    library.plug(echo)
    pipe = backend.open_hid(backend.devices()[0][0].handle)
    pipe.write(REPORT, 1)
    assert pipe.read(1) == REPORT
    with pytest.raises(DeviceTimeout):
        pipe.read(0.01)
    pipe.close()
    pipe.close()
    with pytest.raises(DeviceGone):
        pipe.write(REPORT, 1)


@pytest.mark.parametrize("listed", [False, True], ids=["forgotten", "still listed"])
def test_an_unplugged_key_is_noticed_by_whoever_holds_it(
    library: HidLibrary, backend: hidapi.HidapiBackend, listed: bool
) -> None:
    key = library.plug(echo)
    device = backend.devices()[0][0]
    noticed = threading.Event()
    pipe = backend.open_hid(device.handle, noticed.set)
    library.pull(key, listed=listed)
    assert noticed.wait(1)
    assert pipe.gone
    with pytest.raises(DeviceGone):
        pipe.read(1)
    with pytest.raises(DeviceGone):
        pipe.write(REPORT, 1)
    assert backend.devices()[0] == []
    with pytest.raises(DeviceGone):
        backend.open_hid(device.handle)
    pipe.close()


def test_a_write_that_fails_without_an_exception_is_a_departure(
    library: HidLibrary, backend: hidapi.HidapiBackend
) -> None:
    key = library.plug(echo)
    noticed = threading.Event()
    pipe = backend.open_hid(backend.devices()[0][0].handle, noticed.set)
    key.plugged = False
    library.keys.remove(key)  # and its reader has not heard of it
    with pytest.raises(DeviceGone):
        pipe.write(REPORT, 1)
    assert noticed.is_set()
    pipe.close()


def test_a_replugged_key_on_the_same_path_is_a_new_device(
    library: HidLibrary, backend: hidapi.HidapiBackend
) -> None:
    first = library.plug(echo)
    old = backend.devices()[0][0].handle
    assert backend.devices()[0][0].handle == old
    library.pull(first)
    library.plug(echo)
    with pytest.raises(DeviceGone):
        backend.open_hid(old)
    new = backend.devices()[0][0].handle
    assert new != old
    backend.open_hid(new).close()


def test_the_library_is_spared_while_the_same_nodes_are_there(
    library: HidLibrary, backend: hidapi.HidapiBackend
) -> None:
    library.plug(echo)
    listed = [backend.devices()[0] for _ in range(50)]
    assert all(one == listed[0] for one in listed)
    assert library.asked <= hidapi.SETTLED_LOOKS + 1
    second = library.plug(echo, b"/dev/hidraw4")
    assert len(backend.devices()[0]) == 2
    library.pull(second)
    assert backend.devices()[0] == listed[0]
    assert hidapi.nodes_there("linux") is not None
    assert hidapi.nodes_there("win32") is None


def test_closing_calls_nobody(library: HidLibrary, backend: hidapi.HidapiBackend) -> None:
    key = library.plug(echo)
    noticed = threading.Event()
    pipe = backend.open_hid(backend.devices()[0][0].handle, noticed.set)
    pipe.close()
    library.pull(key)
    assert not noticed.is_set()


def test_missing_rights_name_the_udev_rule(
    library: HidLibrary, backend: hidapi.HidapiBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    key = library.plug(echo)
    key.allowed = False
    handle = backend.devices()[0][0].handle
    with pytest.raises(DeviceRefused, match=r"/dev/hidraw3.*70-keypeg\.rules"):
        backend.open_hid(handle)
    key.allowed, key.held = True, True
    with pytest.raises(DeviceBusy, match="Another program"):
        backend.open_hid(handle)


def test_each_system_is_told_what_to_do_about_missing_rights() -> None:
    said = {not_permitted("the key", one) for one in ("linux", "win32", "darwin", "plan9")}
    assert len(said) == 4
    assert all(one.startswith("No permission to open the key. ") for one in said)


def test_a_library_that_fails_hides_no_other_way(
    library: HidLibrary, backend: hidapi.HidapiBackend
) -> None:
    other = HidLibrary()
    other.plug(echo)
    well = hidapi.HidapiBackend(other, node=other.node, nodes=other.nodes, may_open=other.may_open)
    library.problem = OSError("no udev")
    listing = list_all([backend, well])
    assert len(listing.devices) == 1
    assert [one.text for one in listing.problems] == ["hidapi: no udev"]


def test_linux_takes_the_flavour_that_knows_usages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hidapi.load_library("linux").__name__ == "hidraw"
    assert hidapi.load_library("darwin").__name__ == "hid"
    monkeypatch.setitem(__import__("sys").modules, "hidraw", None)
    with pytest.raises(BackendUnavailable, match="hidraw"):
        hidapi.load_library("linux")


def test_the_installed_library_lists_what_is_there() -> None:
    assert isinstance(make_backend("hidapi", lambda: 0.0).devices(), tuple)
