"""Cards of the card service: what is listed, what is held, how changes are noticed, and that a hanging card ends nobody's time."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from keypeg.clock import monotonic
from keypeg_bridge.transport import pcsc
from keypeg_bridge.transport.errors import (
    DeviceBusy,
    DeviceGone,
    DeviceRefused,
    DeviceTimeout,
    TransportError,
)
from keypeg_bridge.transport.ports import CARD, FoundDevice
from keypeg_bridge.transport.sysfs import UsbDevice
from tests.bridge.card_service import CardService

DEVICE = UsbDevice(1, 7, 0x1209, 1, "keypeg", "keypeg emulated key", "0000000042")
AT_DEVICE = pcsc.CHANNEL_USB << 16 | 1 << 8 | 7
OK = b"\x90\x00"


def echo(apdu: bytes) -> bytes:
    return apdu + OK


def usb_at(bus: int, address: int) -> UsbDevice | None:
    return DEVICE if (bus, address) == (1, 7) else None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pcsc, "RETRY", 0.01)


@pytest.fixture
def service() -> CardService:
    return CardService()


@pytest.fixture
def backend(service: CardService) -> pcsc.PcscBackend:
    return pcsc.PcscBackend(service, monotonic, usb_at)


def until(backend: pcsc.PcscBackend, wanted: Callable[[], bool]) -> None:
    """Look again at each change that the service tells of."""
    deadline = monotonic() + 10
    while True:
        backend.devices()
        if wanted():
            return
        assert monotonic() < deadline, "it was not told"
        backend.wait(1)


def cards(backend: pcsc.PcscBackend) -> list[FoundDevice]:
    found, problems = backend.devices()
    assert problems == []
    return found


def with_card(service: CardService, backend: pcsc.PcscBackend, answering=echo) -> FoundDevice:
    service.insert(service.plug("ACME reader (7) 00 00"), answering)
    until(backend, lambda: bool(cards(backend)))
    return cards(backend)[0]


def test_without_a_service_there_are_no_cards_and_nothing_is_held() -> None:
    service = CardService(running=False)
    backend = pcsc.PcscBackend(service, monotonic, usb_at)
    assert cards(backend) == []
    assert backend.shares().interfaces == frozenset()
    service.start()
    until(backend, lambda: backend.shares().interfaces == {CARD})
    service.plug("r", channel=AT_DEVICE)
    until(backend, lambda: backend.shares().spots == {"usb 1-7"})
    assert cards(backend) == []
    service.stop()
    until(backend, lambda: not backend.shares().interfaces)


def test_a_card_is_listed_by_what_its_usb_device_says_of_itself(
    service: CardService, backend: pcsc.PcscBackend
) -> None:
    service.insert(service.plug("Listed as something else 00 00", channel=AT_DEVICE), echo)
    until(backend, lambda: bool(cards(backend)))
    (found,) = cards(backend)
    assert (found.product_name, found.serial, found.emulated) == (
        "keypeg emulated key",
        "0000000042",
        True,
    )
    assert found.spot == "usb 1-7"
    assert found.interfaces == {CARD}


def test_a_reader_that_tells_no_place_is_known_by_its_name(
    service: CardService, backend: pcsc.PcscBackend
) -> None:
    found = with_card(service, backend)
    assert (found.product_name, found.serial, found.spot) == ("ACME reader (7)", "7", "")
    assert found.alike == "7"
    assert not found.emulated
    service.insert(service.plug("Virtual PCD 00 01"), echo)
    until(backend, lambda: len(cards(backend)) == 2)
    assert cards(backend)[1].emulated


def test_a_card_that_comes_back_is_another_one_and_the_first_is_gone(
    service: CardService, backend: pcsc.PcscBackend
) -> None:
    found = with_card(service, backend)
    gone = threading.Event()
    pipe = backend.open(found.handle, gone.set)
    assert pipe.exchange(b"\x00\x01", 5) == b"\x00\x01" + OK
    reader = service.readers["ACME reader (7) 00 00"]
    service.take_out(reader)
    assert gone.wait(10)
    assert pipe.gone
    with pytest.raises(DeviceGone):
        pipe.exchange(b"\x00", 5)
    service.insert(reader, echo)
    until(backend, lambda: bool(cards(backend)))
    assert cards(backend)[0].handle != found.handle
    with pytest.raises(DeviceGone):
        backend.open(found.handle)
    service.unplug(reader)
    until(backend, lambda: not cards(backend))


def test_a_card_left_in_its_reader_is_noticed_by_nobody_and_reset_at_the_end(
    service: CardService, backend: pcsc.PcscBackend
) -> None:
    found = with_card(service, backend)
    gone = threading.Event()
    pipe = backend.open(found.handle, gone.set)
    pipe.exchange(b"\x00", 5)
    pipe.restart()
    pipe.close()
    pipe.close()
    with pytest.raises(DeviceGone):
        pipe.exchange(b"\x00", 5)
    events = service.readers["ACME reader (7) 00 00"].events
    settled(lambda: events[-1] == "reset")
    assert events == ["connect", "begin", "end", "power", "reset"]
    assert not gone.is_set()


def test_a_card_that_hangs_ends_the_exchange_and_not_the_time_of_others(
    service: CardService, backend: pcsc.PcscBackend
) -> None:
    hang = threading.Event()
    found = with_card(service, backend, lambda apdu: OK if hang.wait(20) else b"")
    pipe = backend.open(found.handle)
    for _ in range(2):
        with pytest.raises(DeviceTimeout):
            pipe.exchange(b"\x00", 0.02)
    pipe.close()
    hang.set()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (CardService.SCARD_W_RESET_CARD, TransportError),
        (CardService.SCARD_E_SERVICE_STOPPED, TransportError),
        (CardService.SCARD_W_REMOVED_CARD, DeviceGone),
        (4711, TransportError),
    ],
)
def test_what_the_service_answers_is_told_in_words(
    service: CardService, backend: pcsc.PcscBackend, code: int, error: type[Exception]
) -> None:
    pipe = backend.open(with_card(service, backend).handle)
    service.failing = code
    with pytest.raises(error) as told:
        pipe.exchange(b"\x00", 5)
    assert type(told.value) is error
    assert str(told.value).endswith(".")
    pipe.close()


def test_a_card_that_another_program_has_for_itself_is_busy(
    service: CardService, backend: pcsc.PcscBackend
) -> None:
    found = with_card(service, backend)
    service.failing = CardService.SCARD_E_SHARING_VIOLATION
    with pytest.raises(DeviceBusy, match="Close that program"):
        backend.open(found.handle)


def test_there_are_no_security_keys_behind_a_card_service(backend: pcsc.PcscBackend) -> None:
    with pytest.raises(DeviceRefused):
        backend.open_hid("h")


def settled(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + 10
    while not condition():
        assert monotonic() < deadline
        threading.Event().wait(0.005)
