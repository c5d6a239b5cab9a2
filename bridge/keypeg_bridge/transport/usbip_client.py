"""The client's end of USB/IP connections: listing devices, and one imported device with its transfers.

Promises: a call ends by its time limit; the end of the connection fails every open transfer at once and calls the
callbacks once; a transfer that ran out of time is taken back, and whichever of answer and taking back came first counts.
One thread per import reads; descriptors and pyusb are left to `usbip_backend.py`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import struct
import threading
from collections.abc import Callable
from typing import Final

from keypeg_bridge.transport.errors import (
    BackendUnavailable,
    DeviceBusy,
    DeviceGone,
    DeviceTimeout,
)
from keypeg_bridge.transport.ports import Monotonic
from keypeg_bridge.wire import usbip
from keypeg_bridge.wire.errors import MalformedFrame
from keypeg_bridge.wire.usbip_stream import ClientDecoder

_log = logging.getLogger(__name__)

OPERATION_SECONDS: Final = 3.0  # to connect and be told the devices, or be given one
UNLINK_SECONDS: Final = (
    1.0  # for a server to confirm a taken-back transfer, and to let go of a device
)
SEND_SECONDS: Final = 3  # for a server to take what we send
_RECEIVE_BYTES: Final = 65_536
_GONE_CODES: Final = frozenset({errno.ENODEV, errno.ESHUTDOWN})


def list_devices(host: str, port: int, now: Monotonic) -> tuple[usbip.Device, ...]:
    """The devices that a server exports; `BackendUnavailable` with a sentence when it cannot be asked."""
    with _connect(host, port) as connection:
        reply = _ask(connection, usbip.ListRequest().encode(), ClientDecoder(), now)
    if not isinstance(reply, usbip.ListReply) or reply.status != usbip.STATUS_OK:
        raise BackendUnavailable(f"The USB/IP server at {host}:{port} refused to list its devices.")
    return reply.devices


def import_device(host: str, port: int, bus_id: str, now: Monotonic) -> Imported:
    """Take one device for us alone; `DeviceBusy` or `DeviceGone` when the server does not give it."""
    connection = _connect(host, port)
    decoder = ClientDecoder()
    try:
        reply = _ask(connection, usbip.ImportRequest(bus_id).encode(), decoder, now)
    except BaseException:
        connection.close()
        raise
    if isinstance(reply, usbip.ImportReply) and reply.device is not None:
        return Imported(connection, decoder, reply.device)
    connection.close()
    if isinstance(reply, usbip.ImportReply) and reply.status in (
        usbip.STATUS_BUSY,
        usbip.STATUS_UNAVAILABLE,
    ):
        raise DeviceBusy(f"The USB/IP device {bus_id} at {host}:{port} is in use by another host.")
    raise DeviceGone(f"The USB/IP server at {host}:{port} has no device {bus_id}.")


def _connect(host: str, port: int) -> socket.socket:
    try:
        connection = socket.create_connection((host, port), OPERATION_SECONDS)
    except OSError as error:
        raise BackendUnavailable(
            f"No USB/IP server answers at {host}:{port}: {error.strerror or error}."
        ) from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _ask(
    connection: socket.socket, request: bytes, decoder: ClientDecoder, now: Monotonic
) -> usbip.ListReply | usbip.ImportReply | usbip.Returned | usbip.Unlinked:
    deadline = now() + OPERATION_SECONDS
    try:
        connection.sendall(request)
        while (reply := decoder.next()) is None:
            connection.settimeout(max(0.001, deadline - now()))
            received = connection.recv(_RECEIVE_BYTES)
            if not received or now() > deadline:
                raise BackendUnavailable(
                    "The USB/IP server ended the connection without an answer."
                )
            decoder.feed(received)
    except (OSError, MalformedFrame) as error:
        raise BackendUnavailable(f"The USB/IP server gave no usable answer: {error}.") from error
    return reply


class _Waiter:
    """One open transfer, and the unlinking of it."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.answer: usbip.Returned | None = None
        self.unlink_sequence: int | None = None


class Imported:
    """One device held by us."""

    def __init__(
        self, connection: socket.socket, decoder: ClientDecoder, device: usbip.Device
    ) -> None:
        self.device = device
        self._connection = connection
        self._decoder = decoder
        self._lock = threading.Lock()  # decoder, waiters, callbacks
        self._send_lock = threading.Lock()
        self._waiters: dict[int, _Waiter] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._sequence = 0
        self._gone = False
        self._closing = False
        connection.settimeout(None)
        limit = struct.pack("ll", SEND_SECONDS, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        _watch_peer(connection)
        self._reader = threading.Thread(target=self._read, name="usbip-reader", daemon=True)
        self._reader.start()

    @property
    def gone(self) -> bool:
        """Whether the connection has ended."""
        return self._gone

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the device disappears: now if it has, never after `close`."""
        with self._lock:
            if self._closing:
                return
            if not self._gone:
                self._callbacks.append(callback)
                return
        callback()

    def transfer(
        self,
        endpoint: int,
        direction: int,
        length: int,
        *,
        data: bytes = b"",
        setup: bytes = bytes(8),
        timeout: float | None,
    ) -> usbip.Returned:
        """One transfer; its status may be an error of the device's. None waits as long as the device is there."""
        waiter = _Waiter()
        with self._lock:
            submit = usbip.Submit(
                self._next_sequence(),
                self.device.device_id,
                direction,
                endpoint,
                length,
                setup,
                data,
            )
            self._need_connection()
            self._decoder.expect(submit)
            self._waiters[submit.sequence] = waiter
        self._send(submit.encode())
        if not waiter.done.wait(timeout):
            self._take_back(submit, waiter)
            if waiter.answer is None:
                raise DeviceTimeout("The device did not answer in time.")
        if waiter.answer is None:
            raise DeviceGone("The device was unplugged, or the USB/IP connection to it ended.")
        if -waiter.answer.status in _GONE_CODES:
            raise DeviceGone("The device was unplugged.")
        return waiter.answer

    def close(self) -> None:
        """Give the device back, and wait a moment until the server has let go; safe to repeat."""
        with self._lock:
            self._closing = True
            self._callbacks.clear()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        if threading.current_thread() is not self._reader:
            self._reader.join(UNLINK_SECONDS)
        self._end()

    def _next_sequence(self) -> int:
        self._sequence = self._sequence % 0x7FFFFFFF + 1
        return self._sequence

    def _need_connection(self) -> None:
        if self._gone or self._closing:
            raise DeviceGone("The device was unplugged, or the USB/IP connection to it ended.")

    def _send(self, data: bytes) -> None:
        try:
            with self._send_lock:
                self._connection.sendall(data)
        except OSError as error:
            self._end()
            raise DeviceGone("The USB/IP connection to the device ended.") from error

    def _take_back(self, submit: usbip.Submit, waiter: _Waiter) -> None:
        with self._lock:
            if waiter.done.is_set():
                return
            unlink = usbip.Unlink(self._next_sequence(), submit.device_id, submit.sequence)
            waiter.unlink_sequence = unlink.sequence
        self._send(unlink.encode())
        if not waiter.done.wait(UNLINK_SECONDS):
            self._end()  # the server answers nothing at all: what we hold is of no use

    def _read(self) -> None:
        try:
            while received := self._connection.recv(_RECEIVE_BYTES):
                with self._lock:
                    self._decoder.feed(received)
                    while (message := self._decoder.next()) is not None:
                        self._settle(message)
        except (OSError, MalformedFrame):
            pass
        self._end()

    def _settle(
        self, message: usbip.ListReply | usbip.ImportReply | usbip.Returned | usbip.Unlinked
    ) -> None:
        if isinstance(message, usbip.Returned):
            answered = self._waiters.pop(message.sequence, None)
            if answered is not None:
                answered.answer = message
                answered.done.set()
        elif isinstance(message, usbip.Unlinked):
            for sequence, waiter in list(self._waiters.items()):
                if waiter.unlink_sequence == message.sequence:
                    del self._waiters[sequence]
                    self._decoder.forget(sequence)
                    waiter.done.set()

    def _end(self) -> None:
        with self._lock:
            if self._gone:
                return
            self._gone = True
            waiters, self._waiters = list(self._waiters.values()), {}
            callbacks, self._callbacks = self._callbacks, []
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        for waiter in waiters:
            waiter.done.set()
        for callback in callbacks:
            try:
                callback()
            except (
                Exception
            ):  # the boundary of this thread: one callback must not silence the others
                _log.exception("a callback for an unplugged device failed")


def _watch_peer(connection: socket.socket) -> None:
    """Let the system notice a computer that vanished without a word, in about five seconds."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 2), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
