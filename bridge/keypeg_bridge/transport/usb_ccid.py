"""A card in a USB token, driven over CCID through any pyusb device, whatever backend it came from.

Promises: an exchange ends by its time limit with an answer or one of this package's errors; once the device is gone every
call says so at once. The reader takes whole APDUs (most tokens do) or blocks of T=1; others belong behind the system's
card service.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Generator
from typing import Any, Final, ParamSpec, TypeVar

import usb.core
import usb.util

from keypeg_bridge.transport.ccid_line import CcidLine
from keypeg_bridge.transport.errors import DeviceGone, DeviceRefused, TransportError
from keypeg_bridge.transport.ports import Monotonic, OnGone
from keypeg_bridge.transport.usb_errors import GONE, configure, translated_errors
from keypeg_bridge.wire import atr, ccid
from keypeg_bridge.wire.errors import MalformedFrame
from keypeg_bridge.wire.t1 import HostLink

POWER_SECONDS: Final = 3.0  # for a card to answer to reset
POWER_OFF_SECONDS: Final = 0.5  # at closing, by the way
WATCH_MS: Final = 250  # one wait on the interrupt pipe; closing takes at most this long
Watch = Callable[[Callable[[], None]], None]
P = ParamSpec("P")
T = TypeVar("T")


def ccid_interface(device: Any) -> Any | None:
    """The first CCID interface in a device's configurations, from its descriptors alone."""
    for configuration in device:
        found = usb.util.find_descriptor(configuration, bInterfaceClass=ccid.INTERFACE_CLASS)
        if found is not None:
            return found
    return None


class CcidPipe:
    """One powered card. Built by `open_pipe`."""

    def __init__(self, device: Any, interface: Any, now: Monotonic, on_gone: OnGone | None) -> None:
        self._device = device
        self._now = now
        self._on_gone = on_gone
        self._lock = threading.Lock()  # one exchange at a time
        self._state_lock = threading.Lock()
        self._gone = False
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None
        self._interface = interface.bInterfaceNumber
        try:
            extra = bytes(interface.extra_descriptors)
            self._class = ccid.ClassDescriptor.decode(extra)
        except MalformedFrame as error:
            raise DeviceRefused(f"The reader describes itself wrongly: {error}.") from error
        if not (self._class.exchanges_apdus or self._class.exchanges_blocks):
            raise DeviceRefused(
                "This reader wants card protocol framing from its host other than T=1, which keypeg"
                " does not do. Use it through the system's card service."
            )
        out, into = (
            self._endpoint(interface, direction, usb.util.ENDPOINT_TYPE_BULK)
            for direction in (usb.util.ENDPOINT_OUT, usb.util.ENDPOINT_IN)
        )
        self._line = CcidLine(device, self._interface, out, into, self._class.max_message, now)
        self._interrupt = usb.util.find_descriptor(
            interface,
            custom_match=lambda e: (
                usb.util.endpoint_type(e.bmAttributes) == usb.util.ENDPOINT_TYPE_INTR
            ),
        )
        self.atr = b""
        self.extended = False
        self._link: HostLink | None = None

    @staticmethod
    def _endpoint(interface: Any, direction: int, kind: int) -> Any:
        found = usb.util.find_descriptor(
            interface,
            custom_match=lambda e: (
                usb.util.endpoint_direction(e.bEndpointAddress) == direction
                and usb.util.endpoint_type(e.bmAttributes) == kind
            ),
        )
        if found is None:
            raise DeviceRefused("The reader's interface has no bulk endpoints.")
        return found

    @property
    def gone(self) -> bool:
        """Whether the device was seen to disappear."""
        return self._gone

    def start(self, watch: Watch | None) -> None:
        """Claim, power the card, and begin to watch for its disappearance: by `watch`, else by interrupts."""
        with translated_errors():
            configure(self._device)
            usb.util.claim_interface(self._device, self._interface)
        self._power_on()
        if watch is not None:
            watch(self._mark_gone)
        elif self._interrupt is not None:
            self._watcher = threading.Thread(target=self._watch, name="ccid-watch", daemon=True)
            self._watcher.start()

    def exchange(self, apdu: bytes, timeout: float) -> bytes:
        """Send one APDU, give the card's answer."""
        return self._exclusively(self._exchange, apdu, self._now() + timeout)

    def restart(self) -> None:
        """Cut the card's power, and give it again."""
        self._exclusively(
            self._line.transact, ccid.Kind.ICC_POWER_OFF, b"", self._now() + POWER_SECONDS
        )
        self._power_on()

    def _power_on(self) -> None:
        reply = self._exclusively(
            self._line.transact, ccid.Kind.ICC_POWER_ON, b"", self._now() + POWER_SECONDS
        )
        self.atr = reply.data
        try:
            said = atr.parse(self.atr)
        except MalformedFrame:
            said = atr.UNKNOWN  # the reader has understood it
        blocks = self._class.exchanges_blocks
        self.extended = said.extended_length and (blocks or self._class.exchanges_extended)
        self._link = None
        if not blocks:
            return
        if 1 not in said.protocols:
            raise DeviceRefused(
                "The card does not speak T=1, and the reader leaves the framing to its host. Use it"
                " through the system's card service."
            )
        link = HostLink(said.block_bytes)
        self._exclusively(self._converse, link.begin(), self._now() + POWER_SECONDS)
        self._link = link

    def close(self) -> None:
        """Let go of the device; safe to repeat, and from any thread."""
        with self._state_lock:
            if self._closed.is_set():
                return
            self._closed.set()
        watcher = self._watcher
        if watcher is not None and watcher is not threading.current_thread():
            watcher.join(4 * WATCH_MS / 1000)
        with self._lock:  # a handle must not go away under a transfer; each ends by its own limit
            if self.atr and not self._gone:
                # An authorization must not outlive us in a powered card.
                with contextlib.suppress(TransportError, usb.core.USBError):
                    deadline = self._now() + POWER_OFF_SECONDS
                    self._line.transact(ccid.Kind.ICC_POWER_OFF, b"", deadline)
            with contextlib.suppress(usb.core.USBError):
                usb.util.dispose_resources(self._device)

    def _exclusively(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Work on the device, alone, with its errors as this package's."""
        try:
            with self._lock, translated_errors():
                if self._gone or self._closed.is_set():
                    raise DeviceGone("The device was unplugged, or let go.")
                return work(*args, **kwargs)
        except DeviceGone:
            self._mark_gone()  # with the lock free, so that `on_gone` may close
            raise

    def _exchange(self, apdu: bytes, deadline: float) -> bytes:
        """One APDU: in blocks, or in as many parts each way as the messages' size asks for."""
        if self._link is not None:
            return self._converse(self._link.exchange(apdu), deadline)
        room = self._class.max_message - ccid.HEADER_BYTES
        pieces = [apdu[at : at + room] for at in range(0, max(1, len(apdu)), room)]
        if len(pieces) > 1 and not self._class.exchanges_extended:
            raise TransportError(
                f"An APDU of {len(apdu)} bytes is over the reader's limit of {self._class.max_message}."
            )
        for number, piece in enumerate(pieces):
            part = ccid.part_of(number, len(pieces))
            reply = self._line.transact(ccid.Kind.XFR_BLOCK, piece, deadline, part)
            if part in (ccid.Part.FIRST, ccid.Part.MIDDLE) and reply.extra != ccid.Part.NONE:
                return self._whole(reply, deadline)  # the reader answers before it has heard all
        return self._whole(reply, deadline)

    def _converse(self, blocks: Generator[bytes, bytes, T], deadline: float) -> T:
        """Blocks of T=1, as the link wants them."""
        try:
            block = next(blocks)
            while True:
                reply = self._line.transact(ccid.Kind.XFR_BLOCK, block, deadline)
                block = blocks.send(reply.data)
        except StopIteration as finished:
            result: T = finished.value
            return result
        except MalformedFrame as error:
            raise TransportError(f"The card answered nonsense: {error}.") from error

    def _whole(self, reply: ccid.Reply, deadline: float) -> bytes:
        """An answer, with the parts of it that are still in the reader."""
        data = bytearray(reply.data)
        while reply.extra in (ccid.Part.FIRST, ccid.Part.MIDDLE):
            reply = self._line.transact(ccid.Kind.XFR_BLOCK, b"", deadline, ccid.Part.NONE)
            data += reply.data
            if len(data) > ccid.MAX_MESSAGE or not reply.data:
                raise TransportError("The reader's answer does not end.")
        if reply.extra not in (ccid.Part.WHOLE, ccid.Part.LAST):
            raise TransportError("The reader sent a part of an answer where a whole was asked for.")
        return bytes(data)

    def _mark_gone(self) -> None:
        with self._state_lock:
            if self._gone or self._closed.is_set():
                return
            self._gone = True
        if self._on_gone is not None:
            self._on_gone()

    def _watch(self) -> None:
        while not self._closed.is_set():
            try:
                notice = self._interrupt.read(self._interrupt.wMaxPacketSize or 8, WATCH_MS)
                if ccid.card_present(notice.tobytes()) is False:
                    self._mark_gone()
            except usb.core.USBTimeoutError:
                continue
            except usb.core.USBError as error:
                if error.errno == errno.ETIMEDOUT:
                    continue
                if error.errno in GONE:
                    self._mark_gone()
                return  # a reader without a working interrupt pipe: the next exchange tells
            if self._gone:
                return


def open_pipe(
    device: Any, now: Monotonic, *, on_gone: OnGone | None = None, watch: Watch | None = None
) -> CcidPipe:
    """Power the card in `device` (a `usb.core.Device`); on failure the device is let go."""
    try:
        with translated_errors():
            interface = ccid_interface(device)
        if interface is None:
            raise DeviceRefused("The device has no CCID interface.")
        pipe = CcidPipe(device, interface, now, on_gone)
        pipe.start(watch)
    except BaseException:
        with contextlib.suppress(usb.core.USBError):
            usb.util.dispose_resources(device)
        raise
    return pipe
