"""One request to a CCID reader over its two bulk endpoints, and the reply to it.

Promises: a request ends by its deadline; one that ran out of time is given up with an abort, so that the reader takes the
next; after a stall or nonsense both pipes are usable again. Errors of pyusb pass through. Who may ask is left to the pipe.
"""

from __future__ import annotations

import contextlib
import errno
from typing import Any, Final

import usb.core

from keypeg_bridge.transport.errors import DeviceGone, DeviceTimeout, TransportError
from keypeg_bridge.transport.ports import Monotonic
from keypeg_bridge.wire import ccid
from keypeg_bridge.wire.ccid_host import HostSlot
from keypeg_bridge.wire.errors import MalformedFrame

ABORT_SECONDS: Final = 0.5  # after a command that ran out of time, beyond its limit
MAX_CLEARS: Final = 16  # stale transfers read away before giving up
_CLASS_TO_INTERFACE: Final = 0x21
_ABORT: Final = 0x01


class CcidLine:
    """The messages of one reader's interface; used by one thread at a time."""

    def __init__(
        self, device: Any, interface: int, out: Any, into: Any, max_message: int, now: Monotonic
    ) -> None:
        self._device = device
        self._interface = interface
        self._out = out
        self._in = into
        self._max_message = max_message
        self._now = now
        self._host = HostSlot()
        self._buffer = ccid.MessageBuffer(max_message)

    def transact(
        self, kind: ccid.Kind, data: bytes, deadline: float, part: ccid.Part = ccid.Part.WHOLE
    ) -> ccid.Reply:
        message = self._host.request(kind, data, b"\x00" + part.to_bytes(2, "little"))
        try:
            self._out.write(message, self._left_ms(deadline))
            while True:
                for raw in self._read(deadline):
                    reply = self._host.receive(raw)
                    if reply is not None:
                        return self._checked(reply)
        except (usb.core.USBTimeoutError, DeviceTimeout):
            if kind is ccid.Kind.XFR_BLOCK:
                self.abort()
            raise
        except usb.core.USBError as error:
            if error.errno == errno.EPIPE:
                self._clear()
            raise
        except MalformedFrame as error:
            self._clear()
            raise TransportError(f"The device answered nonsense: {error}.") from error

    def abort(self) -> None:
        """Give up what the reader works on, so that it takes the next command. A reader that cannot is left alone."""
        number = self._host.next_sequence
        with contextlib.suppress(usb.core.USBError, TransportError):
            wait = int(ABORT_SECONDS * 1_000)
            self._device.ctrl_transfer(
                _CLASS_TO_INTERFACE, _ABORT, number << 8, self._interface, None, wait
            )
            self.transact(ccid.Kind.ABORT, b"", self._now() + ABORT_SECONDS)

    def _read(self, deadline: float) -> list[bytes]:
        packet = self._in.wMaxPacketSize or 64
        room = -(-self._max_message // packet) * packet
        return self._buffer.feed(self._in.read(room, self._left_ms(deadline)).tobytes())

    def _left_ms(self, deadline: float) -> int:
        left = deadline - self._now()
        if left <= 0:
            raise DeviceTimeout("The device did not answer in time.")
        return max(1, int(left * 1000))

    @staticmethod
    def _checked(reply: ccid.Reply) -> ccid.Reply:
        if reply.card is ccid.CardStatus.ABSENT:
            raise DeviceGone("There is no card in the reader.")
        if reply.outcome is ccid.Outcome.FAILED:
            words = ccid.describe_error(reply.error)
            if reply.error == ccid.Error.MUTE:
                raise DeviceTimeout(f"The reader reports: {words}.")
            raise TransportError(f"The reader reports: {words}.")
        return reply

    def _clear(self) -> None:
        """After a stall or nonsense: both pipes usable again, nothing half read."""
        self._buffer.clear()
        for endpoint in (self._out, self._in):
            with contextlib.suppress(usb.core.USBError):
                endpoint.clear_halt()
        with contextlib.suppress(usb.core.USBError):
            for _ in range(MAX_CLEARS):
                self._in.read(self._max_message // 64 * 64, 1)
