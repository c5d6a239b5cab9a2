"""The way over USB/IP to a real keypeg-emukey process: pyusb's calls, unplugging, time limits, other hosts, broken servers."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import usb.core
import usb.util

from keypeg.clock import monotonic
from keypeg.management import DEFAULT_MANAGEMENT_KEY, respond
from keypeg_bridge.keys.opening import Drivers, open_driver
from keypeg_bridge.transport import usb_ccid, usbip_client, usbip_transfers
from keypeg_bridge.transport.backends import list_all, make_backend
from keypeg_bridge.transport.errors import (
    BackendUnavailable,
    DeviceBusy,
    DeviceGone,
    DeviceTimeout,
)
from keypeg_bridge.transport.ports import CardPipe, FoundDevice, Problem
from keypeg_bridge.transport.usbip_backend import UsbIpBackend
from keypeg_bridge.wire import piv, usbip
from tests.bridge.emukey import Emukey, running

SELECT = bytes.fromhex("00a404000b") + piv.AID + b"\x00"
GONE_SECONDS = 1.0


def pyusb_backend(key: Emukey) -> UsbIpBackend:
    host, port = key.address.rsplit(":", 1)
    return UsbIpBackend(host, int(port), monotonic)


@pytest.fixture
def device(emukey: Emukey) -> Iterator[Any]:
    """The key as pyusb finds it."""
    found = usb.core.find(backend=pyusb_backend(emukey), idVendor=0x1209)
    assert found is not None
    yield found
    usb.util.dispose_resources(found)


@pytest.mark.behaviour("KEY-10")
def test_pyusb_finds_the_key_and_its_strings(device: Any) -> None:
    assert (device.idVendor, device.idProduct) == (0x1209, 0x0001)
    assert (device.manufacturer, device.product) == ("keypeg", "keypeg emulated key")
    assert len(device.serial_number) == 10
    configuration = device[0]
    interface = configuration[(0, 0)]
    assert interface.bInterfaceClass == 0x0B
    assert [e.bEndpointAddress for e in interface] == [0x02, 0x82, 0x83]
    assert len(interface.extra_descriptors) == 54


def test_pyusb_configures_and_moves_bytes_in_packets(device: Any) -> None:
    device.set_configuration()
    assert device.get_active_configuration().bConfigurationValue == 1
    power_on = bytes.fromhex("62000000000001000000")
    assert device.write(0x02, power_on[:4]) == 4  # a message in two transfers
    assert device.write(0x02, power_on[4:]) == 6
    first = device.read(0x82, 10)
    rest = device.read(0x82, 64)
    assert first[0] == 0x80
    assert len(rest) == int.from_bytes(first[1:5], "little")


def test_a_stalled_pipe_is_cleared(device: Any) -> None:
    device.set_configuration()
    with pytest.raises(usb.core.USBError) as stalled:
        device.write(0x02, b"\x6f\xff\xff\xff\x7f" + bytes(5))
    assert stalled.value.errno == errno.EPIPE
    with pytest.raises(usb.core.USBError):
        device.write(0x02, bytes.fromhex("65000000000001000000"))
    device.clear_halt(0x02)
    device.clear_halt(0x82)
    device.write(0x02, bytes.fromhex("65000000000001000000"))
    assert device.read(0x82, 64)[0] == 0x81


def test_an_unknown_control_request_stalls(device: Any) -> None:
    with pytest.raises(usb.core.USBError) as stalled:
        device.ctrl_transfer(0xC0, 0x55, 0, 0, 8)
    assert stalled.value.errno == errno.EPIPE


def test_a_transfer_out_of_time_is_taken_back_and_the_next_works(device: Any) -> None:
    device.set_configuration()
    with pytest.raises(usb.core.USBTimeoutError):
        device.read(0x82, 64, timeout=20)
    device.write(0x02, bytes.fromhex("65000000000001000000"))
    assert device.read(0x82, 64)[0] == 0x81


def test_a_waiting_transfer_ends_when_the_key_is_pulled(emukey: Emukey, device: Any) -> None:
    device.set_configuration()
    device.read(0x83, 8)  # the first notice, that a card is in
    errors: list[usb.core.USBError] = []
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        try:
            device.read(0x83, 8, timeout=0)
        except usb.core.USBError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(5)
    emukey.unplug()
    thread.join(GONE_SECONDS)
    assert [e.errno for e in errors] == [errno.ENODEV]


def only_device(key: Emukey) -> tuple[Any, FoundDevice]:
    backend = make_backend(key.backend, monotonic)
    (found,), problems = backend.devices()
    assert problems == []
    return backend, found


def test_a_device_keeps_its_handle_until_it_is_replugged(emukey: Emukey) -> None:
    backend, found = only_device(emukey)
    assert backend.devices()[0] == [found]
    noticed = threading.Event()
    pipe = backend.open(found.handle, noticed.set)
    assert backend.devices()[0] == [found]  # also while it is open
    emukey.unplug()
    assert noticed.wait(GONE_SECONDS)
    assert backend.devices()[0] == []
    pipe.close()
    emukey.plug()
    (again,), _ = backend.devices()
    assert again.handle != found.handle
    assert again.serial == found.serial
    assert again.emulated
    with pytest.raises(DeviceGone):
        backend.open(found.handle)


def test_the_interrupt_pipe_also_tells_of_unplugging(emukey: Emukey) -> None:
    """The way that is used where there is no connection to watch, as over libusb."""
    device = usb.core.find(backend=pyusb_backend(emukey))
    noticed = threading.Event()
    pipe = usb_ccid.open_pipe(device, monotonic, on_gone=noticed.set, watch=None)
    assert pipe.exchange(SELECT, 5)[-2:] == b"\x90\x00"
    emukey.unplug()
    assert noticed.wait(GONE_SECONDS)
    assert pipe.gone
    pipe.close()


def test_one_host_at_a_time_holds_the_key(emukey: Emukey) -> None:
    backend, found = only_device(emukey)
    pipe = backend.open(found.handle)
    other = make_backend(emukey.backend, monotonic)
    listed, problems = other.devices()
    assert listed == []
    assert [p.backend for p in problems] == [emukey.backend]
    assert "holds the device" in problems[0].text
    pipe.close()
    assert len(other.devices()[0]) == 1


def test_contents_survive_a_killed_process(tmp_path: Path) -> None:
    with running(tmp_path) as key:
        backend, found = only_device(key)
        noticed = threading.Event()
        driver = open_driver(backend, found, Drivers(monotonic), noticed.set)
        card_id = driver.identity().card_id
        asked = driver.begin_authorization()
        answer = respond(asked.algorithm, DEFAULT_MANAGEMENT_KEY, asked.challenge)
        driver.finish_authorization(answer)
        point = driver.generate_identity_key()
        driver.write(1, b"a license")
        key.kill()
        assert noticed.wait(GONE_SECONDS)
        with pytest.raises(DeviceGone):
            driver.read(1)
        listing = list_all([backend])
        assert listing.devices == ()
        assert listing.failed == {key.backend}
        key.start()
        backend, found = only_device(key)
        again = open_driver(backend, found, Drivers(monotonic))
        assert again.identity().card_id == card_id
        assert again.identity().public_key == point
        assert again.read(1) == b"a license"
        again.close()


def test_a_broken_backend_hides_no_other(emukey: Emukey) -> None:
    class Broken:
        name = "broken"

        def devices(self) -> tuple[list[FoundDevice], list[Problem]]:
            raise RuntimeError("wires crossed")

        def open(self, handle: str, on_gone: Callable[[], None] | None = None) -> Any:
            raise AssertionError

        open_hid = open

    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    dead = make_backend(f"usbip:127.0.0.1:{port}", monotonic)
    listing = list_all([Broken(), dead, make_backend(emukey.backend, monotonic)])
    assert [d.backend for d in listing.devices] == [emukey.backend]
    assert listing.failed == {"broken", dead.name}
    assert "wires crossed" in listing.problems[0].text
    assert "Connection refused" in listing.problems[1].text


@pytest.mark.parametrize(
    "setting",
    ["", "usb", "usbip", "usbip:", "usbip:host", "usbip:host:0", "usbip:h:99999", "libusb:"],
)
def test_unknown_settings_are_refused_with_a_sentence(setting: str) -> None:
    with pytest.raises(ValueError, match="Use one of"):
        make_backend(setting, monotonic)


@contextmanager
def server(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """A USB/IP server that does one thing with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(10)
                    try:
                        behave(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def silence(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def endless(connection: socket.socket) -> None:
    connection.sendall(bytes.fromhex("0111000500000000ffffffff"))
    silence(connection)


@pytest.mark.behaviour("KEY-14")
@pytest.mark.parametrize("behave", [garbage, silence, endless, socket.socket.close])
def test_a_server_that_speaks_otherwise_is_reported(
    behave: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usbip_client, "OPERATION_SECONDS", 0.3)
    with server(behave) as port:
        with pytest.raises(BackendUnavailable):
            usbip_client.list_devices("127.0.0.1", port, monotonic)
        with pytest.raises(BackendUnavailable):
            usbip_client.import_device("127.0.0.1", port, "1-1", monotonic)


DEVICE = usbip.Device("/sys/x/1-1", "1-1", 1, 2, 2, 0x1209, 1, 0x0100)


def import_then(behave: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    def both(connection: socket.socket) -> None:
        connection.recv(40, socket.MSG_WAITALL)
        connection.sendall(usbip.ImportReply(0, DEVICE).encode())
        behave(connection)

    return both


def transfer(held: usbip_client.Imported) -> usbip.Returned:
    return held.transfer(2, usbip.DIRECTION_IN, 64, timeout=0.1)


def test_a_server_that_never_answers_transfers_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(usbip_client, "UNLINK_SECONDS", 0.2)
    with server(import_then(silence)) as port:
        held = usbip_client.import_device("127.0.0.1", port, "1-1", monotonic)
        with pytest.raises((DeviceGone, DeviceTimeout)):
            transfer(held)
        assert held.gone
        with pytest.raises(DeviceGone):
            transfer(held)
        held.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00" * 48,
        usbip.Returned(77, 0).encode(),
        usbip.Returned(1, 0, 4_000, bytes(4_000)).encode(),
        usbip.Returned(1, -errno.ENODEV).encode(),
    ],
    ids=["zeros", "never asked", "too much", "no device"],
)
def test_broken_answers_end_the_transfer(answer: bytes) -> None:
    def reply(connection: socket.socket) -> None:
        connection.recv(48, socket.MSG_WAITALL)
        connection.sendall(answer)
        silence(connection)

    with server(import_then(reply)) as port:
        held = usbip_client.import_device("127.0.0.1", port, "1-1", monotonic)
        with pytest.raises(DeviceGone):
            transfer(held)
        held.close()


def test_a_device_that_answers_nothing_is_reported_and_then_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(usbip_client, "UNLINK_SECONDS", 0.1)
    monkeypatch.setattr(usbip_transfers, "DESCRIPTOR_SECONDS", 0.1)
    imports: list[str] = []

    def serve(connection: socket.socket) -> None:
        request = connection.recv(8, socket.MSG_WAITALL)
        if request == usbip.ListRequest().encode():
            listed = replace(DEVICE, interfaces=((11, 0, 0),))
            connection.sendall(usbip.ListReply((listed,)).encode())
        else:
            imports.append("one")
            connection.recv(32, socket.MSG_WAITALL)
            connection.sendall(usbip.ImportReply(0, DEVICE).encode())
            silence(connection)

    with server(serve) as port:
        backend = make_backend(f"usbip:127.0.0.1:{port}", monotonic)
        for _ in range(3):
            found, problems = backend.devices()
            assert found == []
            assert "1209:0001: " in problems[0].text
            assert "no descriptors" in problems[0].text
        assert imports == ["one"]


def test_a_callback_may_close_the_pipe(emukey: Emukey) -> None:
    backend, found = only_device(emukey)
    closed = threading.Event()
    opened: list[CardPipe] = []

    def close() -> None:
        opened[0].close()
        closed.set()

    opened.append(backend.open(found.handle, close))
    emukey.unplug()
    assert closed.wait(GONE_SECONDS)
    with pytest.raises(DeviceGone):
        opened[0].exchange(SELECT, 1)


def test_closing_waits_for_an_exchange_and_takes_the_power(emukey: Emukey) -> None:
    backend, found = only_device(emukey)
    pipe = backend.open(found.handle)
    errors: list[Exception] = []
    begun = threading.Event()

    def work() -> None:
        try:
            while pipe.exchange(SELECT, 5):
                begun.set()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(5)
    pipe.close()
    thread.join(5)
    assert [type(e) for e in errors] == [DeviceGone]
    assert emukey.status()["attached"] is False


def test_an_answer_that_crosses_its_taking_back_counts() -> None:
    def reply(connection: socket.socket) -> None:
        connection.recv(48, socket.MSG_WAITALL)
        connection.recv(48, socket.MSG_WAITALL)  # the unlink
        connection.sendall(usbip.Returned(1, 0, 4, b"late").encode())
        connection.sendall(usbip.Unlinked(2, 0).encode())
        connection.recv(48, socket.MSG_WAITALL)
        connection.sendall(usbip.Returned(3, 0, 4, b"next").encode())
        silence(connection)

    with server(import_then(reply)) as port:
        held = usbip_client.import_device("127.0.0.1", port, "1-1", monotonic)
        assert transfer(held).data == b"late"
        assert transfer(held).data == b"next"
        held.close()


def test_a_device_in_use_is_told_from_one_that_is_not_there(emukey: Emukey) -> None:
    host, port = emukey.address.rsplit(":", 1)
    held = usbip_client.import_device(host, int(port), "1-1", monotonic)
    with pytest.raises(DeviceBusy):
        usbip_client.import_device(host, int(port), "1-1", monotonic)
    held.close()
    with pytest.raises(DeviceGone):
        usbip_client.import_device(host, int(port), "9-9", monotonic)
