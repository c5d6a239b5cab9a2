"""APDUs of all cases, chaining and GET RESPONSE from both ends, against each other and against any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.wire.apdu import Command, Response, Status, meaning
from keypeg_bridge.wire.conversation import CardChannel, converse
from keypeg_bridge.wire.errors import MalformedFrame


@pytest.mark.parametrize(
    ("raw", "command"),
    [
        ("00a40400", Command(0, 0xA4, 4, 0)),
        ("00cb3fff00", Command(0, 0xCB, 0x3F, 0xFF, b"", 256)),
        ("00c0000010", Command(0, 0xC0, 0, 0, b"", 16)),
        ("00200080020102", Command(0, 0x20, 0, 0x80, b"\x01\x02")),
        ("0087119e01ff00", Command(0, 0x87, 0x11, 0x9E, b"\xff", 256)),
        ("00cb3fff000000", Command(0, 0xCB, 0x3F, 0xFF, b"", 65_536)),
        ("00db3fff000002aabb", Command(0, 0xDB, 0x3F, 0xFF, b"\xaa\xbb")),
        ("00db3fff000002aabb0100", Command(0, 0xDB, 0x3F, 0xFF, b"\xaa\xbb", 256)),
    ],
)
def test_recorded_commands_are_read(raw: str, command: Command) -> None:
    assert Command.decode(bytes.fromhex(raw)) == command


@pytest.mark.parametrize(
    "raw",
    ["", "00a404", "00a4040005aabb", "00a404000000", "00a404000000050102", "00a4040001aabbcc"],
)
def test_broken_commands_are_malformed(raw: str) -> None:
    with pytest.raises(MalformedFrame):
        Command.decode(bytes.fromhex(raw))


COMMANDS = st.builds(
    Command,
    cla=st.sampled_from([0x00, 0x10, 0x80]),
    ins=st.integers(0, 255),
    p1=st.integers(0, 255),
    p2=st.integers(0, 255),
    data=st.binary(max_size=255),
    ne=st.none() | st.integers(1, 256),
)


@given(COMMANDS, st.booleans())
def test_what_is_encoded_is_read_back(command: Command, extended: bool) -> None:
    assert Command.decode(command.encode(extended=extended)) == command


@given(st.binary(max_size=300))
def test_any_bytes_are_a_command_or_malformed(raw: bytes) -> None:
    try:
        Command.decode(raw)
    except MalformedFrame:
        return


def run(command: Command, card: CardChannel) -> Response:
    """The host's end against the card's end."""
    conversation = converse(command)
    try:
        apdu = next(conversation)
        while True:
            apdu = conversation.send(card.transmit(apdu))
    except StopIteration as finished:
        response: Response = finished.value
        return response


@given(st.binary(max_size=3_000), st.binary(max_size=5_000))
def test_long_commands_and_long_answers_arrive_whole(sent: bytes, answered: bytes) -> None:
    seen: list[Command] = []

    def applet(command: Command) -> Response:
        seen.append(command)
        return Response(answered, Status.OK)

    response = run(Command(0, 0xDB, 0x3F, 0xFF, sent, 256), CardChannel(applet))
    assert response == Response(answered, Status.OK)
    assert [c.data for c in seen] == [sent]


def test_the_final_status_comes_after_the_last_piece() -> None:
    card = CardChannel(lambda c: Response(b"x" * 600, 0x6282))
    assert run(Command(0, 0xCB, 0, 0, b"", 256), card) == Response(b"x" * 600, 0x6282)


def test_a_refusal_in_the_middle_of_a_chain_ends_it() -> None:
    card = CardChannel(lambda c: Response(b"", Status.OK), max_command=300)
    assert run(Command(0, 0xDB, 0, 0, bytes(1_000)), card).status == Status.WRONG_LENGTH


def test_an_extended_answer_is_cut_to_what_the_reader_carries() -> None:
    card = CardChannel(lambda c: Response(bytes(5_000), Status.OK), max_reply=2_048)
    raw = card.transmit(Command(0, 0xCB, 0, 0, b"", 65_536).encode(extended=True))
    assert len(raw) == 2_050
    assert raw[-2:] == b"\x61\x00"


def test_a_wrong_length_is_repeated_with_the_right_one() -> None:
    conversation = converse(Command(0, 0xCB, 0, 0, b"", 256))
    assert next(conversation)[-1] == 0
    assert conversation.send(b"\x6c\x04")[-1] == 4
    with pytest.raises(StopIteration) as finished:
        conversation.send(b"abcd\x90\x00")
    assert finished.value.value == Response(b"abcd", Status.OK)


@pytest.mark.parametrize("answer", [b"\x61\x00", b"x" * 256 + b"\x61\x00"])
def test_an_answer_that_never_ends_is_malformed(answer: bytes) -> None:
    conversation = converse(Command(0, 0xCB, 0, 0, b"", 256))
    next(conversation)

    def go_on() -> None:
        for _ in range(100_000):
            conversation.send(answer)

    with pytest.raises(MalformedFrame):
        go_on()


@given(st.lists(st.binary(max_size=400), max_size=20))
def test_a_card_answers_any_bytes_with_a_status(sent: list[bytes]) -> None:
    card = CardChannel(lambda c: Response(c.data * 3, Status.OK))
    for raw in sent:
        assert len(card.transmit(raw)) >= 2


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_a_host_takes_any_answers(answers: list[bytes]) -> None:
    conversation = converse(Command(0, 0xDB, 0, 0, bytes(300), 256))
    try:
        next(conversation)
        for answer in answers:
            conversation.send(answer)
    except (StopIteration, MalformedFrame):
        return


def test_every_status_has_words() -> None:
    assert meaning(0x6982) == "security status not satisfied"
    assert meaning(0x63C2) == "verification failed, 2 tries left"
    assert meaning(0x1234) == "unknown status word"
