"""USB/IP 1.1.1 on a byte stream (Linux kernel, Documentation/usb/usbip_protocol.rst), both ends, without I/O.

Promises: `ServerDecoder` and `ClientDecoder` take bytes in any pieces and give whole messages in order, or raise
`MalformedFrame`, after which the connection is to be closed; what they hold is bounded by the limits below. Isochronous
transfers are refused. Sockets, time and the devices behind are left to the caller.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import Final

from keypeg_bridge.wire.errors import MalformedFrame

VERSION: Final = 0x0111
OP_REQ_DEVLIST: Final = 0x8005
OP_REP_DEVLIST: Final = 0x0005
OP_REQ_IMPORT: Final = 0x8003
OP_REP_IMPORT: Final = 0x0003
CMD_SUBMIT: Final = 1
CMD_UNLINK: Final = 2
RET_SUBMIT: Final = 3
RET_UNLINK: Final = 4

STATUS_OK: Final = 0
STATUS_UNAVAILABLE: Final = 1
STATUS_BUSY: Final = 2
STATUS_NO_DEVICE: Final = 4

DIRECTION_OUT: Final = 0
DIRECTION_IN: Final = 1
URB_DIR_IN: Final = 0x0200  # the Linux server wants it in the flags of IN transfers

MAX_OUT_DATA: Final = 65_536  # bytes in one OUT transfer; a CCID message has at most 3 KiB here
MAX_IN_LENGTH: Final = 16 * 1024 * 1024  # bytes a host may ask for; nothing is reserved for it
MAX_IN_DATA: Final = 65_536  # bytes a client takes in one answer
MAX_DEVICES: Final = 256
MAX_INTERFACES: Final = 32

_OP: Final = struct.Struct(">HHI")
_BUS_ID_BYTES: Final = 32
_DEVICE: Final = struct.Struct(">256s32sIIIHHHBBBBBB")
_BASIC: Final = struct.Struct(">IIIII")
_SUBMIT: Final = struct.Struct(">IIiii8s")
_RETURN: Final = struct.Struct(">iiiii8x")
HEADER_BYTES: Final = 48
_NO_PACKETS: Final = (0, -1)  # number_of_packets of a transfer that is not isochronous


@dataclass(frozen=True, slots=True)
class Device:
    """One exported device; `interfaces` are (class, subclass, protocol), known from lists only."""

    path: str
    bus_id: str
    bus: int
    address: int
    speed: int
    vendor: int
    product: int
    release: int
    device_class: int = 0
    device_subclass: int = 0
    device_protocol: int = 0
    configuration: int = 1
    configurations: int = 1
    interface_count: int = 1
    interfaces: tuple[tuple[int, int, int], ...] = ()

    @property
    def device_id(self) -> int:
        """What transfers name the device by."""
        return self.bus << 16 | self.address

    def encode(self) -> bytes:
        """The 312 bytes common to both replies."""
        return _DEVICE.pack(
            _fixed(self.path, 256), _fixed(self.bus_id, _BUS_ID_BYTES), self.bus, self.address,
            self.speed, self.vendor, self.product, self.release, self.device_class,
            self.device_subclass, self.device_protocol, self.configuration, self.configurations,
            self.interface_count,
        )  # fmt: skip

    @classmethod
    def decode(cls, raw: bytes) -> Device:
        """From 312 bytes."""
        path, bus_id, *numbers = _DEVICE.unpack(raw)
        return cls(_text(path), _text(bus_id), *numbers)


def _fixed(text: str, size: int) -> bytes:
    raw = text.encode("ascii", "replace")
    if len(raw) >= size:
        raise ValueError(f"{text!r} does not fit in {size} bytes")
    return raw.ljust(size, b"\x00")


def _text(raw: bytes) -> str:
    return raw.split(b"\x00", 1)[0].decode("ascii", "replace")


@dataclass(frozen=True, slots=True)
class ListRequest:
    """OP_REQ_DEVLIST."""

    def encode(self) -> bytes:
        """Eight bytes."""
        return _OP.pack(VERSION, OP_REQ_DEVLIST, 0)


@dataclass(frozen=True, slots=True)
class ListReply:
    """OP_REP_DEVLIST."""

    devices: tuple[Device, ...]
    status: int = STATUS_OK

    def encode(self) -> bytes:
        """Header, count, and each device with its interface triples."""
        parts = [
            _OP.pack(VERSION, OP_REP_DEVLIST, self.status),
            struct.pack(">I", len(self.devices)),
        ]
        for device in self.devices:
            parts.append(device.encode())
            parts += [bytes((*triple, 0)) for triple in device.interfaces]
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """OP_REQ_IMPORT."""

    bus_id: str

    def encode(self) -> bytes:
        """Forty bytes."""
        return _OP.pack(VERSION, OP_REQ_IMPORT, 0) + _fixed(self.bus_id, _BUS_ID_BYTES)


@dataclass(frozen=True, slots=True)
class ImportReply:
    """OP_REP_IMPORT; the device is there when the status is OK."""

    status: int
    device: Device | None = None

    def encode(self) -> bytes:
        """Eight bytes, and 312 more on success."""
        head = _OP.pack(VERSION, OP_REP_IMPORT, self.status)
        return head + (self.device.encode() if self.device else b"")


@dataclass(frozen=True, slots=True)
class Submit:
    """USBIP_CMD_SUBMIT: one transfer; `length` is the room for IN data, or the size of `data`."""

    sequence: int
    device_id: int
    direction: int
    endpoint: int
    length: int
    setup: bytes = bytes(8)
    data: bytes = b""
    flags: int = 0
    interval: int = 0

    @property
    def is_in(self) -> bool:
        """Whether data goes to the host."""
        return self.direction == DIRECTION_IN

    def encode(self) -> bytes:
        """Header, and the data of an OUT transfer."""
        flags = self.flags | (URB_DIR_IN if self.is_in else 0)
        return (
            _BASIC.pack(CMD_SUBMIT, self.sequence, self.device_id, self.direction, self.endpoint)
            + _SUBMIT.pack(flags, self.length, 0, 0, self.interval, self.setup)
            + self.data
        )


@dataclass(frozen=True, slots=True)
class Unlink:
    """USBIP_CMD_UNLINK: take back the transfer numbered `target`."""

    sequence: int
    device_id: int
    target: int

    def encode(self) -> bytes:
        """One header."""
        head = _BASIC.pack(CMD_UNLINK, self.sequence, self.device_id, 0, 0)
        return head + struct.pack(">I24x", self.target)


@dataclass(frozen=True, slots=True)
class Returned:
    """USBIP_RET_SUBMIT: `status` is 0 or a negative errno; an OUT answer has a length but no data."""

    sequence: int
    status: int
    length: int = 0
    data: bytes = b""

    def encode(self) -> bytes:
        """Header, and the data of an IN transfer."""
        head = _BASIC.pack(RET_SUBMIT, self.sequence, 0, 0, 0)
        return head + _RETURN.pack(self.status, self.length, 0, 0, 0) + self.data


@dataclass(frozen=True, slots=True)
class Unlinked:
    """USBIP_RET_UNLINK: -ECONNRESET when the transfer was taken back, 0 when it had ended before."""

    sequence: int
    status: int

    def encode(self) -> bytes:
        """One header."""
        return _BASIC.pack(RET_UNLINK, self.sequence, 0, 0, 0) + struct.pack(">i24x", self.status)


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
        if len(held) < _OP.size:
            return None
        version, code, _ = _OP.unpack_from(held)
        _check_version(version)
        if code == OP_REQ_DEVLIST:
            self._buffer.take(_OP.size)
            return ListRequest()
        if code != OP_REQ_IMPORT:
            raise MalformedFrame("USB/IP", f"operation {code:#06x} is unknown")
        if len(held) < _OP.size + _BUS_ID_BYTES:
            return None
        raw = self._buffer.take(_OP.size + _BUS_ID_BYTES)
        return ImportRequest(_text(raw[_OP.size :]))

    def _next_transfer(self) -> Submit | Unlink | None:
        held = self._buffer.held
        if len(held) < HEADER_BYTES:
            return None
        command, sequence, device_id, direction, endpoint = _BASIC.unpack_from(held)
        if command == CMD_UNLINK:
            raw = self._buffer.take(HEADER_BYTES)
            return Unlink(sequence, device_id, int.from_bytes(raw[20:24], "big"))
        if command != CMD_SUBMIT:
            raise MalformedFrame("USB/IP", f"command {command} is unknown")
        flags, length, _, packets, interval, setup = _SUBMIT.unpack_from(held, _BASIC.size)
        if direction not in (DIRECTION_OUT, DIRECTION_IN) or endpoint > 15:
            raise MalformedFrame("USB/IP", f"direction {direction}, endpoint {endpoint}")
        if packets not in _NO_PACKETS:
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
        if len(held) < _OP.size:
            return None
        version, code, status = _OP.unpack_from(held)
        _check_version(version)
        if code == OP_REP_DEVLIST:
            return self._list_reply(status)
        if code != OP_REP_IMPORT:
            raise MalformedFrame("USB/IP", f"operation {code:#06x} is unknown")
        if status != STATUS_OK:
            self._buffer.take(_OP.size)
            return ImportReply(status)
        if len(held) < _OP.size + _DEVICE.size:
            return None
        raw = self._buffer.take(_OP.size + _DEVICE.size)
        self._imported = True
        return ImportReply(status, Device.decode(raw[_OP.size :]))

    def _list_reply(self, status: int) -> ListReply | None:
        held = self._buffer.held
        at = _OP.size + 4
        if len(held) < at:
            return None
        count = int.from_bytes(held[_OP.size : at], "big")
        if count > MAX_DEVICES:
            raise MalformedFrame("USB/IP", f"a list of {count} devices")
        devices: list[Device] = []
        for _ in range(count):
            if len(held) < at + _DEVICE.size:
                return None
            device = Device.decode(bytes(held[at : at + _DEVICE.size]))
            at += _DEVICE.size
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
        command, sequence, *_ = _BASIC.unpack_from(held)
        if command == RET_UNLINK:
            raw = self._buffer.take(HEADER_BYTES)
            return Unlinked(sequence, int.from_bytes(raw[20:24], "big", signed=True))
        if command != RET_SUBMIT:
            raise MalformedFrame("USB/IP", f"command {command} is unknown")
        if sequence not in self._rooms:
            raise MalformedFrame("USB/IP", f"an answer to transfer {sequence}, which is not open")
        status, length, *_ = _RETURN.unpack_from(held, _BASIC.size)
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
