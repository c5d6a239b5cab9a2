"""The device's end of CTAPHID (CTAP 2.1, section 11.2): channels, arbitration, time limits, the link's own commands.

Promises: any packet ends in events or is passed over as the specification says; one transaction at a time; memory is one
message. INIT, PING, LOCK and every CTAPHID_ERROR are answered here; MSG, CBOR and WINK become `Request` and are ended by
`answer`, `fail` or the host. Time is an argument, in seconds; doing what is asked, and sending, are left to the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keypeg_bridge.wire.ctaphid import (
    BROADCAST,
    MAX_MESSAGE,
    NONCE_BYTES,
    RESERVED,
    Assembly,
    Capability,
    Command,
    ErrorCode,
    InitReply,
    KeepaliveStatus,
    Packet,
    fragment,
)
from keypeg_bridge.wire.errors import MalformedFrame

MESSAGE_SECONDS: Final = (
    3.0  # for a begun message to be whole; the time-out of the U2F HID header file
)
MAX_LOCK_SECONDS: Final = 10  # section 11.2.9.2.2

_LENGTHS: Final = {  # bytes of a request: least, most
    Command.PING: (0, MAX_MESSAGE),
    Command.MSG: (1, MAX_MESSAGE),
    Command.LOCK: (1, 1),
    Command.INIT: (NONCE_BYTES, NONCE_BYTES),
    Command.WINK: (0, 0),
    Command.CBOR: (1, MAX_MESSAGE),
    Command.CANCEL: (0, 0),
}


@dataclass(frozen=True, slots=True)
class Reply:
    """A packet to send now."""

    packet: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request; the transaction stays open until `answer` or `fail`."""

    channel: int
    command: Command
    payload: bytes


@dataclass(frozen=True, slots=True)
class Cancel:
    """The host wants the open CBOR request given up: answer it, with CTAP2_ERR_KEEPALIVE_CANCEL."""


@dataclass(frozen=True, slots=True)
class Abort:
    """The open request is over without an answer: its channel was initialized anew."""


DeviceEvent = Reply | Request | Cancel | Abort


class DeviceLink:
    """All channels of one device."""

    def __init__(self, version: tuple[int, int, int], capabilities: Capability) -> None:
        self._version = version
        self._capabilities = capabilities
        self.reset()

    def reset(self) -> None:
        """Forget channels, transaction and lock, as after power-on."""
        self._channels = 0  # given out so far: 1 to this number
        self._assembly: Assembly | None = None
        self._deadline = 0.0
        self._open: Request | None = None
        self._locked: tuple[int, float] | None = None  # channel, end

    @property
    def deadline(self) -> float | None:
        """When `expire` has something to do, if nothing comes before."""
        return None if self._assembly is None else self._deadline

    @property
    def busy(self) -> bool:
        """Whether a request is open."""
        return self._open is not None

    def receive(self, raw: bytes, now: float) -> list[DeviceEvent]:
        """Take one packet; `MalformedFrame` when it has not 64 bytes."""
        packet = Packet.decode(raw)
        events = self.expire(now)
        return events + (self._begin(packet, now) if packet.starts else self._continue(packet))

    def expire(self, now: float) -> list[DeviceEvent]:
        """End a message whose rest did not come in time, and a lock that is over."""
        if self._locked is not None and now >= self._locked[1]:
            self._locked = None
        if self._assembly is None or now < self._deadline:
            return []
        channel, self._assembly = self._assembly.channel, None
        return [_error(channel, ErrorCode.MSG_TIMEOUT)]

    def answer(self, payload: bytes) -> list[bytes]:
        """End the open request; its packets."""
        request = self._take()
        return fragment(request.channel, request.command, payload)

    def fail(self, code: ErrorCode) -> list[bytes]:
        """End the open request by a CTAPHID_ERROR."""
        return [_error(self._take().channel, code).packet]

    def keepalive(self, status: KeepaliveStatus) -> list[bytes]:
        """Tell the host of the open request that it is worked on."""
        assert self._open is not None
        return fragment(self._open.channel, Command.KEEPALIVE, bytes((status,)))

    def _take(self) -> Request:
        request, self._open = self._open, None
        assert request is not None
        return request

    def _begin(self, packet: Packet, now: float) -> list[DeviceEvent]:
        channel, number = packet.channel, packet.command
        if channel == BROADCAST and number == Command.INIT:
            return self._initialize(packet)
        if channel == RESERVED or channel > self._channels:
            return [_error(channel, ErrorCode.INVALID_CHANNEL)]
        if number == Command.INIT and packet.length == NONCE_BYTES:
            return self._initialize(packet)
        if number == Command.CANCEL and packet.length == 0:
            request = self._open
            mine = request is not None and request.channel == channel
            return [Cancel()] if mine and request and request.command == Command.CBOR else []
        if self._assembly is not None and self._assembly.channel == channel:
            self._assembly = None
            return [_error(channel, ErrorCode.INVALID_SEQ)]
        if self._assembly is not None or self._open is not None or self._elsewhere(channel):
            return [_error(channel, ErrorCode.CHANNEL_BUSY)]
        if number not in _LENGTHS or not self._offers(Command(number)):
            return [_error(channel, ErrorCode.INVALID_CMD)]
        least, most = _LENGTHS[Command(number)]
        if not least <= packet.length <= most:
            return [_error(channel, ErrorCode.INVALID_LEN)]
        self._assembly, self._deadline = Assembly(packet), now + MESSAGE_SECONDS
        return self._finish(now)

    def _continue(self, packet: Packet) -> list[DeviceEvent]:
        assembly = self._assembly
        if assembly is None or assembly.channel != packet.channel:
            return []  # without a beginning: to be ignored
        try:
            assembly.add(packet)
        except MalformedFrame:
            self._assembly = None
            return [_error(packet.channel, ErrorCode.INVALID_SEQ)]
        return self._finish(None)

    def _finish(self, now: float | None) -> list[DeviceEvent]:
        assembly = self._assembly
        assert assembly is not None
        if not assembly.whole:
            return []
        self._assembly = None
        command = Command(assembly.command)
        if command is Command.PING:
            packets = fragment(assembly.channel, command, assembly.payload)
            return [Reply(packet) for packet in packets]
        if command is Command.LOCK and now is not None:
            return self._lock(assembly.channel, assembly.payload[0], now)
        self._open = Request(assembly.channel, command, assembly.payload)
        return [self._open]

    def _initialize(self, packet: Packet) -> list[DeviceEvent]:
        if packet.length != NONCE_BYTES:
            return [_error(packet.channel, ErrorCode.INVALID_LEN)]
        events: list[DeviceEvent] = []
        channel = packet.channel
        if channel == BROADCAST:
            self._channels = self._channels % (BROADCAST - 1) + 1
            channel = self._channels
        else:
            if self._assembly is not None and self._assembly.channel == channel:
                self._assembly = None
            if self._open is not None and self._open.channel == channel:
                self._open = None
                events.append(Abort())
        nonce = packet.data[:NONCE_BYTES]
        reply = InitReply(nonce, channel, self._version, self._capabilities).encode()
        return events + [Reply(p) for p in fragment(packet.channel, Command.INIT, reply)]

    def _lock(self, channel: int, seconds: int, now: float) -> list[DeviceEvent]:
        if seconds > MAX_LOCK_SECONDS:
            return [_error(channel, ErrorCode.INVALID_PAR)]
        self._locked = (channel, now + seconds) if seconds else None
        return [Reply(packet) for packet in fragment(channel, Command.LOCK, b"")]

    def _elsewhere(self, channel: int) -> bool:
        return self._locked is not None and self._locked[0] != channel

    def _offers(self, command: Command) -> bool:
        match command:
            case Command.CBOR | Command.CANCEL:
                return Capability.CBOR in self._capabilities
            case Command.WINK:
                return Capability.WINK in self._capabilities
            case Command.MSG:
                return Capability.NMSG not in self._capabilities
            case _:
                return True


def _error(channel: int, code: ErrorCode) -> Reply:
    (packet,) = fragment(channel, Command.ERROR, bytes((code,)))
    return Reply(packet)
