"""The emulated key as a USB device: descriptors, control requests and endpoints, without I/O.

Promises: every transfer ends with data, `None` for "nothing yet", or `Stall`; malformed CCID bytes halt the bulk pipes
until the host clears them, as on real hardware, and reports that are not of 64 bytes halt the FIDO interface's. Answers
pass through `lines`, where faults are put. Which connection the transfers come from is left to `attachment.py`; `poll` is
to be called at `deadline`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from keypeg_bridge.emulator import hid_interface
from keypeg_bridge.emulator.ccid_reader import CcidReader
from keypeg_bridge.emulator.faults_line import Line, Side
from keypeg_bridge.emulator.fido.hid import FidoHid
from keypeg_bridge.wire import ccid, usb
from keypeg_bridge.wire.errors import MalformedFrame

VENDOR: Final = (
    0x1209  # pid.codes, whose products 0x0001 to 0x0010 are for tests and belong to nobody
)
PRODUCT: Final = 0x0001
RELEASE: Final = 0x0100
MANUFACTURER_NAME: Final = "keypeg"
PRODUCT_NAME: Final = "keypeg emulated key"

BULK_OUT: Final = 0x02
BULK_IN: Final = 0x82
INTERRUPT_IN: Final = 0x83
PACKET: Final = 64  # bytes, the largest bulk packet at full speed
CCID_INTERFACE: Final = 0
MAX_WAITING: Final = 8  # replies; a host that never reads them gets its commands stalled

_CLASS_TO_INTERFACE: Final = 0x21
_CCID_ABORT: Final = 0x01


def _card_interface(reader: ccid.ClassDescriptor) -> usb.Interface:
    return usb.Interface(
        number=CCID_INTERFACE,
        alternate=0,
        interface_class=ccid.INTERFACE_CLASS,
        subclass=0,
        protocol=0,
        name_index=4,
        extra=reader.encode(),
        endpoints=(
            usb.Endpoint(BULK_OUT, 2, PACKET),
            usb.Endpoint(BULK_IN, 2, PACKET),
            usb.Endpoint(INTERRUPT_IN, 3, 8, interval=32),
        ),
    )


def configuration(reader: ccid.ClassDescriptor, *, fido: bool) -> usb.Configuration:
    """The one configuration of a key with this reader, with or without a FIDO side."""
    interfaces = (_card_interface(reader),) + ((hid_interface.describe(5),) if fido else ())
    return usb.Configuration(
        value=1,
        attributes=0x80,  # powered by the bus
        max_power=50,  # 100 mA
        interfaces=interfaces,
    )


class Stall(Exception):
    """The device answers this transfer with STALL."""


class UsbKey:
    """One emulated key on its cable."""

    def __init__(
        self,
        reader: CcidReader,
        serial: str,
        fido: FidoHid | None = None,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._reader = reader
        self._fido = fido
        self.lines = {side: Line(side, clock) for side in Side}  # between interfaces and host
        self._strings = (MANUFACTURER_NAME, PRODUCT_NAME, serial, "CCID", "FIDO")
        self.configuration = configuration(reader.descriptor, fido=fido is not None)
        self.descriptor = usb.DeviceDescriptor(
            vendor=VENDOR,
            product=PRODUCT,
            release=RELEASE,
            manufacturer_index=1,
            product_index=2,
            serial_index=3,
        )
        self._replies: deque[bytes] = deque()
        self._rest: bytes | None = None  # of a reply under way
        self._notices: deque[bytes] = deque()
        self._halted: set[int] = set()
        self._configuration = 0

    @property
    def deadline(self) -> float | None:
        """When `poll` has something to do at the latest."""
        times = [line.deadline for line in self.lines.values()] + [self._reader.deadline]
        times += [] if self._fido is None else [self._fido.deadline]
        return min((time for time in times if time is not None), default=None)

    def poll(self) -> None:
        """Do what is due; waiting reads may have an answer then."""
        self._replies += self._reader.poll()
        if self._fido is not None:
            self._fido.poll()

    def power_up(self) -> None:
        """As after plugging in."""
        self.reset()
        if self._fido is not None:
            self._fido.power_up()

    def reset(self) -> None:
        """As after a bus reset: not configured, card without power."""
        self._configuration = 0
        self._halted.clear()
        self._drop_replies()
        self._notices.clear()
        for line in self.lines.values():
            line.reset()
        self._reader.reset()
        if self._fido is not None:
            self._fido.reset()

    def control(self, setup: usb.Setup, data: bytes) -> bytes:
        """One control transfer; the bytes of its data stage to the host, if any."""
        if setup.request_type == _CLASS_TO_INTERFACE and setup.request == _CCID_ABORT:
            self._drop_replies()
            self._replies += self._reader.abort(setup.value & 0xFF, setup.value >> 8)
            return b""
        if self._fido is not None and setup.index == hid_interface.INTERFACE:
            answer = self._hid_control(self._fido, setup, data)
            if answer is not None:
                return answer[: setup.length]
        if setup.request_type & 0x60:
            raise Stall
        if setup.is_in:
            return self._standard_in(setup)[: setup.length]
        self._standard_out(setup)
        return b""

    def _hid_control(self, fido: FidoHid, setup: usb.Setup, data: bytes) -> bytes | None:
        """A request of the HID class, or for its descriptors; None for any other."""
        match (setup.request_type, setup.request):
            case (0x81, usb.GET_DESCRIPTOR):
                return hid_interface.descriptor(setup)
            case hid_interface.SET_REPORT if setup.value == hid_interface.OUTPUT_REPORT:
                self._report(fido, data)
                return b""
            case hid_interface.SET_IDLE:
                return b""
            case hid_interface.GET_IDLE:
                return b"\x00"
        return None

    def _report(self, fido: FidoHid, data: bytes) -> None:
        if not self._configuration or fido.full:
            raise Stall
        self.lines[Side.FIDO].sent(data)
        try:
            fido.receive(data)
        except MalformedFrame:
            self._halted |= {hid_interface.OUT, hid_interface.IN}
            raise Stall from None

    def _standard_in(self, setup: usb.Setup) -> bytes:
        match setup.request:
            case usb.GET_DESCRIPTOR:
                return self._describe(setup.value >> 8, setup.value & 0xFF)
            case usb.GET_CONFIGURATION:
                return bytes((self._configuration,))
            case usb.GET_INTERFACE if setup.index < len(self.configuration.interfaces):
                return b"\x00"
            case usb.GET_STATUS:
                halted = setup.request_type & 0x1F == 2 and setup.index in self._halted
                return bytes((halted, 0))
        raise Stall

    def _describe(self, kind: int, index: int) -> bytes:
        if kind == usb.DEVICE:
            return self.descriptor.encode()
        if kind == usb.CONFIGURATION and index == 0:
            return self.configuration.encode()
        if kind == usb.STRING and index == 0:
            return usb.LANGUAGES
        if kind == usb.STRING and index <= len(self._strings):
            return usb.encode_string(self._strings[index - 1])
        raise Stall

    def _standard_out(self, setup: usb.Setup) -> None:
        match setup.request:
            case usb.SET_ADDRESS:
                return
            case usb.SET_CONFIGURATION if setup.value in (0, self.configuration.value):
                self.reset()
                self._configuration = setup.value
                if self._configuration:
                    self._notices.append(ccid.notify_slot_change(present=True, changed=True))
            case usb.SET_INTERFACE if setup.value == 0 and setup.index < len(
                self.configuration.interfaces
            ):
                return
            case usb.CLEAR_FEATURE if setup.request_type == 0x02 and setup.value == 0:
                self._halted.discard(setup.index)
                self._reader.clear_input()
            case usb.SET_FEATURE if setup.request_type == 0x02 and setup.value == 0:
                self._halted.add(setup.index)
            case _:
                raise Stall

    def write(self, endpoint: int, data: bytes) -> None:
        """One OUT transfer on a bulk or interrupt endpoint (its number, without direction)."""
        if self._fido is not None and endpoint == hid_interface.OUT:
            if endpoint in self._halted:
                raise Stall
            self._report(self._fido, data)
            return
        if endpoint != BULK_OUT or not self._configuration or endpoint in self._halted:
            raise Stall
        if len(self._replies) >= MAX_WAITING:
            raise Stall
        self.lines[Side.CARD].sent(data)
        try:
            self._replies += self._reader.receive(data)
        except MalformedFrame:
            self._halted |= {BULK_OUT, BULK_IN}
            raise Stall from None
        except Exception:
            self._halted |= {BULK_OUT, BULK_IN}
            raise

    def read(self, endpoint: int, room: int) -> bytes | None:
        """One IN transfer of at most `room` bytes; None while there is nothing to send.

        A reply that fills the room and ends on a full packet is followed by an empty transfer, as a host sees it.
        """
        address = endpoint | usb.DIRECTION_IN
        if self._fido is not None and address == hid_interface.IN:
            if not self._configuration or address in self._halted:
                raise Stall
            report = self.lines[Side.FIDO].take(self._fido.take)
            return None if report is None else report[:room]
        if address not in (BULK_IN, INTERRUPT_IN) or not self._configuration:
            raise Stall
        if address in self._halted:
            raise Stall
        if address == INTERRUPT_IN:
            return self._notices.popleft()[:room] if self._notices else None
        reply, self._rest = self._rest, None
        if reply is None:
            reply = self.lines[Side.CARD].take(self._next_reply)
        if reply is None:
            return None
        piece, rest = reply[:room], reply[room:]
        if rest or (piece and len(piece) == room and not len(piece) % PACKET):
            self._rest = rest
        return piece

    def _next_reply(self) -> bytes | None:
        return self._replies.popleft() if self._replies else None

    def _drop_replies(self) -> None:
        self._replies.clear()
        self._rest = None
