"""What faults on answers do to them, byte by byte."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.testing import FakeClock
from keypeg_bridge.emulator.faults import Fault
from keypeg_bridge.emulator.faults_line import Hit, Line, Side
from keypeg_bridge.wire import ccid, ctap, ctaphid, piv
from keypeg_bridge.wire.errors import MalformedFrame
from tests.bridge.emulator.lab_keys import fido_packets


class Answers:
    """One line, and what the interface has to say."""

    def __init__(self, side: Side) -> None:
        self.clock = FakeClock()
        self.side = side
        self.line = Line(side, self.clock.monotonic)
        self.waiting: deque[bytes] = deque()
        self.over: list[Hit] = []

    def harm(self, kind: str, seed: str = "1", **values: Any) -> Hit:
        hit = Hit(Fault.read({"fault": kind, **values}), random.Random(seed), self.over.append)
        self.line.add(hit)
        return hit

    def take(self) -> bytes | None:
        return self.line.take(lambda: self.waiting.popleft() if self.waiting else None)

    def through(self, *answers: bytes) -> list[bytes]:
        """What comes of these at once."""
        self.waiting.extend(answers)
        taken = []
        while (answer := self.take()) is not None:
            taken.append(answer)
        return taken


def reply(sequence: int = 7, data: bytes = b"\x01\x02\x90\x00") -> bytes:
    return ccid.Reply(ccid.Kind.DATA_BLOCK, 0, sequence, data).encode()


def sign_command(p2: int = piv.SLOT_CARD_AUTHENTICATION, cla: int = 0) -> bytes:
    apdu = bytes((cla, piv.INS_AUTHENTICATE, 0x11, p2, 0))
    return ccid.Command(ccid.Kind.XFR_BLOCK, 0, 7, apdu).encode()


@pytest.fixture
def card() -> Answers:
    return Answers(Side.CARD)


@pytest.fixture
def fido() -> Answers:
    return Answers(Side.FIDO)


@given(st.lists(st.binary(max_size=80)))
def test_without_a_fault_everything_passes(raw: list[bytes]) -> None:
    card = Answers(Side.CARD)
    assert card.through(*raw) == raw


def test_stalled_answers_never_come(card: Answers) -> None:
    hit = card.harm("stall")
    assert card.through(reply(1), reply(2)) == []
    card.line.remove(hit)
    assert card.through(reply(3)) == [reply(3)]


def test_a_count_hits_so_many_answers_after_those_that_are_skipped(card: Answers) -> None:
    hit = card.harm("stall", skip=1, count=2)
    assert card.through(*map(reply, range(1, 6))) == [reply(1), reply(4), reply(5)]
    assert card.over == [hit]


def test_slow_answers_come_at_their_time_and_in_their_order(card: Answers) -> None:
    card.harm("slow", delay=2, count=1)
    assert card.through(reply(1), reply(2)) == []
    assert card.line.deadline == card.clock.monotonic() + 2
    card.clock.advance(1.9)
    assert card.take() is None
    card.clock.advance(0.2)
    assert [card.take(), card.take(), card.take()] == [reply(1), reply(2), None]


def test_a_reset_forgets_what_is_on_its_way(card: Answers) -> None:
    card.harm("slow", delay=1, count=1)
    assert card.through(reply(1)) == []
    card.line.reset()
    card.clock.advance(5)
    assert card.through(reply(2)) == [reply(2)]


def test_truncated_answers_break_off(card: Answers) -> None:
    card.harm("truncate", bytes=11)
    assert card.through(reply()) == [reply()[:11]]


def test_what_is_drawn_comes_from_the_seed() -> None:
    def harmed(kind: str, seed: str) -> list[bytes]:
        card = Answers(Side.CARD)
        card.harm(kind, seed)
        return card.through(*(reply(n, bytes(40)) for n in range(20)))

    for kind in ("truncate", "corrupt"):
        assert harmed(kind, "a") == harmed(kind, "a")
        assert harmed(kind, "a") != harmed(kind, "b")


def test_a_corrupt_answer_differs_in_one_byte(card: Answers) -> None:
    card.harm("corrupt", offset=12)
    (harmed,) = card.through(reply())
    different = [at for at, (a, b) in enumerate(zip(harmed, reply(), strict=True)) if a != b]
    assert different == [12]


def test_an_offset_beyond_the_end_is_the_last_byte(card: Answers) -> None:
    card.harm("corrupt", offset=3_000)
    (harmed,) = card.through(reply())
    assert harmed[:-1] == reply()[:-1]
    assert harmed != reply()


def test_a_wrong_sequence_number_is_all_that_changes(card: Answers) -> None:
    card.harm("sequence", step=2)
    assert card.through(reply(254)) == [reply(0)]


def test_a_wanted_pin_refuses_signatures_alone(card: Answers) -> None:
    card.harm("pin", mode="wanted")
    card.line.sent(sign_command())
    assert card.through(reply()) == [reply(data=b"\x69\x82")]
    for other in (
        sign_command(piv.SLOT_MANAGEMENT),
        sign_command(cla=0x10),
        ccid.Command(ccid.Kind.ICC_POWER_ON, 0, 1).encode(),
        b"",
    ):
        card.line.sent(other)
        assert card.through(reply()) == [reply()]


# Answers of the security key, which come in packets.


def decoded(packets: list[bytes]) -> bytes:
    link = ctaphid.Assembly(ctaphid.Packet.decode(packets[0]))
    for packet in packets[1:]:
        link.add(ctaphid.Packet.decode(packet))
    return link.payload


def test_a_count_counts_answers_and_not_packets(fido: Answers) -> None:
    hit = fido.harm("stall", count=1)
    first, second = fido_packets(150), fido_packets(140)
    assert fido.through(*first, *second) == second
    assert fido.over == [hit]


def test_packets_of_a_slow_answer_come_together(fido: Answers) -> None:
    fido.harm("slow", delay=1)
    packets = fido_packets(150)
    assert fido.through(*packets) == []
    fido.clock.advance(1)
    assert fido.through() == packets


def test_a_packet_number_is_wrong_where_there_is_one(fido: Answers) -> None:
    hit = fido.harm("sequence", count=1)
    short, long = fido_packets(20), fido_packets(100)
    assert fido.through(*short) == short
    assert hit.done == 0
    harmed = fido.through(*long)
    with pytest.raises(MalformedFrame):
        decoded(harmed)
    assert fido.through(*long) == long


def test_a_truncated_report_has_not_64_bytes(fido: Answers) -> None:
    fido.harm("truncate", bytes=0, count=1)
    assert fido.through(*fido_packets(20), *fido_packets(20)) == [b"", *fido_packets(20)]


def keepalive() -> bytes:
    return ctaphid.fragment(1, ctaphid.Command.KEEPALIVE, b"\x01")[0]


def test_keepalives_are_stopped_by_a_stall_and_harmed_by_nothing_else(fido: Answers) -> None:
    fido.harm("corrupt", count=1)
    fido.harm("slow", delay=1)
    assert fido.through(keepalive(), keepalive()) == [keepalive(), keepalive()]
    fido.harm("stall")
    assert fido.through(keepalive()) == []


def get_assertion(size: int = 100) -> list[bytes]:
    body = bytes((ctap.Command.GET_ASSERTION,)) + bytes(size)
    return ctaphid.fragment(1, ctaphid.Command.CBOR, body)


def test_a_wanted_pin_refuses_assertions_alone(fido: Answers) -> None:
    fido.harm("pin", mode="wanted")
    for packet in get_assertion():
        fido.line.sent(packet)
    assert decoded(fido.through(*fido_packets(150))) == bytes((ctap.Status.PUAT_REQUIRED,))
    for packet in ctaphid.fragment(1, ctaphid.Command.CBOR, bytes((ctap.Command.GET_INFO,))):
        fido.line.sent(packet)
    assert fido.through(*fido_packets(150)) == fido_packets(150)


FAULTS: list[Callable[[Answers], Hit]] = [
    lambda answers: answers.harm("stall", count=2, skip=1),
    lambda answers: answers.harm("truncate", count=3),
    lambda answers: answers.harm("corrupt", skip=2),
    lambda answers: answers.harm("sequence", step=3),
    lambda answers: answers.harm("slow", delay=0.5),
]


@given(
    st.sampled_from(list(Side)),
    st.lists(st.sampled_from(FAULTS), max_size=5),
    st.lists(st.integers(1, 190), min_size=1, max_size=8),
)
def test_any_faults_together_harm_answers_and_add_none(
    side: Side, faults: list[Callable[[Answers], Hit]], sizes: list[int]
) -> None:
    answers = Answers(side)
    hits = [fault(answers) for fault in faults]
    given_ = [
        packet
        for size in sizes
        for packet in (fido_packets(size) if side is Side.FIDO else [reply(1, bytes(size))])
    ]
    taken = answers.through(*given_)
    for _ in given_:
        answers.clock.advance(5)
        taken += answers.through()
    assert len(taken) <= len(given_)
    assert answers.line.deadline is None
    for hit in hits:
        answers.line.remove(hit)
        count = hit.fault.whole("count")
        assert count is None or hit.done <= count
    answers.line.reset()
    assert answers.through(*given_) == given_
