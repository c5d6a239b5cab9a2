"""USB descriptors: round trips, and any bytes at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.emulator.ccid_reader import CcidReader
from keypeg_bridge.emulator.usb_device import configuration
from keypeg_bridge.wire import usb
from keypeg_bridge.wire.errors import MalformedFrame
from tests.bridge.cards import DirectKey

CONFIGURATION = configuration(CcidReader(DirectKey().card).descriptor, fido=True)


def test_a_configuration_reads_back() -> None:
    assert usb.parse_configuration(CONFIGURATION.encode()) == CONFIGURATION


def test_unknown_descriptors_stay_where_they_stand() -> None:
    odd = b"\x03\x99\x01"
    odd_one = usb.Configuration(
        1, 0x80, 50, extra=odd, interfaces=(
            usb.Interface(0, 0, 3, 0, 0, extra=odd, endpoints=(usb.Endpoint(0x81, 3, 64, 1, odd),)),
            usb.Interface(0, 1, 3, 0, 0),
        ),
    )  # fmt: skip
    raw = odd_one.encode()
    assert raw[4] == 1  # one interface with two alternates
    assert usb.parse_configuration(raw) == odd_one


def test_a_device_descriptor_reads_back() -> None:
    descriptor = usb.DeviceDescriptor(0x1209, 1, 0x0100, 1, 2, 3)
    assert usb.DeviceDescriptor.decode(descriptor.encode()) == descriptor


@given(st.binary(max_size=120))
def test_any_bytes_are_descriptors_or_malformed(raw: bytes) -> None:
    for decode in (usb.DeviceDescriptor.decode, usb.parse_configuration, usb.Setup.decode):
        try:
            decode(raw)
        except MalformedFrame:
            continue


@given(st.binary(max_size=90))
def test_any_tail_of_a_configuration_is_read_or_malformed(tail: bytes) -> None:
    raw = CONFIGURATION.encode()[:9] + tail
    raw = raw[:2] + len(raw).to_bytes(2, "little") + raw[4:]
    try:
        usb.parse_configuration(raw)
    except MalformedFrame:
        return


@pytest.mark.parametrize("length", [0, 1, 200])
def test_a_descriptor_of_impossible_length_is_malformed(length: int) -> None:
    raw = bytearray(CONFIGURATION.encode())
    raw[9] = length
    with pytest.raises(MalformedFrame):
        usb.parse_configuration(bytes(raw))
