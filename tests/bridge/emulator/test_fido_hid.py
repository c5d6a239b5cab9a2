"""The FIDO interface in time: touches, keepalives, cancelling, U2F, its descriptors and transfers, and any packets at all."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.emulator.attachment import Attachment
from keypeg_bridge.emulator.card import ATR
from keypeg_bridge.emulator.ccid_reader import CcidReader
from keypeg_bridge.emulator.fido.hid import MAX_WAITING, TOUCH_SECONDS
from keypeg_bridge.emulator.touch import PRESS_SECONDS, TouchPolicy
from keypeg_bridge.emulator.usb_device import UsbKey
from keypeg_bridge.wire import ccid, ctap, usb, usbip
from keypeg_bridge.wire.ctap import Status
from keypeg_bridge.wire.ctaphid import (
    BROADCAST,
    MAX_MESSAGE,
    REPORT_DESCRIPTOR,
    Command,
    ErrorCode,
    KeepaliveStatus,
    Packet,
    fragment,
)
from keypeg_bridge.wire.ctaphid_host import Answer, Failed, Keepalive
from tests.bridge.cards import DirectKey
from tests.bridge.emulator.authenticator_host import (
    HASH,
    Key,
    asserting,
    credential_id,
    ends,
    keepalives,
    making,
)

MAKE = ctap.Command.MAKE_CREDENTIAL
UP_NEEDED = KeepaliveStatus.UP_NEEDED


def status(answer: Answer | Failed) -> Status:
    assert isinstance(answer, Answer)
    return Status(answer.payload[0])


def test_a_request_waits_for_its_touch_with_keepalives_every_tenth_of_a_second() -> None:
    key = Key(TouchPolicy.COMMAND)
    assert keepalives(key.start(MAKE, making())) == [UP_NEEDED]
    assert key.hid.wants_touch
    assert keepalives(key.wait(1.05)) == [UP_NEEDED] * 10
    key.hid.finger.press()
    key.hid.poll()
    (answer,) = key.read()
    assert isinstance(answer, Answer)
    assert status(answer) is Status.OK
    assert key.hid.deadline is None


def test_one_press_serves_one_request_and_only_for_a_moment() -> None:
    key = Key(TouchPolicy.COMMAND)
    key.hid.finger.press()
    assert status(ends(key.start(ctap.Command.SELECTION))[0]) is Status.OK
    assert ends(key.start(ctap.Command.SELECTION)) == []
    key.link = key.open()
    key.hid.reset()
    key.link = key.open()
    key.hid.finger.press()
    key.now += PRESS_SECONDS
    assert ends(key.start(ctap.Command.SELECTION)) == []


@pytest.mark.parametrize("policy", [TouchPolicy.NEVER, TouchPolicy.COMMAND])
def test_without_a_touch_the_request_ends_in_time(policy: TouchPolicy) -> None:
    key = Key(policy)
    assert ends(key.start(MAKE, making())) == []
    events = key.wait(TOUCH_SECONDS)
    assert status(ends(events)[0]) is Status.USER_ACTION_TIMEOUT
    assert len(keepalives(events)) > 250
    assert key.saved == []


def test_cancelling_ends_the_waiting_request() -> None:
    key = Key(TouchPolicy.NEVER)
    key.start(MAKE, making())
    assert [status(e) for e in ends(list(key.exchange(key.link.cancel())))] == [
        Status.KEEPALIVE_CANCEL
    ]
    assert key.wait(1) == []
    assert list(key.exchange(key.link.cancel())) == []


def test_init_on_the_waiting_channel_ends_it_without_an_answer() -> None:
    key = Key(TouchPolicy.NEVER)
    key.start(MAKE, making())
    (answer,) = key.exchange(key.link.open(bytes(8)))
    assert isinstance(answer, Answer)
    assert answer.command == Command.INIT
    assert not key.hid.wants_touch
    assert key.wait(60) == []


def test_other_channels_are_busy_while_one_waits() -> None:
    key = Key(TouchPolicy.COMMAND)
    other = key.open()
    key.start(MAKE, making())
    (busy,) = key.exchange(other.request(Command.PING, b"x"), other)
    assert busy == Failed(ErrorCode.CHANNEL_BUSY)
    key.hid.finger.press()
    key.hid.poll()
    assert status(ends(list(key.read()))[0]) is Status.OK


def test_answers_can_be_made_to_take_their_time() -> None:
    key = Key()
    key.hid.answer_seconds = 0.45
    first = key.start(ctap.Command.GET_INFO)
    assert (keepalives(first), ends(first)) == ([KeepaliveStatus.PROCESSING], [])
    events = key.wait(0.45)
    assert keepalives(events) == [KeepaliveStatus.PROCESSING] * 4
    assert status(ends(events)[0]) is Status.OK


def test_a_slow_message_times_out() -> None:
    key = Key()
    packets = key.link.request(Command.PING, bytes(100))
    assert list(key.exchange(packets[:1])) == []
    assert key.wait(3) == [Failed(ErrorCode.MSG_TIMEOUT)]


def test_an_error_inside_the_key_is_an_error_of_that_request_only() -> None:
    key = Key()
    whole, key.core.attestation = key.core.attestation, None  # type: ignore[assignment]
    assert key.start(MAKE, making()) == [Failed(ErrorCode.OTHER)]
    key.core.attestation = whole
    assert key.call(MAKE, making())[0] is Status.OK


def test_winks_are_counted() -> None:
    key = Key()
    assert list(key.exchange(key.link.request(Command.WINK))) == [Answer(Command.WINK, b"")]
    assert key.hid.winks == 1


# U2F


def message(key: Key, raw: bytes) -> bytes:
    (answer,) = key.exchange(key.link.request(Command.MSG, raw))
    assert isinstance(answer, Answer)
    return answer.payload


def apdu(ins: int, p1: int = 0, data: bytes = b"", cla: int = 0) -> bytes:
    return struct.pack(">BBBBBH", cla, ins, p1, 0, 0, len(data)) + data + b"\x00\x00"


U2F = {
    "another class": (apdu(3, cla=0x80), 0x6E00),
    "another instruction": (apdu(4), 0x6D00),
    "a version with data": (apdu(3, data=b"x"), 0x6700),
    "a register of 63 bytes": (apdu(1, data=bytes(63)), 0x6700),
    "an authenticate of 64 bytes": (apdu(2, 3, bytes(64)), 0x6700),
    "a handle cut short": (apdu(2, 3, bytes(64) + b"\x41" + bytes(64)), 0x6700),
    "another mode": (apdu(2, 4, bytes(64) + b"\x01x"), 0x6A86),
    "another key's handle": (apdu(2, 3, bytes(64) + b"\x41" + bytes(65)), 0x6A80),
    "a check of another key's handle": (apdu(2, 7, bytes(64) + b"\x01x"), 0x6A80),
    "half an APDU": (b"\x00\x03", 0x6700),
}


@pytest.mark.parametrize(("raw", "word"), U2F.values(), ids=U2F)
def test_malformed_u2f_gets_its_status_word(raw: bytes, word: int) -> None:
    assert message(Key(), raw) == word.to_bytes(2, "big")


@pytest.mark.parametrize("raw", [apdu(3), bytes.fromhex("00030000"), bytes.fromhex("0003000000")])
def test_u2f_tells_its_version(raw: bytes) -> None:
    assert message(Key(), raw) == b"U2F_V2\x90\x00"


def test_u2f_without_a_touch_is_asked_again() -> None:
    key = Key(TouchPolicy.COMMAND)
    register = apdu(1, data=bytes(64))
    assert message(key, register) == b"\x69\x85"
    key.hid.finger.press()
    assert message(key, register)[-2:] == b"\x90\x00"
    assert message(key, register) == b"\x69\x85"


def test_both_protocols_share_their_credentials_and_their_counter() -> None:
    key = Key()
    _, made = key.call(MAKE, making())
    handle = credential_id(made)
    application = made[2][:32]
    data = HASH + application + bytes((len(handle),)) + handle
    assert message(key, apdu(2, 7, data)) == b"\x69\x85"
    answer = message(key, apdu(2, 3, data))
    assert (answer[:5], answer[-2:]) == (b"\x01\x00\x00\x00\x02", b"\x90\x00")
    assert message(key, apdu(2, 8, data))[:5] == b"\x00\x00\x00\x00\x03"
    protected = credential_id(key.call(MAKE, making(p6={"credProtect": 3}))[1])
    data = HASH + application + bytes((len(protected),)) + protected
    assert message(key, apdu(2, 3, data)) == b"\x6a\x80"
    assert key.call(2, asserting(p3=[{"id": handle, "type": "public-key"}]))[0] is Status.OK


# On USB


class Host:
    """Transfers to a key with both interfaces."""

    def __init__(self, touch: TouchPolicy = TouchPolicy.ALWAYS) -> None:
        self.key = Key(touch)
        self.device = UsbKey(CcidReader(DirectKey().card), "1", self.key.hid)
        self.attachment = Attachment(self.device)
        self._sequence = 0
        self.control(0x00, usb.SET_CONFIGURATION, 1)

    def submit(
        self, endpoint: int, direction: int, length: int, data: bytes = b"", setup: bytes = bytes(8)
    ) -> usbip.Returned | None:
        self._sequence += 1
        submit = usbip.Submit(self._sequence, 1, direction, endpoint, length, setup, data)
        answers = [
            a for a in self.attachment.handle(submit)
            if isinstance(a, usbip.Returned) and a.sequence == self._sequence
        ]  # fmt: skip
        return answers[0] if answers else None

    def control(
        self, kind: int, request: int, value: int = 0, index: int = 0, *, room: int = 0,
        data: bytes = b"",
    ) -> usbip.Returned:  # fmt: skip
        setup = usb.Setup(kind, request, value, index, room or len(data))
        answer = self.submit(0, int(setup.is_in), room or len(data), data, setup.encode())
        assert answer is not None
        return answer

    def write(self, data: bytes) -> usbip.Returned:
        answer = self.submit(4, usbip.DIRECTION_OUT, len(data), data)
        assert answer is not None
        return answer

    def read(self) -> usbip.Returned | None:
        return self.submit(4, usbip.DIRECTION_IN, 64)


INIT = fragment(BROADCAST, Command.INIT, bytes(8))[0]


def test_an_operating_system_finds_a_security_key_in_the_descriptors() -> None:
    host = Host()
    card, fido = host.device.configuration.interfaces
    assert (card.interface_class, fido.interface_class) == (0x0B, 0x03)
    assert [(e.address, e.attributes, e.max_packet) for e in fido.endpoints] == [
        (0x04, 3, 64), (0x84, 3, 64),
    ]  # fmt: skip
    hid = host.control(0x81, usb.GET_DESCRIPTOR, 0x2100, fido.number, room=64).data
    assert hid == fido.extra
    assert int.from_bytes(hid[7:9], "little") == len(REPORT_DESCRIPTOR)
    report = host.control(0x81, usb.GET_DESCRIPTOR, 0x2200, fido.number, room=256).data
    assert report == REPORT_DESCRIPTOR
    assert host.control(0x21, 0x0A, 0, fido.number).status == 0  # SET_IDLE
    assert host.control(0xA1, 0x02, 0, fido.number, room=1).data == b"\x00"
    assert host.control(0xA1, 0x01, 0x0100, fido.number, room=64).status == -errno.EPIPE
    assert host.control(0x81, usb.GET_DESCRIPTOR, 0x2200, 0, room=64).status == -errno.EPIPE


def test_reports_go_by_endpoint_and_by_control() -> None:
    host = Host()
    assert host.read() is None
    assert host.write(INIT).status == 0
    assert host.control(0x21, 0x09, 0x0200, 1, data=INIT).status == 0
    answers = [host.device.read(4, 64) for _ in range(3)]
    assert answers[-1] is None
    assert all(a is not None and a[4] == 0x86 for a in answers[:1])


@pytest.mark.behaviour("KEY-10")
def test_the_card_answers_while_the_security_key_waits_for_a_touch() -> None:
    host = Host(TouchPolicy.NEVER)
    link = host.key.open()
    for packet in link.request(Command.CBOR, bytes((ctap.Command.SELECTION,))):
        assert host.write(packet).status == 0
    keepalive = host.read()
    assert keepalive is not None
    assert link.receive(keepalive.data) == Keepalive(UP_NEEDED)
    power_on = ccid.Command(ccid.Kind.ICC_POWER_ON, 0, 0).encode()
    written = host.submit(2, usbip.DIRECTION_OUT, len(power_on), power_on)
    answer = host.submit(2, usbip.DIRECTION_IN, 512)
    assert written is not None
    assert answer is not None
    assert ccid.Reply.decode(answer.data).data == ATR


def test_a_report_of_another_size_halts_the_interface_until_cleared() -> None:
    host = Host()
    assert host.write(INIT[:63]).status == -errno.EPIPE
    assert host.write(INIT).status == -errno.EPIPE
    for endpoint in (0x04, 0x84):
        assert host.control(0x02, usb.CLEAR_FEATURE, 0, endpoint).status == 0
    assert host.write(INIT).status == 0
    answer = host.read()
    assert answer is not None
    assert answer.data[4] == 0x86


def test_a_host_that_never_reads_is_stopped() -> None:
    host = Host()
    link = host.key.open()
    ping = link.request(Command.PING, bytes(MAX_MESSAGE))
    for _ in range(10):
        results = {host.write(packet).status for packet in ping}
    assert results == {-errno.EPIPE}
    left = 0
    while host.device.read(4, 64) is not None:
        left += 1
    assert left <= MAX_WAITING + len(ping)
    assert host.write(INIT).status == 0


def test_transfers_before_configuration_stall() -> None:
    host = Host()
    host.control(0x00, usb.SET_CONFIGURATION, 0)
    assert host.write(INIT).status == -errno.EPIPE
    answer = host.read()
    assert answer is not None
    assert answer.status == -errno.EPIPE


PACKETS = st.binary(min_size=64, max_size=64) | st.builds(
    lambda channel, command, size, data: Packet(channel, command, size, 0, data).encode(),
    st.sampled_from([1, 2, BROADCAST]),
    st.sampled_from(list(Command)),
    st.integers(0, 70),
    st.binary(max_size=57)
    | st.sampled_from([0x01, 0x02, 0x04, 0x07, 0x0B]).map(lambda c: bytes((c,)) + b"\xa0"),
) | st.builds(lambda n: Packet(1, None, 0, n, bytes(59)).encode(), st.integers(0, 2))  # fmt: skip


@pytest.mark.behaviour("KEY-14")
@given(
    st.sampled_from(TouchPolicy),
    st.lists(
        st.tuples(PACKETS, st.sampled_from([0.0, 0.0, 0.2, 40.0]), st.booleans()), max_size=12
    ),
)
def test_any_packets_leave_a_key_that_answers(
    policy: TouchPolicy, steps: list[tuple[bytes, float, bool]]
) -> None:
    key = Key(policy)
    for packet, pause, press in steps:
        key.hid.receive(packet)
        if press:
            key.hid.finger.press()
        key.wait(pause)
    key.wait(60)  # whatever was begun is over by then
    assert key.hid.deadline is None
    key.link = key.open()
    assert key.call(ctap.Command.GET_INFO)[0] is Status.OK
