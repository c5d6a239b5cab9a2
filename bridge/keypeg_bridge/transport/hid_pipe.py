"""An open FIDO interface as a pipe of reports, whatever moves them: hidapi, or interrupt endpoints over pyusb.

Promises: the port `HidPipe`; a departure is noticed at once, by the way's own watch where it has one, else by a thread
that is always reading; a call ends by its time limit. Opening, and the errors of libraries, are left to `RawHid`.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Final, Protocol

from keypeg_bridge.transport.errors import DeviceGone, DeviceTimeout, TransportError
from keypeg_bridge.transport.ports import OnGone

WATCH_MS: Final = 250  # one wait of the reading thread; closing takes at most this long
QUEUE_REPORTS: Final = 1_024  # nobody reads so far behind: a message has at most 129

Watch = Callable[[Callable[[], None]], None]


class RawHid(Protocol):
    """What a library does with an open interface; every failure is a `TransportError`."""

    def write(self, report: bytes, timeout_ms: int) -> None:
        """Send 64 bytes."""
        ...

    def read(self, timeout_ms: int) -> bytes:
        """The next report, or nothing when none came in time."""
        ...

    def close(self) -> None:
        """Let go; never raises."""
        ...


class ReportPipe:
    """One open interface. `start` before use."""

    def __init__(self, raw: RawHid, on_gone: OnGone | None = None) -> None:
        self._raw = raw
        self._on_gone = on_gone
        self._lock = threading.Lock()  # the raw interface must not go away under a transfer
        self._state_lock = threading.Lock()
        self._gone = False
        self._closed = threading.Event()
        self._reader: threading.Thread | None = None
        self._reports: queue.Queue[bytes] = queue.Queue(QUEUE_REPORTS)
        self._failure: TransportError | None = None

    def start(self, watch: Watch | None) -> None:
        """Begin to watch for the device's disappearance: by `watch`, else by reading all the time."""
        if watch is not None:
            watch(self._mark_gone)
            return
        self._reader = threading.Thread(target=self._read_on, name="hid-reader", daemon=True)
        self._reader.start()

    @property
    def gone(self) -> bool:
        """Whether the device was seen to disappear."""
        return self._gone

    def write(self, report: bytes, timeout: float) -> None:
        """Send one report."""
        try:
            with self._lock:
                self._need_device()
                self._raw.write(report, _ms(timeout))
        except DeviceGone:
            self._mark_gone()  # with the lock free, so that `on_gone` may close
            raise

    def read(self, timeout: float) -> bytes:
        """The next report."""
        try:
            return self._next(timeout)
        except DeviceGone:
            self._mark_gone()
            raise

    def close(self) -> None:
        """Let go of the interface."""
        with self._state_lock:
            if self._closed.is_set():
                return
            self._closed.set()
        reader = self._reader
        if reader is not None and reader is not threading.current_thread():
            reader.join(4 * WATCH_MS / 1000)
        with self._lock:
            self._raw.close()

    def _next(self, timeout: float) -> bytes:
        if self._reader is None:
            with self._lock:
                self._need_device()
                report = self._raw.read(_ms(timeout))
            if not report:
                raise DeviceTimeout("The key did not answer in time.")
            return report
        self._need_device()
        try:
            report = self._reports.get(timeout=max(0.001, timeout))
        except queue.Empty:
            raise DeviceTimeout("The key did not answer in time.") from None
        if not report:  # the reader has ended
            self._keep(b"")
            self._need_device()
            raise self._failure or TransportError("The key's interface was closed.")
        return report

    def _need_device(self) -> None:
        if self._gone or self._closed.is_set():
            raise DeviceGone("The key was unplugged, or let go.")

    def _read_on(self) -> None:
        while not self._closed.is_set():
            try:
                report = self._raw.read(WATCH_MS)
            except DeviceGone:
                self._mark_gone()
                break
            except DeviceTimeout:
                continue
            except TransportError as error:
                self._failure = error
                break
            if report:
                self._keep(report)
        self._keep(b"")

    def _keep(self, report: bytes) -> None:
        """Add to the queue; what nobody has read for long, mostly others' answers, makes room."""
        while True:
            try:
                return self._reports.put_nowait(report)
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    self._reports.get_nowait()

    def _mark_gone(self) -> None:
        with self._state_lock:
            if self._gone or self._closed.is_set():
                return
            self._gone = True
        if self._on_gone is not None:
            self._on_gone()


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
