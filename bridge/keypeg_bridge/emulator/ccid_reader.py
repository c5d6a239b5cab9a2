"""The emulated reader: CCID commands in, replies out (USB CCID specification 1.1, sections 5 and 6), one slot, no I/O.

Promises: every whole command gets exactly one final reply of the right kind, or a failure that names the bad field; while
an answer takes time the host hears so every second; bytes that are no CCID message raise `MalformedFrame`, for the USB
device to stall on. Without a clock nothing waits: touches are there or refused.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from keypeg_bridge.emulator.card import Card
from keypeg_bridge.wire.ccid import (
    HEADER_BYTES,
    REPLY_KINDS,
    CardStatus,
    ClassDescriptor,
    Command,
    Error,
    Kind,
    MessageBuffer,
    Outcome,
    Part,
    Reply,
)
from keypeg_bridge.wire.t1 import CardLink

MAX_MESSAGE: Final = 3_072  # bytes, header included; what common tokens declare
SHORT_MESSAGE: Final = HEADER_BYTES + 261  # for readers that take short APDUs only
MAX_COMMAND: Final = 65_544  # bytes of one extended APDU in parts
EXTENSION_SECONDS: Final = 1.0  # between requests for more time
POLL_SECONDS: Final = 0.02  # between looks at an answer that is under way
_AUTOMATIC: Final = 0x000000FE  # voltage, clock, baud rate and parameters are the reader's business
_T1: Final = 0x01  # bProtocolNum
_T1_PARAMETERS: Final = bytes.fromhex("1110004d00fe00")
# Offsets of bad fields, as bError names them.
_BAD_FIELD: Final = 0x07  # bPowerSelect, bProtocolNum
_BAD_LEVEL: Final = 0x08  # wLevelParameter


class Level(StrEnum):
    """What the reader exchanges with its host."""

    SHORT = "short"  # APDUs of at most 261 bytes
    EXTENDED = "extended"  # APDUs of any length, long ones in parts
    TPDU = "tpdu"  # blocks of T=1, framed by the host


_FEATURES: Final = {
    Level.SHORT: ClassDescriptor.SHORT_APDU,
    Level.EXTENDED: ClassDescriptor.EXTENDED_APDU,
    Level.TPDU: ClassDescriptor.TPDU,
}


class CcidReader:
    """One slot with one card, which is always in it."""

    def __init__(
        self,
        card: Card,
        now: Callable[[], float] | None = None,
        *,
        level: Level = Level.EXTENDED,
        max_message: int | None = None,
    ) -> None:
        self._card = card
        self._now = now
        self._level = level
        self._max_message = max_message or (
            MAX_MESSAGE if level is Level.EXTENDED else SHORT_MESSAGE
        )
        self._buffer = MessageBuffer(self._max_message)
        self._link = CardLink(card.transmit if now is None else card.begin, card.poll)
        self._parameters = _T1_PARAMETERS
        self._commands: dict[int, Callable[[Command], Reply]] = {
            Kind.ICC_POWER_ON: self._power_on,
            Kind.ICC_POWER_OFF: self._power_off,
            Kind.GET_SLOT_STATUS: self._reply,
            Kind.XFR_BLOCK: self._exchange,
            Kind.GET_PARAMETERS: self._get_parameters,
            Kind.RESET_PARAMETERS: self._reset_parameters,
            Kind.SET_PARAMETERS: self._set_parameters,
        }
        self._forget()

    def _forget(self) -> None:
        """Nothing is under way."""
        self._pending: Command | None = None  # its answer takes time
        self._extend_at = 0.0
        self._parts = bytearray()  # of a command that is not whole
        self._rest = b""  # of an answer that did not fit
        self._aborting: int | None = None  # named on the control pipe, not yet on the bulk one
        self._abort_first: Command | None = None  # the other way round

    @property
    def descriptor(self) -> ClassDescriptor:
        """What a host is told about this reader."""
        features = _FEATURES[self._level] | _AUTOMATIC
        return ClassDescriptor(0, ClassDescriptor.T1, features, self._max_message)

    @property
    def deadline(self) -> float | None:
        """When `poll` has something to do at the latest."""
        if self._pending is None or self._now is None:
            return None
        return self._now() + POLL_SECONDS

    def reset(self) -> None:
        """As after a bus reset: card off, nothing half received."""
        self._card.power_off()
        self._link.reset()
        self._parameters = _T1_PARAMETERS
        self.clear_input()
        self._forget()

    def clear_input(self) -> None:
        """Drop a half-received command, as after a cleared stall."""
        self._buffer.clear()

    def receive(self, data: bytes) -> list[bytes]:
        """Take bulk-OUT bytes in any pieces; the replies to the commands they complete."""
        replies: list[bytes] = []
        for message in self._buffer.feed(data):
            reply = self.take(Command.decode(message))
            if reply is not None:
                replies.append(reply.encode())
        return replies

    def poll(self) -> list[bytes]:
        """The answer that was under way, or a request for more time, when either is due."""
        command = self._pending
        if command is None or self._now is None:
            return []
        blocks = self._level is Level.TPDU
        answer = self._link.poll() if blocks else self._card.poll()
        late = self._now() >= self._extend_at
        if answer is None and late and blocks:
            answer = self._link.extend()  # the card asks its host, not the reader
        if answer is not None:
            self._pending = None
            return [self._data(command, answer).encode()]
        return [self._more_time(command).encode()] if late else []

    def abort(self, slot: int, sequence: int) -> list[bytes]:
        """ABORT on the control pipe; its bulk twin has the same number, and may have come before."""
        self.clear_input()
        if slot != 0:
            return []
        replies = []
        if self._pending is not None:
            replies.append(self._failed(self._pending, Error.ABORTED).encode())
        twin = self._abort_first
        self._drop()
        if twin is not None and twin.sequence == sequence:
            replies.append(self._reply(twin).encode())
        else:
            self._aborting = sequence
        return replies

    def take(self, command: Command) -> Reply | None:
        """The reply to one command; None for an abort whose twin on the control pipe is still to come."""
        if command.slot != 0:
            return self._failed(command, Error.BAD_SLOT)
        if command.kind == Kind.ABORT:
            return self._bulk_abort(command)
        if self._aborting is not None or self._abort_first is not None:
            return self._failed(command, Error.ABORTED)
        if self._pending is not None:
            return self._failed(command, Error.SLOT_BUSY)
        return self.answer(command)

    def answer(self, command: Command) -> Reply:
        """The reply to one command of an idle slot: the final one, or a request for more time."""
        if command.slot != 0:
            return self._failed(command, Error.BAD_SLOT)
        handler = self._commands.get(command.kind)
        if handler is None:
            return self._failed(command, Error.NOT_SUPPORTED)
        if command.kind not in (Kind.XFR_BLOCK, Kind.SET_PARAMETERS) and command.data:
            return self._failed(command, Error.BAD_LENGTH)
        return handler(command)

    def _bulk_abort(self, command: Command) -> Reply | None:
        if self._aborting == command.sequence:
            self._drop()
            return self._reply(command)
        if self._aborting is not None:
            return self._failed(command, Error.ABORTED)
        self._abort_first = command
        return None

    def _drop(self) -> None:
        """What was under way is of no interest any more."""
        pending = self._pending is not None
        self._forget()
        if pending:
            self._card.drop()
            self._link.reset()

    @property
    def _status(self) -> CardStatus:
        return CardStatus.ACTIVE if self._card.powered else CardStatus.INACTIVE

    def _failed(self, command: Command, error: int) -> Reply:
        kind = REPLY_KINDS.get(command.kind, Kind.SLOT_STATUS)
        status = self._status if command.slot == 0 else CardStatus.ABSENT
        return Reply(kind, command.slot, command.sequence, b"", status, Outcome.FAILED, error)

    def _reply(self, command: Command, data: bytes = b"", extra: int = 0) -> Reply:
        kind = REPLY_KINDS[command.kind]
        return Reply(kind, 0, command.sequence, data, self._status, extra=extra)

    def _power_on(self, command: Command) -> Reply:
        if command.parameters[0] != 0:  # the voltage is the reader's business
            return self._failed(command, _BAD_FIELD)
        self._parts.clear()
        self._rest = b""
        self._link.reset()
        return self._reply(command, self._card.power_on())

    def _power_off(self, command: Command) -> Reply:
        self._card.power_off()
        return self._reply(command, extra=1)

    def _get_parameters(self, command: Command) -> Reply:
        return self._reply(command, self._parameters, extra=_T1)

    def _reset_parameters(self, command: Command) -> Reply:
        self._parameters = _T1_PARAMETERS
        return self._get_parameters(command)

    def _set_parameters(self, command: Command) -> Reply:
        if command.parameters[0] != _T1:
            return self._failed(command, _BAD_FIELD)
        if len(command.data) != len(_T1_PARAMETERS):
            return self._failed(command, Error.BAD_LENGTH)
        self._parameters = command.data
        return self._get_parameters(command)

    def _exchange(self, command: Command) -> Reply:
        if not self._card.powered:
            return self._failed(command, Error.MUTE)
        part = int.from_bytes(command.parameters[1:], "little")
        if self._level is not Level.EXTENDED:
            if part != Part.WHOLE:
                return self._failed(command, _BAD_LEVEL)
            if not 4 <= len(command.data) <= SHORT_MESSAGE - HEADER_BYTES:
                return self._failed(command, Error.BAD_LENGTH)
            return self._transmit(command, command.data)
        return self._exchange_part(command, part)

    def _exchange_part(self, command: Command, part: int) -> Reply:
        """An extended APDU, whole or the next part of it; or the next part of an answer."""
        if part == Part.NONE:
            if not self._rest or command.data:
                return self._failed(command, _BAD_LEVEL)
            return self._next_part(command, Part.MIDDLE, Part.LAST)
        goes_on = part in (Part.MIDDLE, Part.LAST)
        if part not in set(Part) or goes_on != bool(self._parts):
            self._parts.clear()
            return self._failed(command, _BAD_LEVEL)
        if not command.data or len(self._parts) + len(command.data) > MAX_COMMAND:
            self._parts.clear()
            return self._failed(command, Error.BAD_LENGTH)
        self._parts += command.data
        if part in (Part.FIRST, Part.MIDDLE):
            return self._reply(command, extra=Part.NONE)
        apdu = bytes(self._parts)
        self._parts.clear()
        return self._transmit(command, apdu)

    def _transmit(self, command: Command, data: bytes) -> Reply:
        if self._level is Level.TPDU:
            answer = self._link.receive(data)
        elif self._now is None:
            answer = self._card.transmit(data)
        else:
            answer = self._card.begin(data)
        if answer is None:
            self._pending = command
        return self._more_time(command) if answer is None else self._data(command, answer)

    def _more_time(self, command: Command) -> Reply:
        assert self._now is not None
        self._extend_at = self._now() + EXTENSION_SECONDS
        return Reply(
            Kind.DATA_BLOCK, 0, command.sequence, b"", self._status, Outcome.MORE_TIME, error=1
        )

    def _data(self, command: Command, answer: bytes) -> Reply:
        self._rest = answer
        return self._next_part(command, Part.FIRST, Part.WHOLE)

    def _next_part(self, command: Command, more: Part, last: Part) -> Reply:
        room = self._max_message - HEADER_BYTES
        piece, self._rest = self._rest[:room], self._rest[room:]
        return self._reply(command, piece, extra=more if self._rest else last)
