"""USB/IP on a byte stream, from the server's and from the client's side, without I/O.

Promises: `ServerDecoder` and `ClientDecoder` take bytes in any pieces and give whole messages in order, or raise
`MalformedFrame`, after which the connection is to be closed; what they hold is bounded by the limits in `usbip.py`.
Isochronous transfers are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from keypeg_bridge.wire.errors import MalformedFrame
from keypeg_bridge.wire.usbip import (
    BASIC_LAYOUT,
    BUS_ID_BYTES,
    CMD_SUBMIT,
    CMD_UNLINK,
    DEVICE_LAYOUT,
    DIRECTION_IN,
    DIRECTION_OUT,
    HEADER_BYTES,
    MAX_DEVICES,
    MAX_IN_DATA,
    MAX_IN_LENGTH,
    MAX_INTERFACES,
    MAX_OUT_DATA,
    NO_PACKETS,
    OP_LAYOUT,
    OP_REP_DEVLIST,
    OP_REP_IMPORT,
    OP_REQ_DEVLIST,
    OP_REQ_IMPORT,
    RET_SUBMIT,
    RET_UNLINK,
    RETURN_LAYOUT,
    STATUS_OK,
    SUBMIT_LAYOUT,
    VERSION,
    Device,
    ImportReply,
    ImportRequest,
    ListReply,
    ListRequest,
    Returned,
    Submit,
    Unlink,
    Unlinked,
    text_of,
)


class _Buffer:
    """Bytes received and not yet used."""

    def __init__(self) -> None:
        self.held = bytearray()

    def take(self, size: int) -> bytes:
        taken = bytes(self.held[:size])
        del self.held[:size]
        return taken


@dataclass
class ServerDecoder:
    """What a client sends. `imported()` is called once an import was granted: transfers follow."""

    _transfers: bool = False
    _buffer: _Buffer = field(default_factory=_Buffer)

    def imported(self) -> None:
        """From here on the stream carries transfers."""
        self._transfers = True

    def feed(self, data: bytes) -> None:
        """Take bytes; call `next` until it gives None before feeding more."""
        self._buffer.held += data

    def next(self) -> ListRequest | ImportRequest | Submit | Unlink | None:
        """The next whole message, or None when more bytes are needed."""
        return self._next_transfer() if self._transfers else self._next_operation()

    def _next_operation(self) -> ListRequest | ImportRequest | None:
        held = self._buffer.held
        if len(held) < OP_LAYOUT.size:
            return None
        version, code, _ = OP_LAYOUT.unpack_from(held)
        _check_version(version)
        if code == OP_REQ_DEVLIST:
            self._buffer.take(OP_LAYOUT.size)
            return ListRequest()
        if code != OP_REQ_IMPORT:
            raise MalformedFrame("USB/IP", f"operation {code:#06x} is unknown")
        if len(held) < OP_LAYOUT.size + BUS_ID_BYTES:
            return None
        raw = self._buffer.take(OP_LAYOUT.size + BUS_ID_BYTES)
        return ImportRequest(text_of(raw[OP_LAYOUT.size :]))

    def _next_transfer(self) -> Submit | Unlink | None:
        held = self._buffer.held
        if len(held) < HEADER_BYTES:
            return None
        command, sequence, device_id, direction, endpoint = BASIC_LAYOUT.unpack_from(held)
        if command == CMD_UNLINK:
            raw = self._buffer.take(HEADER_BYTES)
            return Unlink(sequence, device_id, int.from_bytes(raw[20:24], "big"))
        if command != CMD_SUBMIT:
            raise MalformedFrame("USB/IP", f"command {command} is unknown")
        flags, length, _, packets, interval, setup = SUBMIT_LAYOUT.unpack_from(
            held, BASIC_LAYOUT.size
        )
        if direction not in (DIRECTION_OUT, DIRECTION_IN) or endpoint > 15:
            raise MalformedFrame("USB/IP", f"direction {direction}, endpoint {endpoint}")
        if packets not in NO_PACKETS:
            raise MalformedFrame(
                "USB/IP", f"{packets} isochronous packets, which are not supported"
            )
        follows = length if direction == DIRECTION_OUT else 0
        if follows > MAX_OUT_DATA or length > MAX_IN_LENGTH:
            raise MalformedFrame("USB/IP", f"a transfer of {length} bytes")
        if len(held) < HEADER_BYTES + follows:
            return None
        data = self._buffer.take(HEADER_BYTES + follows)[HEADER_BYTES:]
        return Submit(
            sequence, device_id, direction, endpoint, length, setup, data, flags, interval
        )


@dataclass
class ClientDecoder:
    """What a server sends. Submitted transfers are announced with `expect`, as answers do not say their direction."""

    _imported: bool = False
    _buffer: _Buffer = field(default_factory=_Buffer)
    _rooms: dict[int, int] = field(default_factory=dict)

    def expect(self, submit: Submit) -> None:
        """A transfer is on its way: its answer carries data if it is IN, at most its length."""
        self._rooms[submit.sequence] = submit.length if submit.is_in else 0

    def forget(self, sequence: int) -> None:
        """A transfer was taken back: no answer will come for it."""
        self._rooms.pop(sequence, None)

    def feed(self, data: bytes) -> None:
        """Take bytes; call `next` until it gives None before feeding more."""
        self._buffer.held += data

    def next(self) -> ListReply | ImportReply | Returned | Unlinked | None:
        """The next whole message, or None when more bytes are needed."""
        return self._next_transfer() if self._imported else self._next_operation()

    def _next_operation(self) -> ListReply | ImportReply | None:
        held = self._buffer.held
        if len(held) < OP_LAYOUT.size:
            return None
        version, code, status = OP_LAYOUT.unpack_from(held)
        _check_version(version)
        if code == OP_REP_DEVLIST:
            return self._list_reply(status)
        if code != OP_REP_IMPORT:
            raise MalformedFrame("USB/IP", f"operation {code:#06x} is unknown")
        if status != STATUS_OK:
            self._buffer.take(OP_LAYOUT.size)
            return ImportReply(status)
        if len(held) < OP_LAYOUT.size + DEVICE_LAYOUT.size:
            return None
        raw = self._buffer.take(OP_LAYOUT.size + DEVICE_LAYOUT.size)
        self._imported = True
        return ImportReply(status, Device.decode(raw[OP_LAYOUT.size :]))

    def _list_reply(self, status: int) -> ListReply | None:
        held = self._buffer.held
        at = OP_LAYOUT.size + 4
        if len(held) < at:
            return None
        count = int.from_bytes(held[OP_LAYOUT.size : at], "big")
        if count > MAX_DEVICES:
            raise MalformedFrame("USB/IP", f"a list of {count} devices")
        devices: list[Device] = []
        for _ in range(count):
            if len(held) < at + DEVICE_LAYOUT.size:
                return None
            device = Device.decode(bytes(held[at : at + DEVICE_LAYOUT.size]))
            at += DEVICE_LAYOUT.size
            if device.interface_count > MAX_INTERFACES:
                raise MalformedFrame("USB/IP", f"a device of {device.interface_count} interfaces")
            end = at + 4 * device.interface_count
            if len(held) < end:
                return None
            triples = tuple((held[i], held[i + 1], held[i + 2]) for i in range(at, end, 4))
            devices.append(_with_interfaces(device, triples))
            at = end
        self._buffer.take(at)
        return ListReply(tuple(devices), status)

    def _next_transfer(self) -> Returned | Unlinked | None:
        held = self._buffer.held
        if len(held) < HEADER_BYTES:
            return None
        command, sequence, *_ = BASIC_LAYOUT.unpack_from(held)
        if command == RET_UNLINK:
            raw = self._buffer.take(HEADER_BYTES)
            return Unlinked(sequence, int.from_bytes(raw[20:24], "big", signed=True))
        if command != RET_SUBMIT:
            raise MalformedFrame("USB/IP", f"command {command} is unknown")
        if sequence not in self._rooms:
            raise MalformedFrame("USB/IP", f"an answer to transfer {sequence}, which is not open")
        status, length, *_ = RETURN_LAYOUT.unpack_from(held, BASIC_LAYOUT.size)
        room = self._rooms[sequence]
        follows = length if room else 0
        if not 0 <= follows <= min(room, MAX_IN_DATA) or length < 0:
            raise MalformedFrame("USB/IP", f"an answer of {length} bytes where {room} fit")
        if len(held) < HEADER_BYTES + follows:
            return None
        data = self._buffer.take(HEADER_BYTES + follows)[HEADER_BYTES:]
        del self._rooms[sequence]
        return Returned(sequence, status, length, data)


def _with_interfaces(device: Device, triples: tuple[tuple[int, int, int], ...]) -> Device:
    return replace(device, interfaces=triples)


def _check_version(version: int) -> None:
    if version >> 8 != VERSION >> 8:
        raise MalformedFrame("USB/IP", f"protocol version {version:#06x}, expected {VERSION:#06x}")
