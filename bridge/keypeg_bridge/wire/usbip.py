"""USB/IP 1.1.1 messages (Linux kernel, Documentation/usb/usbip_protocol.rst): values and their bytes.

Promises: frozen values that encode themselves. Finding messages in a byte stream is `usbip_stream.py`'s; sockets, time and
the devices behind are left to the caller.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

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

OP_LAYOUT: Final = struct.Struct(">HHI")
BUS_ID_BYTES: Final = 32
DEVICE_LAYOUT: Final = struct.Struct(">256s32sIIIHHHBBBBBB")
BASIC_LAYOUT: Final = struct.Struct(">IIIII")
SUBMIT_LAYOUT: Final = struct.Struct(">IIiii8s")
RETURN_LAYOUT: Final = struct.Struct(">iiiii8x")
HEADER_BYTES: Final = 48
NO_PACKETS: Final = (0, -1)  # number_of_packets of a transfer that is not isochronous


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
        return DEVICE_LAYOUT.pack(
            _fixed(self.path, 256), _fixed(self.bus_id, BUS_ID_BYTES), self.bus, self.address,
            self.speed, self.vendor, self.product, self.release, self.device_class,
            self.device_subclass, self.device_protocol, self.configuration, self.configurations,
            self.interface_count,
        )  # fmt: skip

    @classmethod
    def decode(cls, raw: bytes) -> Device:
        """From 312 bytes."""
        path, bus_id, *numbers = DEVICE_LAYOUT.unpack(raw)
        return cls(text_of(path), text_of(bus_id), *numbers)


def _fixed(text: str, size: int) -> bytes:
    raw = text.encode("ascii", "replace")
    if len(raw) >= size:
        raise ValueError(f"{text!r} does not fit in {size} bytes")
    return raw.ljust(size, b"\x00")


def text_of(raw: bytes) -> str:
    return raw.split(b"\x00", 1)[0].decode("ascii", "replace")


@dataclass(frozen=True, slots=True)
class ListRequest:
    """OP_REQ_DEVLIST."""

    def encode(self) -> bytes:
        """Eight bytes."""
        return OP_LAYOUT.pack(VERSION, OP_REQ_DEVLIST, 0)


@dataclass(frozen=True, slots=True)
class ListReply:
    """OP_REP_DEVLIST."""

    devices: tuple[Device, ...]
    status: int = STATUS_OK

    def encode(self) -> bytes:
        """Header, count, and each device with its interface triples."""
        parts = [
            OP_LAYOUT.pack(VERSION, OP_REP_DEVLIST, self.status),
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
        return OP_LAYOUT.pack(VERSION, OP_REQ_IMPORT, 0) + _fixed(self.bus_id, BUS_ID_BYTES)


@dataclass(frozen=True, slots=True)
class ImportReply:
    """OP_REP_IMPORT; the device is there when the status is OK."""

    status: int
    device: Device | None = None

    def encode(self) -> bytes:
        """Eight bytes, and 312 more on success."""
        head = OP_LAYOUT.pack(VERSION, OP_REP_IMPORT, self.status)
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
            BASIC_LAYOUT.pack(
                CMD_SUBMIT, self.sequence, self.device_id, self.direction, self.endpoint
            )
            + SUBMIT_LAYOUT.pack(flags, self.length, 0, 0, self.interval, self.setup)
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
        head = BASIC_LAYOUT.pack(CMD_UNLINK, self.sequence, self.device_id, 0, 0)
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
        head = BASIC_LAYOUT.pack(RET_SUBMIT, self.sequence, 0, 0, 0)
        return head + RETURN_LAYOUT.pack(self.status, self.length, 0, 0, 0) + self.data


@dataclass(frozen=True, slots=True)
class Unlinked:
    """USBIP_RET_UNLINK: -ECONNRESET when the transfer was taken back, 0 when it had ended before."""

    sequence: int
    status: int

    def encode(self) -> bytes:
        """One header."""
        return BASIC_LAYOUT.pack(RET_UNLINK, self.sequence, 0, 0, 0) + struct.pack(
            ">i24x", self.status
        )
