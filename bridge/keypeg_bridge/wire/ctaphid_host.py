"""The driver's end of CTAPHID: one channel, one request at a time, without I/O.

Promises: any packet read gives an event, nothing, or `MalformedFrame`.

Leaves to others: packets and messages (ctaphid.py), moving and waiting for them (transports).
"""

from __future__ import annotations

from dataclasses import dataclass

from keypeg_bridge.wire.ctaphid import (
    BROADCAST,
    NONCE_BYTES,
    Assembly,
    Command,
    InitReply,
    Packet,
    fragment,
)
from keypeg_bridge.wire.errors import MalformedFrame


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer to the request that is open."""

    command: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Keepalive:
    """The key works on it, or waits for a touch (`KeepaliveStatus`; other numbers are kept)."""

    status: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The key ended the request with a CTAPHID_ERROR; `describe_error` has words for the code."""

    code: int


HostEvent = Answer | Keepalive | Failed


class HostLink:
    """The driver's end: one request at a time, on the channel that `open` and `opened` agree on.

    `open(nonce)` and `request(...)` give the packets to write; each packet read goes to `receive`, which gives an event
    or None for "read on". Packets of other channels and answers to other programs' INIT are passed over; what breaks the
    protocol on our own channel raises `MalformedFrame`. After that, or when a request was given up, `open` makes the
    channel clean again.
    """

    def __init__(self) -> None:
        self.channel = BROADCAST
        self.info: InitReply | None = None
        self._nonce: bytes | None = None
        self._command: int | None = None
        self._assembly: Assembly | None = None

    def open(self, nonce: bytes) -> list[bytes]:
        """Ask for a channel, or make our own channel forget what it does; 8 random bytes tell our answer from others'."""
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"a nonce has {NONCE_BYTES} bytes")
        self._nonce, self._command, self._assembly = nonce, Command.INIT, None
        return fragment(self.channel, Command.INIT, nonce)

    def request(self, command: int, payload: bytes = b"") -> list[bytes]:
        """The packets of one request; the earlier one is over, or was given up by `open`."""
        if self.info is None:
            raise ValueError("the channel is not open")
        self._command, self._assembly, self._nonce = command, None, None
        return fragment(self.channel, command, payload)

    def cancel(self) -> list[bytes]:
        """Ask the key to give up the open CBOR request; it answers that request, not this."""
        return fragment(self.channel, Command.CANCEL, b"")

    def receive(self, raw: bytes) -> HostEvent | None:
        """Take one packet; what it means for the open request."""
        packet = Packet.decode(raw)
        if packet.channel != self.channel or self._command is None:
            return None
        if packet.command == Command.KEEPALIVE:
            return self._keepalive(packet)
        if packet.starts:
            if self._assembly is not None:
                raise MalformedFrame("CTAPHID", "an answer begins inside another")
            if packet.command not in (self._command, Command.ERROR):
                raise MalformedFrame(
                    "CTAPHID", f"answer {packet.command:#04x} to command {self._command:#04x}"
                )
            self._assembly = Assembly(packet)
        elif self._assembly is None:
            return None  # the rest of an answer to another program on the broadcast channel, or of one given up
        else:
            self._assembly.add(packet)
        return self._finish() if self._assembly.whole else None

    def _keepalive(self, packet: Packet) -> Keepalive | None:
        if packet.length != 1:
            raise MalformedFrame("CTAPHID", f"a keepalive of {packet.length} bytes")
        return None if self._assembly is not None else Keepalive(packet.data[0])

    def _finish(self) -> HostEvent | None:
        assembly, self._assembly = self._assembly, None
        assert assembly is not None
        payload = assembly.payload
        if assembly.command == Command.ERROR:
            if len(payload) != 1:
                raise MalformedFrame("CTAPHID", f"an error of {len(payload)} bytes")
            self._command = None
            return Failed(payload[0])
        if assembly.command == Command.INIT and self._nonce is not None:
            if payload[:NONCE_BYTES] != self._nonce:
                return None  # another program's
            info = InitReply.decode(payload)
            if self.channel not in (BROADCAST, info.channel):
                raise MalformedFrame("CTAPHID", "INIT on a channel was answered with another")
            self.info, self.channel, self._nonce = info, info.channel, None
        self._command = None
        return Answer(assembly.command, payload)
