"""FIDO interfaces over interrupt endpoints: which interface is one, and how a device stalls, answers short, and leaves."""

from __future__ import annotations

import array
import errno
import queue
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from usb.core import USBError, USBTimeoutError

from keypeg_bridge.transport import hid_pipe
from keypeg_bridge.transport.errors import (
    DeviceBusy,
    DeviceGone,
    DeviceRefused,
    DeviceTimeout,
    TransportError,
)
from keypeg_bridge.transport.usb_hid import fido_interface, open_hid_pipe
from keypeg_bridge.wire import ctaphid

KEYBOARD = bytes.fromhex("05010906a101050719e029e715002501750195088102c0")
REPORT = bytes(range(64))


@pytest.fixture(autouse=True)
def quick_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hid_pipe, "WATCH_MS", 10)


class Interface:
    def __init__(self, number: int, endpoints: list[Any], kind: int = 3) -> None:
        self.bInterfaceNumber = number
        self.bInterfaceClass = kind
        self._endpoints = endpoints

    def __iter__(self) -> Iterator[Any]:
        return iter(self._endpoints)


class Device:
    """As much of a pyusb device as is used: HID interface 0, which says `descriptor` of itself."""

    def __init__(self, descriptor: bytes = ctaphid.REPORT_DESCRIPTOR, packet: int = 64) -> None:
        self.descriptor = descriptor
        self.descriptor_error: Exception | None = None
        self.claim_error: Exception | None = None
        self.answers: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        self.write_error: Exception | None = None
        self.sent: list[bytes] = []
        self.cleared: list[int] = []
        self.let_go = False
        self.drained = threading.Event()
        endpoints = [
            SimpleNamespace(
                bEndpointAddress=address, bmAttributes=3, wMaxPacketSize=packet,
                write=self._write, read=self._read,
                clear_halt=lambda address=address: self.cleared.append(address),
            )
            for address in (0x04, 0x84)
        ]  # fmt: skip
        self.interface = Interface(0, endpoints)
        self._ctx = SimpleNamespace(managed_claim_interface=self._claim, dispose=self._dispose)

    def __iter__(self) -> Iterator[list[Any]]:
        return iter([[self.interface]])

    def get_active_configuration(self) -> None:
        """It is configured."""

    def ctrl_transfer(self, kind: int, request: int, value: int, index: int, *rest: int) -> Any:
        assert (kind, request, value, index) == (0x81, 6, 0x2200, 0)
        if self.descriptor_error is not None:
            raise self.descriptor_error
        return array.array("B", self.descriptor)

    def _claim(self, device: object, interface: int) -> None:
        if self.claim_error is not None:
            raise self.claim_error

    def _dispose(self, device: object) -> None:
        self.let_go = True

    def _write(self, report: bytes, timeout: int) -> None:
        if self.write_error is not None:
            raise self.write_error
        self.sent.append(report)

    def _read(self, size: int, timeout: int) -> Any:
        try:
            answer = self.answers.get(timeout=timeout / 1000)
        except queue.Empty:
            self.drained.set()
            raise USBTimeoutError("nothing", None, errno.ETIMEDOUT) from None
        if isinstance(answer, Exception):
            raise answer
        return array.array("B", answer)


GONE = USBError("no such device", None, errno.ENODEV)
STALL = USBError("pipe", None, errno.EPIPE)
BUSY = USBError("busy", None, errno.EBUSY)


def test_an_interface_is_taken_by_what_it_says_of_itself() -> None:
    assert fido_interface(Device()) is not None
    assert fido_interface(Device(KEYBOARD)) is None
    assert fido_interface(Device(b"")) is None
    assert fido_interface(Device(packet=8)) is None


@pytest.mark.parametrize("error", [BUSY, STALL, NotImplementedError("no")], ids=repr)
def test_an_interface_that_the_systems_driver_holds_is_left_to_it(error: Exception) -> None:
    device = Device()
    device.descriptor_error = error
    assert fido_interface(device) is None
    with pytest.raises(DeviceRefused, match="free"):
        open_hid_pipe(device)
    assert device.let_go


def test_one_that_leaves_while_it_is_asked_is_gone() -> None:
    device = Device()
    device.descriptor_error = GONE
    with pytest.raises(DeviceGone):
        fido_interface(device)


def test_an_interface_that_is_taken_in_between_is_busy() -> None:
    device = Device()
    device.claim_error = BUSY
    with pytest.raises(DeviceBusy):
        open_hid_pipe(device)
    assert device.let_go


def test_reports_go_both_ways_until_it_is_closed() -> None:
    device = Device()
    pipe = open_hid_pipe(device)
    pipe.write(REPORT, 1)
    assert device.sent == [REPORT]
    device.answers.put(REPORT)
    assert pipe.read(1) == REPORT
    with pytest.raises(DeviceTimeout):
        pipe.read(0.02)
    pipe.close()
    assert device.let_go
    with pytest.raises(DeviceGone):
        pipe.read(1)


def test_a_departure_is_noticed_while_nobody_asks() -> None:
    device = Device()
    noticed = threading.Event()
    pipe = open_hid_pipe(device, on_gone=noticed.set)
    device.answers.put(GONE)
    assert noticed.wait(2)
    with pytest.raises(DeviceGone):
        pipe.read(1)
    pipe.close()


def test_with_a_watch_of_its_own_nothing_is_read_unasked() -> None:
    device = Device()
    callbacks: list[Callable[[], None]] = []
    noticed = threading.Event()
    pipe = open_hid_pipe(device, on_gone=noticed.set, watch=callbacks.append)
    device.answers.put(REPORT)
    assert pipe.read(1) == REPORT
    callbacks[0]()
    assert noticed.is_set()
    with pytest.raises(DeviceGone):
        pipe.write(REPORT, 1)
    pipe.close()


def test_a_stall_is_cleared_and_said() -> None:
    device = Device()
    pipe = open_hid_pipe(device, watch=lambda callback: None)
    device.answers.put(STALL)
    with pytest.raises(TransportError):
        pipe.read(1)
    device.write_error = STALL
    with pytest.raises(TransportError):
        pipe.write(REPORT, 1)
    assert device.cleared == [0x84, 0x04]
    pipe.close()


def test_a_reader_that_failed_says_why() -> None:
    device = Device()
    pipe = open_hid_pipe(device)
    device.answers.put(STALL)
    for _ in range(2):
        with pytest.raises(TransportError, match=r"pipe|transfer failed"):
            pipe.read(2)
    assert not pipe.gone
    pipe.close()


def test_what_nobody_reads_makes_room_for_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hid_pipe, "QUEUE_REPORTS", 4)
    device = Device()
    for number in range(9):
        device.answers.put(bytes([number]) * 64)
    pipe = open_hid_pipe(device)
    assert device.drained.wait(5)
    got = [pipe.read(1)[0]]
    while got[-1] != 8:
        got.append(pipe.read(1)[0])
    assert got == [5, 6, 7, 8]
    pipe.close()
