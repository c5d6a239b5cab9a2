"""The emulated reader: CCID commands in, replies out (USB CCID specification 1.1, section 6), one slot, no I/O.

Promises: every whole command gets exactly one reply of the right kind, or a failure that names the bad field; bytes that
are no CCID message raise `MalformedFrame`, for the USB device to stall on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keypeg_bridge.emulator.card import Card
from keypeg_bridge.wire.ccid import (
    REPLY_KINDS,
    CardStatus,
    ClassDescriptor,
    Command,
    Error,
    Kind,
    MessageBuffer,
    Outcome,
    Reply,
)

MAX_MESSAGE: Final = 3_072  # bytes, header included; what common tokens declare
_AUTOMATIC: Final = 0x000000FE  # voltage, clock, baud rate and parameters are the reader's business
DESCRIPTOR: Final = ClassDescriptor(
    max_slot_index=0,
    protocols=0x02,  # T=1
    features=ClassDescriptor.EXTENDED_APDU | _AUTOMATIC,
    max_message=MAX_MESSAGE,
)
_T1_PARAMETERS: Final = bytes.fromhex("1110004d00fe00")
_BAD_LEVEL: Final = 0x08  # offset of wLevelParameter


class CcidReader:
    """One slot with one card, which is always in it."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._buffer = MessageBuffer(MAX_MESSAGE)
        self._commands: dict[int, Callable[[Command], Reply]] = {
            Kind.ICC_POWER_ON: self._power_on,
            Kind.ICC_POWER_OFF: self._power_off,
            Kind.GET_SLOT_STATUS: self._done,
            Kind.XFR_BLOCK: self._exchange,
            Kind.GET_PARAMETERS: self._parameters,
            Kind.RESET_PARAMETERS: self._parameters,
            Kind.SET_PARAMETERS: self._parameters,
            Kind.ABORT: self._done,
        }

    def reset(self) -> None:
        """As after a bus reset: card off, nothing half received."""
        self._card.power_off()
        self._buffer.clear()

    def clear_input(self) -> None:
        """Drop a half-received command, as after a cleared stall or an abort."""
        self._buffer.clear()

    def receive(self, data: bytes) -> list[bytes]:
        """Take bulk-OUT bytes in any pieces; the replies to the commands they complete."""
        return [self.answer(Command.decode(m)).encode() for m in self._buffer.feed(data)]

    def answer(self, command: Command) -> Reply:
        """The reply to one command."""
        if command.slot != 0:
            return self._failed(command, Error.BAD_SLOT, CardStatus.ABSENT)
        handler = self._commands.get(command.kind)
        if handler is None:
            return self._failed(command, Error.NOT_SUPPORTED)
        return handler(command)

    @property
    def _status(self) -> CardStatus:
        return CardStatus.ACTIVE if self._card.powered else CardStatus.INACTIVE

    def _failed(self, command: Command, error: int, card: CardStatus | None = None) -> Reply:
        kind = REPLY_KINDS.get(command.kind, Kind.SLOT_STATUS)
        status = self._status if card is None else card
        return Reply(kind, command.slot, command.sequence, b"", status, Outcome.FAILED, error)

    def _reply(self, command: Command, data: bytes = b"", extra: int = 0) -> Reply:
        kind = REPLY_KINDS[command.kind]
        return Reply(kind, 0, command.sequence, data, self._status, extra=extra)

    def _power_on(self, command: Command) -> Reply:
        return self._reply(command, self._card.power_on())

    def _power_off(self, command: Command) -> Reply:
        self._card.power_off()
        return self._reply(command, extra=1)

    def _done(self, command: Command) -> Reply:
        return self._reply(command)

    def _parameters(self, command: Command) -> Reply:
        return self._reply(command, _T1_PARAMETERS, extra=1)

    def _exchange(self, command: Command) -> Reply:
        if not self._card.powered:
            return self._failed(command, Error.MUTE)
        if command.parameters[1:] != b"\x00\x00":
            return self._failed(command, _BAD_LEVEL)
        if not command.data:
            return self._failed(command, Error.BAD_LENGTH)
        return self._reply(command, self._card.transmit(command.data))
