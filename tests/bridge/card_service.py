"""pyscard's lower half, as pcsc-lite behaves, with a service, readers and cards that tests start, plug in and take away."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

NEWS = "\\\\?PnP?\\Notification"
ATR = bytes.fromhex("3b8680016b65797065677e")
Answering = Callable[[bytes], bytes]


@dataclass(eq=False)
class Reader:
    """A reader, and the card in it."""

    name: str
    channel: int | None = None
    answering: Answering | None = None
    insertions: int = 0
    events: list[str] = field(default_factory=list)

    @property
    def state(self) -> int:
        if self.answering is None:
            return self.insertions << 16 | CardService.SCARD_STATE_EMPTY
        return self.insertions << 16 | CardService.SCARD_STATE_PRESENT


@dataclass(eq=False)
class Connection:
    """One program's hold on a card."""

    reader: Reader
    insertion: int


class CardService:
    """The module, and the service behind it."""

    SCARD_S_SUCCESS = 0
    SCARD_E_TIMEOUT = 10
    SCARD_E_NO_SERVICE = 29
    SCARD_E_SERVICE_STOPPED = 30
    SCARD_E_NO_READERS_AVAILABLE = 46
    SCARD_E_UNKNOWN_READER = 9
    SCARD_E_READER_UNAVAILABLE = 23
    SCARD_E_NO_SMARTCARD = 12
    SCARD_E_SHARING_VIOLATION = 11
    SCARD_E_UNSUPPORTED_FEATURE = 34
    SCARD_W_REMOVED_CARD = 105
    SCARD_W_RESET_CARD = 104
    SCARD_STATE_CHANGED = 0x2
    SCARD_STATE_EMPTY = 0x10
    SCARD_STATE_PRESENT = 0x20
    SCARD_STATE_MUTE = 0x200
    SCARD_SCOPE_USER = 0
    SCARD_SHARE_DIRECT = 3
    SCARD_SHARE_SHARED = 2
    SCARD_PROTOCOL_T0 = 1
    SCARD_PROTOCOL_T1 = 2
    SCARD_PCI_T0 = "T=0"
    SCARD_PCI_T1 = "T=1"
    SCARD_LEAVE_CARD = 0
    SCARD_RESET_CARD = 1
    SCARD_UNPOWER_CARD = 2
    SCARD_ATTR_CHANNEL_ID = 0x00020110

    def __init__(self, *, running: bool = True) -> None:
        self._changed = threading.Condition()
        self._running = running
        self._contexts = 0
        self._starts = 0
        self.readers: dict[str, Reader] = {}
        self.failing: int | None = None
        """What the next exchanges come to."""

    # In the hands of tests

    def start(self) -> None:
        with self._changed:
            self._running = True
            self._starts += 1
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._running = False
            self._changed.notify_all()

    def plug(self, name: str, *, channel: int | None = None) -> Reader:
        """A new reader, without a card."""
        with self._changed:
            reader = self.readers[name] = Reader(name, channel)
            self._changed.notify_all()
        return reader

    def insert(self, reader: Reader, answering: Answering) -> None:
        with self._changed:
            reader.answering = answering
            reader.insertions += 1
            self._changed.notify_all()

    def take_out(self, reader: Reader) -> None:
        with self._changed:
            reader.answering = None
            reader.insertions += 1
            self._changed.notify_all()

    def unplug(self, reader: Reader) -> None:
        with self._changed:
            del self.readers[reader.name]
            reader.answering = None
            self._changed.notify_all()

    # The module

    def SCardEstablishContext(self, scope: int) -> tuple[int, object]:  # noqa: N802
        if not self._running:
            return self.SCARD_E_NO_SERVICE, None
        return 0, ("context", self._starts)

    def SCardReleaseContext(self, context: object) -> int:  # noqa: N802
        return 0

    def SCardListReaders(self, context: object, groups: list[str]) -> tuple[int, list[str]]:  # noqa: N802
        if not self._alive(context):
            return self.SCARD_E_SERVICE_STOPPED, []
        if not self.readers:
            return self.SCARD_E_NO_READERS_AVAILABLE, []
        return 0, list(self.readers)

    def SCardGetStatusChange(  # noqa: N802
        self, context: object, timeout_ms: int, asked: list[tuple[str, int]]
    ) -> tuple[int, list[tuple[str, int, list[int]]]]:
        names = [name for name, _ in asked if name != NEWS]

        def told() -> list[tuple[str, int, list[int]]]:
            found = [(NEWS, len(self.readers) << 16, list[int]())]
            for name, known in asked:
                if name != NEWS:
                    state = self.readers[name].state
                    changed = self.SCARD_STATE_CHANGED if state != known else 0
                    found.append((name, state | changed, list(ATR)))
            return found

        def is_new() -> bool:
            return (
                not self._alive(context)
                or any(name not in self.readers for name in names)
                or set(names) != set(self.readers)
                or any(state & self.SCARD_STATE_CHANGED for _, state, _ in told())
            )

        with self._changed:
            happened = self._changed.wait_for(is_new, timeout_ms / 1000)
            if not self._alive(context):
                return self.SCARD_E_SERVICE_STOPPED, []
            if any(name not in self.readers for name in names):
                return self.SCARD_E_UNKNOWN_READER, []
            return (0 if happened else self.SCARD_E_TIMEOUT), told()

    def SCardConnect(  # noqa: N802
        self, context: object, name: str, share: int, protocols: int
    ) -> tuple[int, Connection | None, int]:
        reader = self.readers.get(name)
        if not self._alive(context):
            return self.SCARD_E_SERVICE_STOPPED, None, 0
        if reader is None:
            return self.SCARD_E_UNKNOWN_READER, None, 0
        if share == self.SCARD_SHARE_DIRECT:
            return 0, Connection(reader, reader.insertions), 0
        if self.failing is not None:
            return self.failing, None, 0
        if reader.answering is None:
            return self.SCARD_E_NO_SMARTCARD, None, 0
        reader.events.append("connect")
        return 0, Connection(reader, reader.insertions), self.SCARD_PROTOCOL_T1

    def SCardReconnect(  # noqa: N802
        self, card: Connection, share: int, protocols: int, how: int
    ) -> tuple[int, int]:
        card.reader.events.append("power" if how == self.SCARD_UNPOWER_CARD else "reset")
        return self._state_of(card), self.SCARD_PROTOCOL_T1

    def SCardDisconnect(self, card: Connection, how: int) -> int:  # noqa: N802
        if how == self.SCARD_RESET_CARD:
            card.reader.events.append("reset")
        return 0

    def SCardStatus(self, card: Connection) -> tuple[int, str, int, int, list[int]]:  # noqa: N802
        return self._state_of(card), card.reader.name, 0, self.SCARD_PROTOCOL_T1, list(ATR)

    def SCardGetAttrib(self, card: Connection, attribute: int) -> tuple[int, list[int]]:  # noqa: N802
        if attribute != self.SCARD_ATTR_CHANNEL_ID or card.reader.channel is None:
            return self.SCARD_E_UNSUPPORTED_FEATURE, []
        return 0, list(struct.pack("<I", card.reader.channel))

    def SCardBeginTransaction(self, card: Connection) -> int:  # noqa: N802
        card.reader.events.append("begin")
        return self._state_of(card)

    def SCardEndTransaction(self, card: Connection, how: int) -> int:  # noqa: N802
        card.reader.events.append("end")
        return 0

    def SCardTransmit(  # noqa: N802
        self, card: Connection, header: str, apdu: list[int]
    ) -> tuple[int, list[int]]:
        assert header == self.SCARD_PCI_T1
        code = self._state_of(card)
        if code or card.reader.answering is None:
            return code, []
        return 0, list(card.reader.answering(bytes(apdu)))

    def SCardGetErrorMessage(self, code: int) -> str:  # noqa: N802
        return f"Error {code}."

    def _alive(self, context: object) -> bool:
        return self._running and context == ("context", self._starts)

    def _state_of(self, card: Connection) -> int:
        if self.failing is not None:
            return self.failing
        if not self._running:
            return self.SCARD_E_NO_SERVICE
        if card.reader.insertions != card.insertion or card.reader.answering is None:
            return self.SCARD_W_REMOVED_CARD
        return 0
