"""The protocol of the virtual reader, from the card's side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.wire.errors import MalformedFrame
from keypeg_bridge.wire.vpcd import MAX_MESSAGE, Apdu, CardDecoder, Order, frame


def test_orders_and_commands_come_in_any_pieces() -> None:
    decoder = CardDecoder()
    sent = frame(b"\x01") + frame(b"\x04") + frame(b"\x00\xa4\x04\x00")
    found = [message for byte in sent for message in decoder.feed(bytes((byte,)))]
    assert found == [Order.POWER_ON, Order.TELL_ATR, Apdu(b"\x00\xa4\x04\x00")]


def test_unknown_orders_are_given_as_numbers_and_empty_messages_passed_over() -> None:
    assert CardDecoder().feed(frame(b"\x77") + frame(b"") + frame(b"\x00")) == [0x77, 0]


def test_an_answer_that_the_length_cannot_say_is_refused() -> None:
    frame(bytes(MAX_MESSAGE))
    with pytest.raises(MalformedFrame):
        frame(bytes(MAX_MESSAGE + 1))


@pytest.mark.behaviour("KEY-14")
@given(st.lists(st.binary(max_size=90), max_size=6))
def test_any_bytes_are_messages(received: list[bytes]) -> None:
    one_by_one, at_once = CardDecoder(), CardDecoder()
    found = [message for piece in received for message in one_by_one.feed(piece)]
    assert found == at_once.feed(b"".join(received))
