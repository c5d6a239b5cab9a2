"""CTAPHID framing and the driver's end of it: recorded packets, round trips, and any bytes at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.wire.ctaphid import (
    BROADCAST,
    MAX_MESSAGE,
    REPORT_DESCRIPTOR,
    Assembly,
    Capability,
    Command,
    ErrorCode,
    InitReply,
    Packet,
    describe_error,
    fragment,
)
from keypeg_bridge.wire.ctaphid_host import Answer, Failed, HostLink, Keepalive
from keypeg_bridge.wire.errors import MalformedFrame

NONCE = bytes(range(8))
CHANNEL = 0x01020304


def opened() -> HostLink:
    """A link whose channel is open."""
    link = HostLink()
    link.open(NONCE)
    (packet,) = fragment(BROADCAST, Command.INIT, init_reply())
    assert isinstance(link.receive(packet), Answer)
    return link


def init_reply(nonce: bytes = NONCE, channel: int = CHANNEL) -> bytes:
    return InitReply(nonce, channel, (1, 2, 3), Capability.CBOR | Capability.WINK).encode()


def test_a_recorded_init_is_written_and_its_answer_is_read() -> None:
    link = HostLink()
    (packet,) = link.open(NONCE)
    assert packet == bytes.fromhex("ffffffff 86 0008 0001020304050607").ljust(64, b"\x00")
    answer = bytes.fromhex("ffffffff 86 0011 0001020304050607 00000005 02 050403 05")
    assert isinstance(link.receive(answer.ljust(64, b"\x00")), Answer)
    assert link.channel == 5
    assert link.info == InitReply(NONCE, 5, (5, 4, 3), Capability.WINK | Capability.CBOR)


@pytest.mark.parametrize(
    ("size", "packets"), [(0, 1), (57, 1), (58, 2), (116, 2), (117, 3), (MAX_MESSAGE, 129)]
)
def test_a_message_takes_so_many_packets(size: int, packets: int) -> None:
    assert len(fragment(CHANNEL, Command.PING, bytes(size))) == packets


def test_a_message_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="7609"):
        fragment(CHANNEL, Command.PING, bytes(MAX_MESSAGE + 1))
    with pytest.raises(MalformedFrame):
        Assembly(Packet(CHANNEL, Command.PING, MAX_MESSAGE + 1, 0, b""))


@given(st.integers(0, MAX_MESSAGE), st.integers(1, 0x7F), st.integers(0, BROADCAST))
def test_messages_read_back(size: int, command: int, channel: int) -> None:
    payload = bytes(i % 251 for i in range(size))
    first, *rest = (Packet.decode(p) for p in fragment(channel, command, payload))
    assembly = Assembly(first)
    for packet in rest:
        assert not assembly.whole
        assembly.add(packet)
    assert assembly.whole
    assert (assembly.channel, assembly.command, assembly.payload) == (channel, command, payload)


@given(st.binary(min_size=64, max_size=64))
def test_packets_read_back(raw: bytes) -> None:
    assert Packet.decode(raw).encode() == raw


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_packet_has_64_bytes(size: int) -> None:
    with pytest.raises(MalformedFrame):
        Packet.decode(bytes(size))


def test_a_driver_reads_through_keepalives_and_other_channels() -> None:
    link = opened()
    assert link.request(Command.CBOR, b"\x04")[0][:4] == CHANNEL.to_bytes(4, "big")
    (keepalive,) = fragment(CHANNEL, Command.KEEPALIVE, b"\x02")
    assert link.receive(keepalive) == Keepalive(2)
    first, second, third = fragment(CHANNEL, Command.CBOR, bytes(150))
    (foreign,) = fragment(9, Command.CBOR, b"not ours")
    assert link.receive(first) is None
    assert link.receive(foreign) is None
    assert link.receive(second) is None
    assert link.receive(third) == Answer(Command.CBOR, bytes(150))
    assert link.receive(first) is None  # nothing is open


def test_a_driver_takes_only_the_answer_to_its_own_init() -> None:
    link = HostLink()
    link.open(NONCE)
    (other,) = fragment(BROADCAST, Command.INIT, init_reply(bytes(8)))
    assert link.receive(other) is None
    (own,) = fragment(BROADCAST, Command.INIT, init_reply())
    assert isinstance(link.receive(own), Answer)
    assert link.channel == CHANNEL


def test_an_error_ends_the_request() -> None:
    link = opened()
    link.request(Command.CBOR, b"\x04")
    (packet,) = fragment(CHANNEL, Command.ERROR, bytes((ErrorCode.CHANNEL_BUSY,)))
    assert link.receive(packet) == Failed(ErrorCode.CHANNEL_BUSY)
    assert "busy" in describe_error(ErrorCode.CHANNEL_BUSY)
    assert describe_error(0x55) == "CTAPHID error 0x55"


def rest(number: int) -> bytes:
    return Packet(CHANNEL, None, 0, number, bytes(59)).encode()


BAD = {
    "another command": fragment(CHANNEL, Command.PING, b"x"),
    "too long": [Packet(CHANNEL, Command.CBOR, 7_610, 0, b"").encode()],
    "sequence": [fragment(CHANNEL, Command.CBOR, bytes(200))[0], rest(1)],
    "begun twice": fragment(CHANNEL, Command.CBOR, bytes(200))[:1] * 2,
    "empty error": fragment(CHANNEL, Command.ERROR, b""),
    "empty keepalive": fragment(CHANNEL, Command.KEEPALIVE, b""),
    "short": [bytes(63)],
}


@pytest.mark.parametrize("packets", BAD.values(), ids=BAD)
def test_a_key_that_breaks_the_protocol_is_told(packets: list[bytes]) -> None:
    link = opened()
    link.request(Command.CBOR, b"\x04")
    *fine, wrong = packets
    for packet in fine:
        link.receive(packet)
    with pytest.raises(MalformedFrame):
        link.receive(wrong)
    link.open(NONCE)
    (clean,) = fragment(CHANNEL, Command.INIT, init_reply())
    assert isinstance(link.receive(clean), Answer)


@pytest.mark.parametrize("channel", [0, BROADCAST])
def test_reserved_channels_are_not_given_out(channel: int) -> None:
    link = HostLink()
    link.open(NONCE)
    with pytest.raises(MalformedFrame):
        link.receive(fragment(BROADCAST, Command.INIT, init_reply(channel=channel))[0])


PIECE = st.binary(min_size=64, max_size=64) | st.builds(
    lambda command, length, data: Packet(CHANNEL, command, length, 0, data).encode(),
    st.sampled_from([0x10, 0x3B, 0x3F, 0x06]),
    st.integers(0, 8_000),
    st.binary(max_size=57),
) | st.builds(rest, st.integers(0, 127))  # fmt: skip


@pytest.mark.behaviour("KEY-14")
@given(st.lists(PIECE, max_size=12))
def test_a_driver_takes_any_packets(packets: list[bytes]) -> None:
    link = opened()
    link.request(Command.CBOR, b"\x04")
    for packet in packets:
        try:
            link.receive(packet)
        except MalformedFrame:
            link.open(NONCE)


def test_the_report_descriptor_is_the_specifications() -> None:
    """Usage page F1D0, usage 1, and one input and one output report of 64 bytes without a report number."""
    items: list[tuple[int, int]] = []
    at = 0
    while at < len(REPORT_DESCRIPTOR):
        tag, size = REPORT_DESCRIPTOR[at] & 0xFC, (0, 1, 2, 4)[REPORT_DESCRIPTOR[at] & 3]
        items.append((tag, int.from_bytes(REPORT_DESCRIPTOR[at + 1 : at + 1 + size], "little")))
        at += 1 + size
    report = [(0x14, 0), (0x24, 255), (0x74, 8), (0x94, 64)]
    assert items == [
        (0x04, 0xF1D0), (0x08, 0x01), (0xA0, 1),
        (0x08, 0x20), *report, (0x80, 2),
        (0x08, 0x21), *report, (0x90, 2),
        (0xC0, 0),
    ]  # fmt: skip
