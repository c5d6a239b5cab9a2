"""Cards through the system's card service (PC/SC): pcscd on Linux, the system's own elsewhere. Needs pyscard, an extra.

Promises: while a service runs, what it has is shared with other programs, and shown by nobody else (`shares`); without one there
are no cards and no problem; a service that starts, ends or starts anew is noticed, and so are readers and cards that come
and go, by status changes, on a thread of its own. Talking to a card is `pcsc_pipe`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import re
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from keypeg_bridge.transport import sysfs
from keypeg_bridge.transport.errors import (
    BackendUnavailable,
    DeviceGone,
    DeviceRefused,
)
from keypeg_bridge.transport.pcsc_pipe import PcscPipe
from keypeg_bridge.transport.ports import (
    CARD,
    CardPipe,
    FoundDevice,
    HidPipe,
    Monotonic,
    OnGone,
    Problem,
    Shares,
)
from keypeg_bridge.transport.strings import is_emulated, shown

NAME: Final = "pcsc"
FIRST_LOOK: Final = 2.0
"""Seconds that the first listing waits for the service to answer."""
RETRY: Final = 1.0
"""Seconds between two attempts to find a service: one may be started at any time."""
WATCH_MS: Final = 2_000
"""One wait for a change. A reader that comes between two questions is seen after it."""
NEWS: Final = "\\\\?PnP?\\Notification"
"""The reader that changes when readers come and go."""
VIRTUAL: Final = "Virtual PCD"
"""How vsmartcard's readers are called: the card in one is software."""
CHANNEL_USB: Final = 0x20
_NUMBERS: Final = re.compile(r"( \d\d){2}$")
_SERIAL: Final = re.compile(r"\(([^()]{1,126})\)")


def load_library() -> Any:
    """pyscard's lower half; `BackendUnavailable` with a sentence when it is not there."""
    try:
        return importlib.import_module("smartcard.scard")
    except ImportError as error:
        raise BackendUnavailable(
            f"{NAME}: pyscard cannot be loaded ({error}). Install it with: pip install 'keypeg[pcsc]'"
        ) from error


def is_installed() -> bool:
    """Whether pyscard is here."""
    try:
        load_library()
    except BackendUnavailable:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Reader:
    """A card reader, with or without a card."""

    name: str
    state: int = 0
    usb: sysfs.UsbDevice | None = None
    spot: str = ""
    serial: str | None = None

    @property
    def insertions(self) -> int:
        """Counts the cards that came and went."""
        return self.state >> 16

    @property
    def handle(self) -> str:
        """Another one for each card."""
        seed = f"{NAME}|{self.name}|{self.spot}|{self.insertions}"
        return hashlib.sha256(seed.encode()).hexdigest()[:16]


class PcscBackend:
    """The cards of the card service."""

    name = NAME

    def __init__(
        self,
        library: Any,
        now: Monotonic,
        usb_at: Callable[[int, int], sysfs.UsbDevice | None] = sysfs.at,
    ) -> None:
        self._library = library
        self._now = now
        self._usb_at = usb_at
        self._lock = threading.Lock()  # readers, pipes, running
        self._readers: dict[str, _Reader] = {}
        self._pipes: dict[PcscPipe, tuple[str, int]] = {}
        self._running = False
        self._first = threading.Event()
        self._changed = threading.Event()
        self._watcher: threading.Thread | None = None

    def devices(self) -> tuple[list[FoundDevice], list[Problem]]:
        """The cards that are there now, as the service last told."""
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="pcsc-watch", daemon=True)
            self._watcher.start()
        self._first.wait(FIRST_LOOK)
        with self._lock:
            readers = list(self._readers.values())
        return [_device(one) for one in readers if self._has_card(one)], []

    def shares(self) -> Shares:
        """All cards of its readers, while it runs."""
        with self._lock:
            if not self._running:
                return Shares()
            spots = frozenset(one.spot for one in self._readers.values() if one.spot)
        return Shares(frozenset({CARD}), spots)

    def wait(self, seconds: float) -> None:
        """Until the service tells of a change."""
        self._changed.wait(seconds)
        self._changed.clear()

    def wake(self) -> None:
        """End a wait."""
        self._changed.set()

    def open(self, handle: str, on_gone: OnGone | None = None) -> CardPipe:
        """Connect to a listed card, beside other programs."""
        with self._lock:
            found = [one for one in self._readers.values() if one.handle == handle]
        if not found or not self._has_card(found[0]):
            raise DeviceGone("There is no such card; list the devices again.")
        reader = found[0]
        pipe = PcscPipe(self._library, reader.name, self._now, on_gone, self._closed)
        with self._lock:
            self._pipes[pipe] = (reader.name, reader.insertions)
        try:
            pipe.start()
        except BaseException:
            pipe.close()
            raise
        self._tell_gone()  # it may have left meanwhile
        return pipe

    def open_hid(self, handle: str, on_gone: OnGone | None = None) -> HidPipe:
        """Never: a card service has cards only."""
        raise DeviceRefused("The card service reaches no FIDO interfaces.")

    # The watching thread

    def _watch(self) -> None:
        """Follow the service for as long as the process lives."""
        scard = self._library
        while True:
            code, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
            if code == scard.SCARD_S_SUCCESS:
                self._follow(context)
                with contextlib.suppress(
                    Exception
                ):  # the service may be gone: nothing to give back
                    scard.SCardReleaseContext(context)
            self._take({}, running=False)
            threading.Event().wait(RETRY)

    def _follow(self, context: Any) -> None:
        """Until the service is gone."""
        scard = self._library
        news = 0
        while True:
            code, names = scard.SCardListReaders(context, [])
            if code == scard.SCARD_E_NO_READERS_AVAILABLE:
                names = []
            elif code != scard.SCARD_S_SUCCESS:
                return
            with self._lock:
                known = dict(self._readers)
            readers = {name: known.get(name) or self._met(context, name) for name in names}
            asked = [(NEWS, news), *((n, r.state) for n, r in readers.items())]
            code, told = scard.SCardGetStatusChange(context, 0, asked)
            if code not in (scard.SCARD_S_SUCCESS, scard.SCARD_E_TIMEOUT):
                if code == scard.SCARD_E_UNKNOWN_READER:
                    continue  # it left between the two questions
                return
            states = {name: state & ~scard.SCARD_STATE_CHANGED for name, state, _ in told}
            news = states.pop(NEWS, news)
            self._take(
                {n: _with_state(r, states.get(n, r.state)) for n, r in readers.items()},
                running=True,
            )
            asked = [(NEWS, news), *states.items()]
            code, told = scard.SCardGetStatusChange(context, WATCH_MS, asked)
            if code not in (
                scard.SCARD_S_SUCCESS,
                scard.SCARD_E_TIMEOUT,
                scard.SCARD_E_UNKNOWN_READER,
            ):
                return
            news = next((state for name, state, _ in told if name == NEWS), news)
            news &= ~scard.SCARD_STATE_CHANGED

    def _met(self, context: Any, name: str) -> _Reader:
        """A reader that is new: where it is, and what it says of itself."""
        spot, usb, serial = "", None, None
        found = _SERIAL.search(name)
        serial = found.group(1) if found else None
        raw = self._attribute(context, name, self._library.SCARD_ATTR_CHANNEL_ID)
        if len(raw) == 4:
            (channel,) = struct.unpack("<I", raw)
            if channel >> 16 == CHANNEL_USB:
                usb = self._usb_at(channel >> 8 & 0xFF, channel & 0xFF)
                spot = usb.spot if usb is not None else ""
        if usb is not None:
            serial = usb.serial
        return _Reader(name, 0, usb, spot, serial)

    def _attribute(self, context: Any, name: str, attribute: int) -> bytes:
        """Nothing when the reader does not tell."""
        scard = self._library
        code, card, _ = scard.SCardConnect(context, name, scard.SCARD_SHARE_DIRECT, 0)
        if code != scard.SCARD_S_SUCCESS:
            return b""
        try:
            code, value = scard.SCardGetAttrib(card, attribute)
            return bytes(value) if code == scard.SCARD_S_SUCCESS else b""
        finally:
            scard.SCardDisconnect(card, scard.SCARD_LEAVE_CARD)

    def _take(self, readers: dict[str, _Reader], *, running: bool) -> None:
        with self._lock:
            same = (self._readers, self._running) == (readers, running)
            self._readers, self._running = readers, running
        self._first.set()
        self._tell_gone()
        if not same:
            self._changed.set()

    def _tell_gone(self) -> None:
        """Those whose card is not the one that they were connected to."""
        with self._lock:
            there = {
                (one.name, one.insertions) for one in self._readers.values() if self._has_card(one)
            }
            # A service that ended says nothing of the cards: their next exchange does.
            gone = [p for p, card in self._pipes.items() if self._running and card not in there]
        for pipe in gone:
            pipe.mark_gone()

    def _closed(self, pipe: PcscPipe) -> None:
        with self._lock:
            self._pipes.pop(pipe, None)

    def _has_card(self, reader: _Reader) -> bool:
        scard = self._library
        return bool(reader.state & scard.SCARD_STATE_PRESENT) and not (
            reader.state & scard.SCARD_STATE_MUTE
        )


def _with_state(reader: _Reader, state: int) -> _Reader:
    return _Reader(reader.name, state, reader.usb, reader.spot, reader.serial)


def _device(reader: _Reader) -> FoundDevice:
    usb = reader.usb
    emulated = reader.name.startswith(VIRTUAL) or (
        usb is not None and is_emulated(usb.manufacturer, usb.product_name)
    )
    return FoundDevice(
        handle=reader.handle,
        backend=NAME,
        vendor=usb.vendor if usb else 0,
        product=usb.product if usb else 0,
        bus=usb.bus if usb else 0,
        address=usb.address if usb else 0,
        manufacturer=usb.manufacturer if usb else None,
        product_name=(usb.product_name if usb else None) or shown(_NUMBERS.sub("", reader.name)),
        serial=reader.serial,
        emulated=emulated,
        interfaces=frozenset({CARD}),
        spot=reader.spot,
        is_local=True,
    )
