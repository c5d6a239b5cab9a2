"""The CCID pipe on a device in this process: readers that are odd, slow, stalled, empty, or send any bytes at all."""

from __future__ import annotations

import array
import contextlib
import errno
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usb.core import USBError, USBTimeoutError

from keypeg_bridge.emulator.ccid_reader import CcidReader, Level
from keypeg_bridge.transport.errors import (
    DeviceBusy,
    DeviceGone,
    DeviceRefused,
    DeviceTimeout,
    TransportError,
)
from keypeg_bridge.transport.usb_ccid import CcidPipe, open_pipe
from keypeg_bridge.wire import ccid, piv, tlv
from keypeg_bridge.wire.apdu import Command
from tests.bridge.cards import DirectKey

TOKEN = ccid.ClassDescriptor(0, 2, ccid.ClassDescriptor.SHORT_APDU, 271).encode()
Answer = Callable[[ccid.Command], list[bytes | Exception]]


def good(command: ccid.Command) -> list[bytes | Exception]:
    """A reader that answers each command with a status of its card."""
    data = b"\x3b\x00" if command.kind == ccid.Kind.ICC_POWER_ON else b"\x90\x00"
    return [ccid.Reply(ccid.REPLY_KINDS[command.kind], 0, command.sequence, data).encode()]


class FakeReader:
    """As much of a pyusb device as the pipe uses. Each read costs a second of the fake clock."""

    def __init__(self, answer: Answer = good, descriptor: bytes = TOKEN) -> None:
        self.answer = answer
        self.clock = 0.0
        self.sent: list[ccid.Command] = []
        self.cleared = 0
        self.controls: list[tuple[object, ...]] = []
        self.open = True
        self.claim_error: Exception | None = None
        self._waiting: list[bytes | Exception] = []
        out = SimpleNamespace(
            bEndpointAddress=0x02, bmAttributes=2, wMaxPacketSize=64,
            write=self._write, clear_halt=self._clear,
        )  # fmt: skip
        into = SimpleNamespace(
            bEndpointAddress=0x82, bmAttributes=2, wMaxPacketSize=64,
            read=self._read, clear_halt=self._clear,
        )  # fmt: skip
        self._interface = _Interface([out, into], descriptor)
        self._ctx = SimpleNamespace(managed_claim_interface=self._claim, dispose=self._dispose)

    def now(self) -> float:
        return self.clock

    def __iter__(self) -> Iterator[list[Any]]:
        return iter([[self._interface]])

    def ctrl_transfer(self, *arguments: object) -> None:
        self.controls.append(arguments)

    def get_active_configuration(self) -> None:
        """It is configured."""

    def _claim(self, device: object, interface: int) -> None:
        if self.claim_error is not None:
            raise self.claim_error

    def _dispose(self, device: object) -> None:
        self.open = False

    def _clear(self) -> None:
        self.cleared += 1

    def _write(self, message: bytes, timeout: int) -> int:
        command = ccid.Command.decode(bytes(message))
        self.sent.append(command)
        self._waiting += self.answer(command)
        return len(message)

    def _read(self, room: int, timeout: int) -> array.array[int]:
        self.clock += 1
        if not self._waiting:
            raise USBTimeoutError("timed out", None, errno.ETIMEDOUT)
        first = self._waiting.pop(0)
        if isinstance(first, Exception):
            raise first
        return array.array("B", first[:room])


class _Interface:
    def __init__(self, endpoints: list[Any], extra: bytes) -> None:
        self._endpoints = endpoints
        self.bInterfaceClass = ccid.INTERFACE_CLASS
        self.bInterfaceNumber = 0
        self.extra_descriptors = array.array("B", extra)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._endpoints)


def opened(reader: FakeReader) -> CcidPipe:
    return open_pipe(reader, reader.now)


def test_a_pipe_powers_exchanges_and_powers_off() -> None:
    reader = FakeReader()
    pipe = opened(reader)
    assert pipe.atr == b"\x3b\x00"
    assert pipe.exchange(b"\x00\xa4\x04\x00", 10) == b"\x90\x00"
    pipe.close()
    pipe.close()
    kinds = [ccid.Kind.ICC_POWER_ON, ccid.Kind.XFR_BLOCK, ccid.Kind.ICC_POWER_OFF]
    assert [c.kind for c in reader.sent] == kinds
    assert not reader.open


def more_time(command: ccid.Command) -> bytes:
    waiting = ccid.Outcome.MORE_TIME
    return ccid.Reply(ccid.Kind.DATA_BLOCK, 0, command.sequence, outcome=waiting).encode()


def test_a_card_may_ask_for_time_within_the_limit() -> None:
    reader = FakeReader()
    pipe = opened(reader)
    reader.answer = lambda c: [more_time(c), more_time(c), *good(c)]
    assert pipe.exchange(b"\x00\xa4\x04\x00", 10) == b"\x90\x00"


def test_a_card_that_asks_for_time_for_ever_is_given_up() -> None:
    reader = FakeReader()
    pipe = opened(reader)
    reader.answer = lambda c: [more_time(c)] * 1_000
    with pytest.raises(DeviceTimeout):
        pipe.exchange(b"\x00\xa4\x04\x00", 10)
    assert reader.clock < 20


def test_a_late_answer_is_not_taken_for_the_next() -> None:
    reader = FakeReader()
    pipe = opened(reader)
    late: list[bytes | Exception] = []

    def slow(command: ccid.Command) -> list[bytes | Exception]:
        late.append(ccid.Reply(ccid.Kind.DATA_BLOCK, 0, command.sequence, b"late").encode())
        return []

    reader.answer = slow
    with pytest.raises(DeviceTimeout):
        pipe.exchange(b"\x00\xa4\x04\x00", 5)
    reader.answer = lambda c: [*late, *good(c)]
    assert pipe.exchange(b"\x00\xa4\x04\x00", 5) == b"\x90\x00"


def test_an_answer_may_come_in_packets_with_an_empty_one_before() -> None:
    reader = FakeReader()
    pipe = opened(reader)

    def pieces(command: ccid.Command) -> list[bytes | Exception]:
        raw = ccid.Reply(ccid.Kind.DATA_BLOCK, 0, command.sequence, bytes(100)).encode()
        return [b"", raw[:64], raw[64:]]

    reader.answer = pieces
    assert pipe.exchange(b"\x00\xa4\x04\x00", 10) == bytes(100)


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (USBError("gone", None, errno.ENODEV), DeviceGone),
        (USBError("gone", None, errno.ESHUTDOWN), DeviceGone),
        (USBError("late", None, errno.ETIMEDOUT), DeviceTimeout),
        (USBError("busy", None, errno.EBUSY), DeviceBusy),
        (USBError("closed", None, errno.EACCES), DeviceRefused),
        (USBError("stall", None, errno.EPIPE), TransportError),
        (USBError("io", None, errno.EIO), TransportError),
        (b"\x00" * 10, TransportError),
        (b"\x80\xff\xff\xff\xff" + bytes(5), TransportError),
    ],
)
def test_each_failure_has_its_error(
    outcome: bytes | Exception, error: type[TransportError]
) -> None:
    reader = FakeReader()
    pipe = opened(reader)
    reader.answer = lambda c: [outcome]
    with pytest.raises(error) as raised:
        pipe.exchange(b"\x00\xa4\x04\x00", 3)
    if outcome != bytes(10):  # that is an old answer, as it has another number
        assert type(raised.value) is error
    assert pipe.gone == (error is DeviceGone)


def test_a_stall_is_cleared_and_the_next_exchange_works() -> None:
    reader = FakeReader()
    pipe = opened(reader)
    reader.answer = lambda c: [USBError("stall", None, errno.EPIPE)]
    with pytest.raises(TransportError):
        pipe.exchange(b"\x00\xa4\x04\x00", 3)
    assert reader.cleared == 2
    reader.answer = good
    assert pipe.exchange(b"\x00\xa4\x04\x00", 3) == b"\x90\x00"


def test_a_card_taken_out_of_its_reader_is_gone() -> None:
    reader = FakeReader()
    gone: list[bool] = []
    pipe = open_pipe(reader, reader.now, on_gone=lambda: gone.append(True))
    absent = ccid.CardStatus.ABSENT
    failed = ccid.Outcome.FAILED
    reader.answer = lambda c: [
        ccid.Reply(ccid.Kind.DATA_BLOCK, 0, c.sequence, b"", absent, failed, 0xFE).encode()
    ]
    for _ in range(2):
        with pytest.raises(DeviceGone):
            pipe.exchange(b"\x00\xa4\x04\x00", 3)
    assert gone == [True]


@pytest.mark.parametrize(
    "descriptor",
    [b"", ccid.ClassDescriptor(0, 2, 0x10000, 271).encode(), TOKEN[:44] + bytes(4) + TOKEN[48:]],
    ids=["none", "TPDU level", "tiny messages"],
)
def test_readers_that_cannot_be_driven_are_refused(descriptor: bytes) -> None:
    reader = FakeReader(descriptor=descriptor)
    with pytest.raises(DeviceRefused):
        opened(reader)
    assert not reader.open


def test_a_held_device_is_busy_and_let_go() -> None:
    reader = FakeReader()
    reader.claim_error = USBError("busy", None, errno.EBUSY)
    with pytest.raises(DeviceBusy, match="card service"):
        opened(reader)
    assert not reader.open


@pytest.mark.behaviour("KEY-14")
@given(st.lists(st.binary(max_size=80), max_size=10), st.booleans())
def test_any_bytes_end_in_an_answer_or_a_clear_error(pieces: list[bytes], numbered: bool) -> None:
    reader = FakeReader()
    pipe = opened(reader)

    def noise(command: ccid.Command) -> list[bytes | Exception]:
        reply = ccid.Reply(ccid.Kind.DATA_BLOCK, 0, command.sequence).encode()
        return [reply[:7] + p if numbered else p for p in pieces]

    reader.answer = noise
    begun = reader.clock
    with contextlib.suppress(TransportError):
        pipe.exchange(b"\x00\xa4\x04\x00", 10)
    assert reader.clock - begun < 40


def emulated(level: Level, max_message: int | None = None) -> tuple[DirectKey, FakeReader]:
    """The emulated reader and card as the device."""
    key = DirectKey()
    reader = CcidReader(key.card, level=level, max_message=max_message)

    def answer(command: ccid.Command) -> list[bytes | Exception]:
        return list(reader.receive(command.encode()))

    return key, FakeReader(answer, reader.descriptor.encode())


@pytest.mark.parametrize(
    ("level", "max_message", "extended"),
    [
        (Level.SHORT, None, False),
        (Level.EXTENDED, None, True),
        (Level.EXTENDED, 300, True),
        (Level.TPDU, None, True),
    ],
)
def test_apdus_pass_whole_through_readers_of_every_level(
    level: Level, max_message: int | None, extended: bool
) -> None:
    key, reader = emulated(level, max_message)
    pipe = open_pipe(reader, reader.now)
    assert pipe.extended == extended
    select = Command(0, piv.INS_SELECT, 4, 0, piv.AID, 256).encode()
    assert pipe.exchange(select, 60)[-2:] == b"\x90\x00"
    key.applet.session.managed = True
    content = bytes(range(250)) * (8 if extended else 0) + b"end"
    data = piv.object_path(0x5FC10D) + tlv.encode(0x53, content)
    put = Command(0, piv.INS_PUT_DATA, 0x3F, 0xFF, data)
    assert pipe.exchange(put.encode(extended=extended), 600) == b"\x90\x00"
    path, room = piv.object_path(0x5FC10D), 65_536 if extended else 256
    get = Command(0, piv.INS_GET_DATA, 0x3F, 0xFF, path, room).encode(extended=extended)
    assert pipe.exchange(get, 600) == tlv.encode(0x53, content) + b"\x90\x00"
    pipe.restart()
    assert not key.applet.session.managed
    assert pipe.exchange(get, 60) == b"\x69\x85"  # nothing is selected


def test_a_reader_of_short_apdus_is_not_given_long_ones() -> None:
    _, reader = emulated(Level.SHORT)
    pipe = open_pipe(reader, reader.now)
    with pytest.raises(TransportError, match="limit"):
        pipe.exchange(bytes(300), 60)


def test_a_card_that_speaks_no_blocks_is_refused_behind_a_reader_of_blocks() -> None:
    descriptor = ccid.ClassDescriptor(0, 3, ccid.ClassDescriptor.TPDU, 271).encode()
    reader = FakeReader(descriptor=descriptor)  # its card says 3B 00
    with pytest.raises(DeviceRefused, match="T=1"):
        open_pipe(reader, reader.now)
    assert not reader.open


def test_what_runs_out_of_time_is_aborted_on_both_pipes() -> None:
    def slow(command: ccid.Command) -> list[bytes | Exception]:
        return [] if command.kind == ccid.Kind.XFR_BLOCK else good(command)

    reader = FakeReader(slow)
    pipe = open_pipe(reader, reader.now)
    with pytest.raises(DeviceTimeout):
        pipe.exchange(b"\x00\xa4\x04\x00", 3)
    assert reader.sent[-1].kind == ccid.Kind.ABORT
    ((kind, request, value, *_),) = reader.controls
    assert (kind, request, value) == (0x21, 0x01, reader.sent[-1].sequence << 8)
