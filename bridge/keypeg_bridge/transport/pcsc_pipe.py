"""One card of the card service, connected beside other programs.

Promises: the port `CardPipe`: an exchange ends by its time limit though the service knows none, as the service is asked on a
thread of this pipe's own; each exchange is one transaction, so that no other program's command comes into the middle of it; the
card is reset at the end, so that no authorization outlives it. Another program may select another application between two
exchanges: the driver then gets an error, and its key is opened anew.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final

from keypeg_bridge.transport.errors import (
    DeviceBusy,
    DeviceGone,
    DeviceTimeout,
    TransportError,
)
from keypeg_bridge.transport.ports import Monotonic, OnGone
from keypeg_bridge.wire import atr
from keypeg_bridge.wire.errors import MalformedFrame

CONNECT_SECONDS: Final = 5.0
"""To connect: another program's transaction may be under way."""
CLOSE_SECONDS: Final = 1.0
"""To let go; a service that hangs is left behind."""


class PcscPipe:
    """One connected card. `start` before use."""

    def __init__(
        self,
        library: Any,
        reader: str,
        now: Monotonic,
        on_gone: OnGone | None,
        on_close: Callable[[PcscPipe], None],
    ) -> None:
        self._library = library
        self._reader = reader
        self._now = now
        self._on_gone = on_gone
        self._on_close = on_close
        self._state_lock = threading.Lock()
        self._gone = False
        self._closed = False
        self._late: Future[bytes] | None = None
        self._context: Any = None
        self._card: Any = None
        self._protocol = 0
        self.extended = False
        self._calls: queue.SimpleQueue[tuple[Callable[[], bytes], Future[bytes]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._run, name="pcsc-card", daemon=True)

    @property
    def gone(self) -> bool:
        """Whether the card was seen to disappear."""
        return self._gone

    def start(self) -> None:
        """Connect."""
        self._thread.start()
        self._call(self._connect, CONNECT_SECONDS)

    def exchange(self, apdu: bytes, timeout: float) -> bytes:
        """Send one APDU, give the card's answer."""
        return self._call(lambda: self._transmit(apdu), timeout)

    def restart(self) -> None:
        """Cut the card's power and give it again; other programs notice."""
        self._call(self._power_again, CONNECT_SECONDS)

    def close(self) -> None:
        """Let go of the card; a service that hangs is not waited for."""
        with self._state_lock:
            if self._closed:
                return
            self._closed = True
        self._calls.put(None)
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            # Whoever connects next must not have its card reset by us.
            self._thread.join(CLOSE_SECONDS)
        self._on_close(self)

    def mark_gone(self) -> None:
        """The card has left."""
        with self._state_lock:
            if self._gone or self._closed:
                return
            self._gone = True
        if self._on_gone is not None:
            self._on_gone()

    def _call(self, work: Callable[[], bytes], timeout: float) -> bytes:
        if self._gone or self._closed:
            raise DeviceGone("The card was taken out, or let go.")
        if self._late is not None and not self._late.done():
            raise DeviceTimeout("The card service still waits for the card's last answer.")
        future: Future[bytes] = Future()
        self._calls.put((work, future))
        try:
            return future.result(timeout)
        except FutureTimeout:
            self._late = future
            raise DeviceTimeout("The card did not answer in time.") from None
        except DeviceGone:
            self.mark_gone()
            raise

    # On the thread

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            work, future = call
            try:
                future.set_result(work())
            except Exception as error:  # handed to whoever waits for it
                future.set_exception(error)
        scard = self._library
        with contextlib.suppress(Exception):  # the service may be gone: nothing to give back
            if self._card is not None:
                scard.SCardDisconnect(self._card, scard.SCARD_RESET_CARD)
            if self._context is not None:
                scard.SCardReleaseContext(self._context)

    def _connect(self) -> bytes:
        scard = self._library
        code, self._context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
        self._check(code)
        protocols = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
        code, card, self._protocol = scard.SCardConnect(
            self._context, self._reader, scard.SCARD_SHARE_SHARED, protocols
        )
        self._check(code)
        self._card = card
        code, _, _, _, answer = scard.SCardStatus(card)
        self._check(code)
        with contextlib.suppress(
            MalformedFrame
        ):  # how a card introduces itself is its own business
            self.extended = atr.parse(bytes(answer)).extended_length
        return b""

    def _power_again(self) -> bytes:
        scard = self._library
        protocols = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
        code, self._protocol = scard.SCardReconnect(
            self._card, scard.SCARD_SHARE_SHARED, protocols, scard.SCARD_UNPOWER_CARD
        )
        self._check(code)
        return b""

    def _transmit(self, apdu: bytes) -> bytes:
        scard = self._library
        header = (
            scard.SCARD_PCI_T1 if self._protocol == scard.SCARD_PROTOCOL_T1 else scard.SCARD_PCI_T0
        )
        self._check(scard.SCardBeginTransaction(self._card))
        try:
            code, answer = scard.SCardTransmit(self._card, header, list(apdu))
            self._check(code)
            return bytes(answer)
        finally:
            scard.SCardEndTransaction(self._card, scard.SCARD_LEAVE_CARD)

    def _check(self, code: int) -> None:
        """Raise what a code of the service means."""
        scard = self._library
        if code == scard.SCARD_S_SUCCESS:
            return
        words = str(scard.SCardGetErrorMessage(code)).strip().rstrip(".")
        if code in (
            scard.SCARD_W_REMOVED_CARD,
            scard.SCARD_E_NO_SMARTCARD,
            scard.SCARD_E_UNKNOWN_READER,
            scard.SCARD_E_READER_UNAVAILABLE,
        ):
            raise DeviceGone("The card was taken out.")
        if code == scard.SCARD_E_SHARING_VIOLATION:
            raise DeviceBusy("Another program has the card for itself. Close that program.")
        if code == scard.SCARD_W_RESET_CARD:
            raise TransportError("Another program has reset the card.")
        if code in (scard.SCARD_E_NO_SERVICE, scard.SCARD_E_SERVICE_STOPPED):
            raise TransportError("The card service has ended.")
        raise TransportError(f"The card service reports: {words}.")
