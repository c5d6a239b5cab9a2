"""T=1: both ends against each other over links that damage blocks, and any bytes at all."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.wire.errors import MalformedFrame
from keypeg_bridge.wire.t1 import (
    ANSWER,
    MAX_REPEATS,
    Block,
    CardLink,
    HostLink,
    Supervisory,
    information,
    receipt,
)

R = TypeVar("R")


class Card:
    """A card that answers with what it heard, three times, after a while if asked to."""

    def __init__(self, delay: int = 0) -> None:
        self.heard: list[bytes] = []
        self._delay = delay
        self._left = 0
        self.link = CardLink(self._begin, self._poll)

    def _begin(self, apdu: bytes) -> bytes | None:
        self.heard.append(apdu)
        self._left = self._delay
        return None if self._delay else apdu * 3 + b"\x90\x00"

    def _poll(self) -> bytes | None:
        self._left -= 1
        return None if self._left > 0 else self.heard[-1] * 3 + b"\x90\x00"

    def transfer(self, raw: bytes) -> bytes:
        """One block in, one out; waits are passed as the card would pass them."""
        answer = self.link.receive(raw)
        return answer or self.link.poll() or self.link.extend()


def run(conversation: Generator[bytes, bytes, R], transfer: Callable[[bytes], bytes]) -> R:
    try:
        block = next(conversation)
        while True:
            block = conversation.send(transfer(block))
    except StopIteration as finished:
        result: R = finished.value
        return result


@given(st.lists(st.binary(min_size=1, max_size=900), max_size=4), st.sampled_from([1, 32, 254]))
def test_commands_and_answers_of_any_length_arrive_whole(apdus: list[bytes], room: int) -> None:
    card, host = Card(), HostLink(room)
    run(host.begin(), card.transfer)
    for apdu in apdus:
        assert run(host.exchange(apdu), card.transfer) == apdu * 3 + b"\x90\x00"
    assert card.heard == apdus


def test_without_agreement_blocks_stay_small() -> None:
    card, seen = Card(), []

    def transfer(raw: bytes) -> bytes:
        seen.append(len(Block.decode(answer := card.transfer(raw)).inf))
        return answer

    run(HostLink(254).exchange(bytes(100)), transfer)
    assert max(seen) == 32


def test_a_card_that_takes_its_time_asks_for_more() -> None:
    card, host = Card(delay=5), HostLink(254)
    assert run(host.exchange(b"abc"), card.transfer) == b"abcabcabc\x90\x00"
    assert run(host.exchange(b"de"), card.transfer) == b"dedede\x90\x00"


@given(st.integers(0, 2**32), st.lists(st.binary(min_size=1, max_size=500), min_size=1, max_size=3))
def test_damaged_blocks_are_sent_again(seed: int, apdus: list[bytes]) -> None:
    dice, card, host = random.Random(seed), Card(), HostLink(64)
    bad = 0

    def damage(raw: bytes) -> bytes:
        nonlocal bad
        if bad >= MAX_REPEATS - 1 or dice.random() > 0.2:  # never so often that it is given up
            bad = 0
            return raw
        bad += 1
        at = dice.randrange(len(raw))
        return raw[:at] + bytes((raw[at] ^ (1 << dice.randrange(8)),)) + raw[at + 1 :]

    def transfer(raw: bytes) -> bytes:
        return damage(card.transfer(raw))

    for apdu in apdus:
        assert run(host.exchange(apdu), transfer) == apdu * 3 + b"\x90\x00"
    assert card.heard == apdus  # each command once


def test_commands_that_were_damaged_are_asked_for_again() -> None:
    card, host = Card(), HostLink(4)
    count = 0

    def transfer(raw: bytes) -> bytes:
        nonlocal count
        count += 1
        return card.transfer(raw[:-1] + b"\x55" if count % 3 == 0 else raw)

    assert run(host.exchange(b"0123456789"), transfer) == b"0123456789" * 3 + b"\x90\x00"
    assert card.heard == [b"0123456789"]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\x00\x00\x01",
        receipt(0).encode(),
        receipt(1).encode(),
        Block(Supervisory.WTX, b"\x01").encode(),
        information(1, b"x", more=False).encode(),
        Block(0xFF).encode(),
    ],
)
def test_a_card_that_never_answers_rightly_is_given_up(answer: bytes) -> None:
    with pytest.raises(MalformedFrame):
        run(HostLink(32).exchange(b"abc"), lambda raw: answer)


def test_an_answer_without_end_is_given_up() -> None:
    sequence = [0]

    def transfer(raw: bytes) -> bytes:
        block = information(sequence[0], bytes(254), more=True)
        sequence[0] ^= 1
        return block.encode()

    with pytest.raises(MalformedFrame, match="does not end"):
        run(HostLink(32).exchange(b"abc"), transfer)


def test_the_card_s_word_on_lengths_counts() -> None:
    card, host = Card(), HostLink(254)
    sizes = []

    def transfer(raw: bytes) -> bytes:
        block = Block.decode(raw)
        sizes.append(len(block.inf))
        if len(sizes) == 1:
            return Block(Supervisory.IFS, b"\x10").encode()
        if len(sizes) == 2:
            assert block == Block(Supervisory.IFS | ANSWER, b"\x10")
            return receipt(0).encode()  # once more, please
        return card.transfer(raw)

    assert run(host.exchange(b"a" * 20), transfer) == b"a" * 60 + b"\x90\x00"
    sizes.clear()
    sizes += [0, 0, 0]
    run(host.exchange(b"a" * 40), transfer)
    assert max(sizes) == 16


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (Block(Supervisory.RESYNCH), Block(Supervisory.RESYNCH | ANSWER)),
        (Block(Supervisory.IFS, b"\xfe"), Block(Supervisory.IFS | ANSWER, b"\xfe")),
        (Block(Supervisory.ABORT), Block(Supervisory.ABORT | ANSWER)),
        (Block(Supervisory.IFS, b"\x00"), receipt(0, 2)),
        (Block(Supervisory.IFS, b"\xff"), receipt(0, 2)),
        (Block(Supervisory.IFS), receipt(0, 2)),
        (Block(Supervisory.WTX | ANSWER, b"\x01"), receipt(0, 2)),
        (Block(0xC9), receipt(0, 2)),
        (information(1, b"x", more=False), receipt(0, 2)),
        (information(0, b"x", more=True), receipt(1)),
    ],
)
def test_the_card_answers_each_block_by_the_rules(sent: Block, answer: Block) -> None:
    reply = Card().link.receive(sent.encode())
    assert reply is not None
    assert Block.decode(reply) == answer


def test_a_damaged_block_is_named_as_such() -> None:
    reply = Card().link.receive(b"\x00\x00\x01x\x00")
    assert reply == receipt(0, 1).encode()


@given(st.lists(st.binary(max_size=40) | st.builds(
    lambda pcb, inf: Block(pcb, inf).encode(), st.integers(0, 255), st.binary(max_size=30)
), max_size=12))  # fmt: skip
def test_a_card_takes_any_blocks(blocks: list[bytes]) -> None:
    card = Card(delay=2)
    for raw in blocks:
        Block.decode(card.transfer(raw))


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8))
def test_a_host_takes_any_answers(answers: list[bytes]) -> None:
    conversation = HostLink(32).exchange(bytes(50))
    try:
        next(conversation)
        for answer in answers:
            conversation.send(answer)
    except (StopIteration, MalformedFrame):
        return
