"""CCID messages: recorded bytes, round trips, sequence rules, and any bytes at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.wire.ccid import (
    CardStatus,
    ClassDescriptor,
    Command,
    Kind,
    MessageBuffer,
    Outcome,
    Reply,
    card_present,
    describe_error,
    notify_slot_change,
)
from keypeg_bridge.wire.ccid_host import HostSlot
from keypeg_bridge.wire.errors import MalformedFrame


@pytest.mark.parametrize(
    ("raw", "command"),
    [
        (
            "62000000000000010000",
            Command(Kind.ICC_POWER_ON, 0, 0, b"", b"\x01\x00\x00"),
        ),
        (
            "6f0500000000070000 0000a4040000",
            Command(Kind.XFR_BLOCK, 0, 7, b"\x00\xa4\x04\x00\x00"),
        ),
        ("65000000000103000000", Command(Kind.GET_SLOT_STATUS, 1, 3)),
    ],
    ids=["power on", "block", "status"],
)
def test_recorded_commands_are_read(raw: str, command: Command) -> None:
    assert Command.decode(bytes.fromhex(raw)) == command


def test_recorded_replies_are_read() -> None:
    assert Reply.decode(bytes.fromhex("800200000000070000009000")) == Reply(
        Kind.DATA_BLOCK, 0, 7, b"\x90\x00"
    )
    mute = Reply.decode(bytes.fromhex("8000000000000941fe00"))
    assert (mute.card, mute.outcome) == (CardStatus.INACTIVE, Outcome.FAILED)
    assert describe_error(mute.error) == "the card does not answer"


@pytest.mark.parametrize(
    "raw", ["", "6f00000000000000", "6f010000000000000000", "6f000000000000000000aa"]
)
def test_lengths_must_agree(raw: str) -> None:
    with pytest.raises(MalformedFrame):
        Command.decode(bytes.fromhex(raw))


@pytest.mark.parametrize("status", [0x03, 0xC0])
def test_reserved_states_are_malformed(status: int) -> None:
    raw = bytearray(Reply(Kind.DATA_BLOCK, 0, 0).encode())
    raw[7] = status
    with pytest.raises(MalformedFrame):
        Reply.decode(bytes(raw))


BYTE = st.integers(0, 255)


@given(
    st.builds(Command, BYTE, BYTE, BYTE, st.binary(max_size=300), st.binary(min_size=3, max_size=3))
)
def test_commands_read_back(command: Command) -> None:
    assert Command.decode(command.encode()) == command


@given(
    st.builds(
        Reply,
        BYTE,
        BYTE,
        BYTE,
        st.binary(max_size=300),
        st.sampled_from(CardStatus),
        st.sampled_from(Outcome),
        BYTE,
        BYTE,
    )
)
def test_replies_read_back(reply: Reply) -> None:
    assert Reply.decode(reply.encode()) == reply


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_malformed(raw: bytes) -> None:
    for decode in (Command.decode, Reply.decode, ClassDescriptor.decode):
        try:
            decode(raw)
        except MalformedFrame:
            continue
    card_present(raw)


@given(st.lists(st.binary(max_size=100), max_size=6), st.data())
def test_messages_survive_any_splitting(payloads: list[bytes], data: st.DataObject) -> None:
    messages = [Command(Kind.XFR_BLOCK, 0, i, p).encode() for i, p in enumerate(payloads)]
    stream = b"".join(messages)
    buffer = MessageBuffer(limit=200)
    got: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += buffer.feed(stream[:size])
        stream = stream[size:]
    assert got == messages


def test_a_message_over_the_limit_is_malformed_and_forgotten() -> None:
    buffer = MessageBuffer(limit=100)
    with pytest.raises(MalformedFrame):
        buffer.feed(Command(Kind.XFR_BLOCK, 0, 0, bytes(200)).encode())
    good = Command(Kind.XFR_BLOCK, 0, 0, bytes(20)).encode()
    assert buffer.feed(good) == [good]


def test_a_host_waits_through_old_answers_and_requests_for_time() -> None:
    host = HostSlot()
    host.request(Kind.XFR_BLOCK, b"first")
    old = Reply(Kind.DATA_BLOCK, 0, host.sequence, b"late").encode()
    host.request(Kind.XFR_BLOCK, b"second")
    assert host.receive(old) is None
    more = Reply(Kind.DATA_BLOCK, 0, host.sequence, outcome=Outcome.MORE_TIME).encode()
    assert host.receive(more) is None
    answer = Reply(Kind.DATA_BLOCK, 0, host.sequence, b"now")
    assert host.receive(answer.encode()) == answer


def test_a_reply_of_the_wrong_kind_is_malformed() -> None:
    host = HostSlot()
    host.request(Kind.XFR_BLOCK, b"x")
    with pytest.raises(MalformedFrame):
        host.receive(Reply(Kind.PARAMETERS, 0, host.sequence).encode())


def test_a_failure_may_come_as_slot_status() -> None:
    host = HostSlot()
    host.request(Kind.XFR_BLOCK, b"x")
    failed = Reply(Kind.SLOT_STATUS, 0, host.sequence, outcome=Outcome.FAILED, error=0xFE)
    assert host.receive(failed.encode()) == failed


def test_sequence_numbers_go_round() -> None:
    host = HostSlot()
    seen = {host.request(Kind.GET_SLOT_STATUS)[6] for _ in range(600)}
    assert seen == set(range(256))


def test_the_class_descriptor_reads_back() -> None:
    descriptor = ClassDescriptor(0, 2, ClassDescriptor.EXTENDED_APDU | 0xFE, 3_072)
    raw = descriptor.encode()
    assert len(raw) == 54
    assert ClassDescriptor.decode(b"\x05\x24\x00\x10\x01" + raw) == descriptor
    assert descriptor.exchanges_apdus
    assert not ClassDescriptor(0, 2, 0x10000, 271).exchanges_apdus


def test_interrupts_tell_the_card() -> None:
    assert card_present(notify_slot_change(present=True, changed=True)) is True
    assert card_present(notify_slot_change(present=False, changed=True)) is False
    assert card_present(b"\x51\x00\x00\x00") is None
