"""USB descriptors and standard requests (USB 2.0 chapter 9), as data: built by the emulator, read by the USB/IP backend.

Promises: `parse_configuration` takes any bytes and gives a tree or `MalformedFrame`; encoders are its inverse. Transfers
are left to the transports.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from keypeg_bridge.wire.errors import MalformedFrame

DIRECTION_IN: Final = 0x80

GET_STATUS: Final = 0x00
CLEAR_FEATURE: Final = 0x01
SET_FEATURE: Final = 0x03
SET_ADDRESS: Final = 0x05
GET_DESCRIPTOR: Final = 0x06
GET_CONFIGURATION: Final = 0x08
SET_CONFIGURATION: Final = 0x09
GET_INTERFACE: Final = 0x0A
SET_INTERFACE: Final = 0x0B

DEVICE: Final = 0x01
CONFIGURATION: Final = 0x02
STRING: Final = 0x03
INTERFACE: Final = 0x04
ENDPOINT: Final = 0x05

SPEED_FULL: Final = 2
LANGUAGE_US: Final = 0x0409
MAX_CONFIGURATION: Final = 4_096  # bytes; a composite key has a few hundred

_SETUP: Final = struct.Struct("<BBHHH")
_DEVICE: Final = struct.Struct("<BBHBBBBHHHBBBB")
_CONFIGURATION: Final = struct.Struct("<BBHBBBBB")
_INTERFACE: Final = struct.Struct("<BBBBBBBBB")
_ENDPOINT: Final = struct.Struct("<BBBBHB")


@dataclass(frozen=True, slots=True)
class Setup:
    """A control transfer's eight bytes."""

    request_type: int
    request: int
    value: int
    index: int
    length: int

    @property
    def is_in(self) -> bool:
        """Whether data goes to the host."""
        return bool(self.request_type & DIRECTION_IN)

    def encode(self) -> bytes:
        """The eight bytes."""
        return _SETUP.pack(self.request_type, self.request, self.value, self.index, self.length)

    @classmethod
    def decode(cls, raw: bytes) -> Setup:
        """From exactly eight bytes."""
        if len(raw) != _SETUP.size:
            raise MalformedFrame("USB", f"a setup packet has {_SETUP.size} bytes, not {len(raw)}")
        return cls(*_SETUP.unpack(raw))


@dataclass(frozen=True, slots=True)
class DeviceDescriptor:
    """The 18-byte device descriptor; release numbers are BCD as written."""

    vendor: int
    product: int
    release: int
    manufacturer_index: int
    product_index: int
    serial_index: int
    usb_release: int = 0x0200
    device_class: int = 0
    device_subclass: int = 0
    device_protocol: int = 0
    max_packet: int = 64
    configurations: int = 1

    def encode(self) -> bytes:
        """The 18 bytes."""
        return _DEVICE.pack(
            _DEVICE.size, DEVICE, self.usb_release, self.device_class, self.device_subclass,
            self.device_protocol, self.max_packet, self.vendor, self.product, self.release,
            self.manufacturer_index, self.product_index, self.serial_index, self.configurations,
        )  # fmt: skip

    @classmethod
    def decode(cls, raw: bytes) -> DeviceDescriptor:
        """From at least 18 bytes."""
        if len(raw) < _DEVICE.size or raw[0] < _DEVICE.size or raw[1] != DEVICE:
            raise MalformedFrame("USB", "not a device descriptor")
        f = _DEVICE.unpack_from(raw)
        return cls(
            vendor=f[7], product=f[8], release=f[9], manufacturer_index=f[10], product_index=f[11],
            serial_index=f[12], usb_release=f[2], device_class=f[3], device_subclass=f[4],
            device_protocol=f[5], max_packet=f[6], configurations=f[13],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint; `attributes` 2 is bulk, 3 interrupt."""

    address: int
    attributes: int
    max_packet: int
    interval: int = 0
    extra: bytes = b""

    def encode(self) -> bytes:
        """Seven bytes and what follows them."""
        return (
            _ENDPOINT.pack(
                7, ENDPOINT, self.address, self.attributes, self.max_packet, self.interval
            )
            + self.extra
        )


@dataclass(frozen=True, slots=True)
class Interface:
    """One alternate setting of one interface; `extra` holds class descriptors as bytes."""

    number: int
    alternate: int
    interface_class: int
    subclass: int
    protocol: int
    name_index: int = 0
    extra: bytes = b""
    endpoints: tuple[Endpoint, ...] = ()

    def encode(self) -> bytes:
        """Nine bytes, the class descriptors, the endpoints."""
        head = _INTERFACE.pack(
            9, INTERFACE, self.number, self.alternate, len(self.endpoints),
            self.interface_class, self.subclass, self.protocol, self.name_index,
        )  # fmt: skip
        return head + self.extra + b"".join(e.encode() for e in self.endpoints)


@dataclass(frozen=True, slots=True)
class Configuration:
    """One configuration with its interfaces in the order written."""

    value: int
    attributes: int
    max_power: int
    interfaces: tuple[Interface, ...]
    name_index: int = 0
    extra: bytes = b""

    def encode(self) -> bytes:
        """The whole tree, wTotalLength filled in."""
        body = self.extra + b"".join(i.encode() for i in self.interfaces)
        numbers = {i.number for i in self.interfaces}
        head = _CONFIGURATION.pack(
            9, CONFIGURATION, 9 + len(body), len(numbers), self.value, self.name_index,
            self.attributes, self.max_power,
        )  # fmt: skip
        return head + body


def total_length(raw: bytes) -> int:
    """wTotalLength, from the first nine bytes of a configuration."""
    if len(raw) < _CONFIGURATION.size or raw[1] != CONFIGURATION:
        raise MalformedFrame("USB", "not a configuration descriptor")
    total = int.from_bytes(raw[2:4], "little")
    if not _CONFIGURATION.size <= total <= MAX_CONFIGURATION:
        raise MalformedFrame("USB", f"a configuration of {total} bytes")
    return total


def parse_configuration(raw: bytes) -> Configuration:
    """The tree in a whole configuration descriptor; unknown descriptors are kept where they stand."""
    total = total_length(raw)
    if len(raw) < total:
        raise MalformedFrame("USB", f"a configuration of {total} bytes, {len(raw)} came")
    head = _CONFIGURATION.unpack_from(raw)
    top = bytearray()
    interfaces: list[
        tuple[tuple[int, ...], bytearray, list[tuple[tuple[int, ...], bytearray]]]
    ] = []
    at = 9
    while at < total:
        length = raw[at]
        if length < 2 or at + length > total:
            raise MalformedFrame("USB", f"the descriptor at offset {at} has length {length}")
        kind = raw[at + 1]
        if kind == INTERFACE and length >= 9:
            interfaces.append((_INTERFACE.unpack_from(raw, at), bytearray(), []))
        elif kind == ENDPOINT and length >= 7 and interfaces:
            interfaces[-1][2].append((_ENDPOINT.unpack_from(raw, at), bytearray()))
        elif not interfaces:
            top += raw[at : at + length]
        elif interfaces[-1][2]:
            interfaces[-1][2][-1][1].extend(raw[at : at + length])
        else:
            interfaces[-1][1].extend(raw[at : at + length])
        at += length
    return Configuration(
        value=head[4],
        name_index=head[5],
        attributes=head[6],
        max_power=head[7],
        extra=bytes(top),
        interfaces=tuple(
            Interface(
                number=i[2], alternate=i[3], interface_class=i[5], subclass=i[6], protocol=i[7],
                name_index=i[8], extra=bytes(extra),
                endpoints=tuple(Endpoint(e[2], e[3], e[4], e[5], bytes(x)) for e, x in endpoints),
            )
            for i, extra, endpoints in interfaces
        ),
    )  # fmt: skip


def encode_string(text: str) -> bytes:
    """A string descriptor, cut to what one holds (126 characters)."""
    raw = text.encode("utf-16-le")[:252]
    return bytes((len(raw) + 2, STRING)) + raw


LANGUAGES: Final = bytes((4, STRING)) + LANGUAGE_US.to_bytes(2, "little")
