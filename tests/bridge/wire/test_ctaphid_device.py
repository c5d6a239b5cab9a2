"""The device's end of CTAPHID: every rule of arbitration as a case, its clock, and any packets at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.wire.ctaphid import (
    BROADCAST,
    MAX_MESSAGE,
    Capability,
    Command,
    ErrorCode,
    InitReply,
    KeepaliveStatus,
    Packet,
    fragment,
)
from keypeg_bridge.wire.ctaphid_device import (
    MESSAGE_SECONDS,
    Abort,
    Cancel,
    DeviceEvent,
    DeviceLink,
    Reply,
    Request,
)
from keypeg_bridge.wire.errors import MalformedFrame

NONCE = bytes(range(8))
ALL = Capability.CBOR | Capability.WINK


class Device:
    """A link with two channels open, and a clock."""

    def __init__(self, capabilities: Capability = ALL) -> None:
        self.link = DeviceLink((1, 0, 0), capabilities)
        self.now = 100.0
        self.one = self.initialize().channel
        self.two = self.initialize().channel

    def initialize(self, channel: int = BROADCAST) -> InitReply:
        replies = [e for e in self.send(channel, Command.INIT, NONCE) if isinstance(e, Reply)]
        packet = Packet.decode(replies[-1].packet)
        assert (packet.channel, packet.command, packet.length) == (channel, Command.INIT, 17)
        return InitReply.decode(packet.data)

    def send(self, channel: int, command: int, payload: bytes = b"") -> list[DeviceEvent]:
        return self.packets(fragment(channel, command, payload))

    def packets(self, packets: list[bytes]) -> list[DeviceEvent]:
        return [event for p in packets for event in self.link.receive(p, self.now)]


def error(events: list[DeviceEvent]) -> tuple[int, ErrorCode]:
    """The channel and the code of the one reply."""
    (event,) = events
    assert isinstance(event, Reply)
    packet = Packet.decode(event.packet)
    assert (packet.command, packet.length) == (Command.ERROR, 1)
    return packet.channel, ErrorCode(packet.data[0])


def test_channels_are_given_out_once() -> None:
    device = Device()
    assert device.one != device.two
    assert device.initialize(device.one).channel == device.one
    assert device.initialize().channel not in (device.one, device.two, 0, BROADCAST)


@pytest.mark.parametrize("size", [0, 1, 57, 58, 1_000, MAX_MESSAGE])
def test_ping_comes_back(size: int) -> None:
    device = Device()
    payload = bytes(i % 251 for i in range(size))
    packets = fragment(device.one, Command.PING, payload)
    assert device.packets(packets) == [Reply(p) for p in packets]


def test_a_request_is_handed_on_and_answered() -> None:
    device = Device()
    events = device.send(device.one, Command.CBOR, bytes(300))
    assert events == [Request(device.one, Command.CBOR, bytes(300))]
    assert device.link.busy
    (keepalive,) = device.link.keepalive(KeepaliveStatus.UP_NEEDED)
    assert keepalive[4:8] == b"\xbb\x00\x01\x02"
    assert device.link.answer(b"done") == fragment(device.one, Command.CBOR, b"done")
    assert not device.link.busy


REFUSED = {
    "unknown command": (0x22, b"", ErrorCode.INVALID_CMD),
    "vendor command": (0x40, b"", ErrorCode.INVALID_CMD),
    "keepalive from the host": (0x3B, b"\x01", ErrorCode.INVALID_CMD),
    "error from the host": (0x3F, b"\x01", ErrorCode.INVALID_CMD),
    "short init": (0x06, bytes(7), ErrorCode.INVALID_LEN),
    "long init": (0x06, bytes(9), ErrorCode.INVALID_LEN),
    "empty request": (0x10, b"", ErrorCode.INVALID_LEN),
    "empty message": (0x03, b"", ErrorCode.INVALID_LEN),
    "wink with data": (0x08, b"\x00", ErrorCode.INVALID_LEN),
    "cancel with data": (0x11, b"\x00", ErrorCode.INVALID_LEN),
    "empty lock": (0x04, b"", ErrorCode.INVALID_LEN),
    "lock of eleven seconds": (0x04, b"\x0b", ErrorCode.INVALID_PAR),
}


@pytest.mark.parametrize(("command", "payload", "code"), REFUSED.values(), ids=REFUSED)
def test_malformed_requests_get_their_code(command: int, payload: bytes, code: ErrorCode) -> None:
    device = Device()
    assert error(device.send(device.one, command, payload)) == (device.one, code)
    assert device.initialize(device.one).channel == device.one


def test_what_a_device_has_not_is_an_invalid_command() -> None:
    device = Device(Capability.NMSG)
    for command, payload in ((Command.CBOR, b"\x04"), (Command.MSG, bytes(4)), (Command.WINK, b"")):
        assert error(device.send(device.one, command, payload))[1] == ErrorCode.INVALID_CMD


def test_a_length_over_the_limit_is_refused_at_once() -> None:
    device = Device()
    packet = Packet(device.one, Command.PING, MAX_MESSAGE + 1, 0, b"").encode()
    assert error(device.packets([packet])) == (device.one, ErrorCode.INVALID_LEN)


@pytest.mark.parametrize("channel", [0, BROADCAST, 0x1234], ids=["reserved", "broadcast", "free"])
def test_channels_not_given_out_are_invalid(channel: int) -> None:
    device = Device()
    assert error(device.send(channel, Command.PING, b"x")) == (channel, ErrorCode.INVALID_CHANNEL)


def test_another_channel_is_told_that_the_device_is_busy() -> None:
    device = Device()
    begun = fragment(device.one, Command.PING, bytes(100))
    assert device.packets(begun[:1]) == []
    assert error(device.send(device.two, Command.PING, b"x")) == (
        device.two,
        ErrorCode.CHANNEL_BUSY,
    )
    assert len(device.packets(begun[1:])) == 2  # and the first goes on
    device.send(device.one, Command.CBOR, b"\x04")
    for channel in (device.one, device.two):
        assert error(device.send(channel, Command.PING, b"x")) == (channel, ErrorCode.CHANNEL_BUSY)
    assert device.initialize().channel > device.two


@pytest.mark.parametrize("sequence", [1, 127])
def test_a_packet_out_of_turn_ends_the_message(sequence: int) -> None:
    device = Device()
    device.packets(fragment(device.one, Command.PING, bytes(200))[:1])
    wrong = Packet(device.one, None, 0, sequence, b"").encode()
    assert error(device.packets([wrong])) == (device.one, ErrorCode.INVALID_SEQ)
    assert device.packets([wrong]) == []
    assert len(device.send(device.one, Command.PING, b"x")) == 1


def test_a_second_beginning_ends_the_message() -> None:
    device = Device()
    begun = fragment(device.one, Command.PING, bytes(200))[:1]
    device.packets(begun)
    assert error(device.packets(begun)) == (device.one, ErrorCode.INVALID_SEQ)


def test_stray_continuations_are_passed_over() -> None:
    device = Device()
    for channel in (device.one, device.two, 0, BROADCAST):
        assert device.packets([Packet(channel, None, 0, 0, b"").encode()]) == []


def test_init_makes_a_channel_clean() -> None:
    device = Device()
    device.packets(fragment(device.one, Command.PING, bytes(200))[:1])
    device.initialize(device.one)
    assert device.link.deadline is None
    device.send(device.one, Command.CBOR, b"\x04")
    aborted, _ = device.send(device.one, Command.INIT, NONCE)
    assert aborted == Abort()
    assert not device.link.busy


def test_the_rest_of_a_message_must_come_in_time() -> None:
    device = Device()
    packets = fragment(device.one, Command.PING, bytes(200))
    device.packets(packets[:1])
    assert device.link.deadline == 100 + MESSAGE_SECONDS
    assert device.link.expire(100 + MESSAGE_SECONDS - 0.01) == []
    timed_out = device.link.expire(100 + MESSAGE_SECONDS)
    assert error(timed_out) == (device.one, ErrorCode.MSG_TIMEOUT)
    assert device.packets(packets[1:]) == []


def test_cancel_is_never_answered_itself() -> None:
    device = Device()
    assert device.send(device.one, Command.CANCEL) == []
    device.send(device.one, Command.CBOR, b"\x04")
    assert device.send(device.two, Command.CANCEL) == []
    assert device.send(device.one, Command.CANCEL) == [Cancel()]
    device.link.answer(b"\x2d")
    device.send(device.one, Command.MSG, bytes(4))
    assert device.send(device.one, Command.CANCEL) == []


def test_a_lock_keeps_other_channels_out_until_it_ends() -> None:
    device = Device()
    assert device.send(device.one, Command.LOCK, b"\x05") == [
        Reply(fragment(device.one, Command.LOCK, b"")[0])
    ]
    busy = (device.two, ErrorCode.CHANNEL_BUSY)
    assert error(device.send(device.two, Command.PING, b"x")) == busy
    assert len(device.send(device.one, Command.PING, b"x")) == 1
    device.now += 5
    assert len(device.send(device.two, Command.PING, b"x")) == 1
    device.send(device.two, Command.LOCK, b"\x0a")
    assert error(device.send(device.one, Command.PING, b"x"))[1] == ErrorCode.CHANNEL_BUSY
    device.send(device.two, Command.LOCK, b"\x00")
    assert len(device.send(device.one, Command.PING, b"x")) == 1


def test_a_packet_of_another_size_is_malformed() -> None:
    with pytest.raises(MalformedFrame):
        Device().link.receive(bytes(63), 0)


CHANNELS = st.sampled_from([0, 1, 2, 3, BROADCAST])
PIECES = (
    st.binary(min_size=64, max_size=64)
    | st.builds(
        lambda c, n, size, data: Packet(c, n, size, 0, data).encode(),
        CHANNELS,
        st.sampled_from(list(Command)) | st.integers(0, 127),
        st.integers(0, 200) | st.integers(0, 0xFFFF),
        st.binary(max_size=57),
    )
    | st.builds(lambda c, n: Packet(c, None, 0, n, bytes(59)).encode(), CHANNELS, st.integers(0, 3))
)


@pytest.mark.behaviour("KEY-14")
@given(st.lists(st.tuples(PIECES, st.sampled_from([0.0, 0.0, 4.0]), st.booleans()), max_size=14))
def test_a_device_takes_any_packets_and_answers_init_after(
    steps: list[tuple[bytes, float, bool]],
) -> None:
    device = Device()
    for packet, pause, answer in steps:
        device.now += pause
        events = device.packets([packet])
        assert all(len(e.packet) == 64 for e in events if isinstance(e, Reply))
        assert device.link.busy or not any(isinstance(e, Request) for e in events)
        if answer and device.link.busy:
            device.link.answer(b"\x00")
    fresh = device.initialize().channel
    device.initialize(device.one)
    device.initialize(fresh)
