"""The emulated reader: levels, parts of long APDUs, time, aborts and parameters, by tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.emulator.card import ATR
from keypeg_bridge.emulator.ccid_reader import CcidReader, Level
from keypeg_bridge.emulator.piv.waiting import TOUCH_SECONDS
from keypeg_bridge.emulator.touch import TouchPolicy
from keypeg_bridge.wire import atr, ccid, piv, tlv
from keypeg_bridge.wire.apdu import Command
from keypeg_bridge.wire.ccid import CardStatus, Error, Kind, Outcome, Part, Reply
from keypeg_bridge.wire.errors import MalformedFrame
from tests.bridge.emulator.card_host import CardHost

SELECT = Command(0, piv.INS_SELECT, 4, 0, piv.AID, 256).encode()
T1 = bytes.fromhex("1110004d00fe00")


class Reader:
    """A reader with a card in it, and time in hand."""

    def __init__(self, level: Level = Level.EXTENDED, max_message: int | None = None) -> None:
        self.host = CardHost(touch=TouchPolicy.COMMAND)
        self.host.manage()
        self.host.generate(0x9E, piv.ALGORITHM_P256, touch=piv.TOUCH_ALWAYS)
        self.host.put(0x5FC10D, bytes(range(250)) * 12)
        self.reader = CcidReader(
            self.host.card, lambda: self.host.now, level=level, max_message=max_message
        )
        self._sequence = 0
        self.one(Kind.ICC_POWER_ON)
        self.block(SELECT)

    def send(self, kind: int, data: bytes = b"", parameters: bytes = bytes(3)) -> list[Reply]:
        """One command; the replies to it that come at once."""
        self._sequence = (self._sequence + 1) & 0xFF
        raw = ccid.Command(kind, 0, self._sequence, data, parameters).encode()
        return [Reply.decode(reply) for reply in self.reader.receive(raw)]

    def one(self, kind: int, data: bytes = b"", parameters: bytes = bytes(3)) -> Reply:
        (reply,) = self.send(kind, data, parameters)
        assert reply.sequence == self._sequence
        return reply

    def block(self, apdu: bytes, part: int = Part.WHOLE) -> Reply:
        return self.one(Kind.XFR_BLOCK, apdu, b"\x00" + part.to_bytes(2, "little"))

    def poll(self) -> list[Reply]:
        return [Reply.decode(reply) for reply in self.reader.poll()]

    def wait_for_touch(self) -> Reply:
        fields = tlv.encode(0x82, b"") + tlv.encode(0x81, bytes(32))
        apdu = Command(0, 0x87, 0x11, 0x9E, tlv.encode(0x7C, fields), 256).encode()
        return self.block(apdu)


def test_the_answer_to_reset_says_what_the_card_can_do() -> None:
    said = atr.parse(ATR)
    assert (said.protocols, said.block_bytes) == ((1,), 254)
    assert (said.extended_length, said.chaining) == (True, True)
    assert said.historical.endswith(b"keypeg")


def test_readers_say_their_level() -> None:
    short, extended = (Reader(level).reader.descriptor for level in (Level.SHORT, Level.EXTENDED))
    assert (short.exchanges_apdus, short.exchanges_extended) == (True, False)
    assert (extended.exchanges_apdus, extended.exchanges_extended) == (True, True)
    assert (short.max_message, extended.max_message) == (271, 3_072)
    for one in (short, extended):
        assert ccid.ClassDescriptor.decode(one.encode()) == one


@pytest.mark.parametrize("size", [3, 262, 300])
def test_a_reader_of_short_apdus_takes_no_others(size: int) -> None:
    reader = CcidReader(CardHost().card, level=Level.SHORT, max_message=1_000)
    reader.answer(ccid.Command(Kind.ICC_POWER_ON, 0, 1))
    reply = reader.answer(ccid.Command(Kind.XFR_BLOCK, 0, 2, bytes(size)))
    assert (reply.outcome, reply.error) == (Outcome.FAILED, Error.BAD_LENGTH)


def test_long_commands_and_answers_pass_in_parts() -> None:
    reader = Reader(max_message=400)
    reader.host.manage()
    content = bytes(range(200)) * 5
    data = piv.object_path(0x5FC10E) + tlv.encode(0x53, content)
    apdu = Command(0, piv.INS_PUT_DATA, 0x3F, 0xFF, data).encode(extended=True)
    pieces = [apdu[at : at + 390] for at in range(0, len(apdu), 390)]
    assert len(pieces) == 3
    for number, piece in enumerate(pieces):
        reply = reader.block(piece, ccid.part_of(number, 3))
        assert reply.extra == (Part.WHOLE if number == 2 else Part.NONE)
    assert reply.data == b"\x90\x00"
    path = piv.object_path(0x5FC10E)
    asked = Command(0, piv.INS_GET_DATA, 0x3F, 0xFF, path, 65_536).encode(extended=True)
    reply = reader.block(asked)
    assert (reply.extra, len(reply.data)) == (Part.FIRST, 390)
    whole = reply.data
    while reply.extra in (Part.FIRST, Part.MIDDLE):
        reply = reader.block(b"", Part.NONE)
        whole += reply.data
    assert reply.extra == Part.LAST
    assert whole == tlv.encode(0x53, content) + b"\x90\x00"


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([(Part.MIDDLE, b"x")], 8),  # no beginning
        ([(Part.LAST, b"x")], 8),
        ([(Part.NONE, b"")], 8),  # no answer to go on with
        ([(0x04, b"x")], 8),
        ([(0x1000, b"x")], 8),
        ([(Part.FIRST, b"x"), (Part.FIRST, b"x")], 8),
        ([(Part.FIRST, b"x"), (Part.WHOLE, b"x")], 8),
        ([(Part.FIRST, b"x"), (Part.NONE, b"")], 8),
        ([(Part.FIRST, b"")], Error.BAD_LENGTH),
        ([(Part.WHOLE, b"")], Error.BAD_LENGTH),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: list[tuple[int, bytes]], error: int) -> None:
    reader = Reader()
    for part, data in parts:
        reply = reader.block(data, part)
    assert (reply.outcome, reply.error) == (Outcome.FAILED, error)
    assert reader.block(SELECT).outcome is (
        Outcome.DONE if parts[-1] != (Part.NONE, b"") or len(parts) == 1 else Outcome.FAILED
    )


def test_a_command_that_is_too_long_is_dropped() -> None:
    reader = Reader()
    for number in range(30):
        reply = reader.block(bytes(3_000), Part.FIRST if number == 0 else Part.MIDDLE)
        if reply.outcome is Outcome.FAILED:
            break
    assert (number, reply.error) == (21, Error.BAD_LENGTH)
    assert reader.block(SELECT).data.endswith(b"\x90\x00")


def test_a_waiting_card_asks_for_more_time_and_then_answers() -> None:
    reader = Reader()
    reply = reader.wait_for_touch()
    assert (reply.outcome, reply.kind) == (Outcome.MORE_TIME, Kind.DATA_BLOCK)
    assert reader.reader.deadline is not None
    assert reader.poll() == []
    reader.host.now += 1.0
    (again,) = reader.poll()
    assert (again.outcome, again.sequence) == (Outcome.MORE_TIME, reply.sequence)
    reader.host.finger.press()
    (answer,) = reader.poll()
    assert (answer.outcome, answer.sequence) == (Outcome.DONE, reply.sequence)
    assert answer.data.endswith(b"\x90\x00")
    assert reader.reader.deadline is None
    assert reader.poll() == []


def test_a_touch_that_does_not_come_ends_in_an_answer() -> None:
    reader = Reader()
    reader.wait_for_touch()
    reader.host.now += TOUCH_SECONDS
    (answer,) = reader.poll()
    assert (answer.outcome, answer.data) == (Outcome.DONE, b"\x69\x82")


def test_a_busy_slot_says_so() -> None:
    reader = Reader()
    reader.wait_for_touch()
    for kind in (Kind.XFR_BLOCK, Kind.GET_SLOT_STATUS, Kind.ICC_POWER_ON, Kind.GET_PARAMETERS):
        reply = reader.one(kind, SELECT if kind == Kind.XFR_BLOCK else b"")
        assert (reply.outcome, reply.error) == (Outcome.FAILED, Error.SLOT_BUSY)
    reader.host.finger.press()
    assert len(reader.poll()) == 1


def control(reader: Reader, sequence: int) -> list[Reply]:
    return [Reply.decode(reply) for reply in reader.reader.abort(0, sequence)]


def test_an_abort_ends_what_waits_whichever_half_comes_first() -> None:
    for control_first in (True, False):
        reader = Reader()
        waiting = reader.wait_for_touch().sequence
        number = waiting + 1
        if control_first:
            (ended,) = control(reader, number)
            assert (ended.sequence, ended.error) == (waiting, Error.ABORTED)
            (aborted,) = reader.send(Kind.ABORT)
        else:
            assert reader.send(Kind.ABORT) == []
            ended, aborted = control(reader, number)
            assert (ended.sequence, ended.error) == (waiting, Error.ABORTED)
        assert (aborted.kind, aborted.outcome) == (Kind.SLOT_STATUS, Outcome.DONE)
        assert not reader.host.applet.wants_touch
        assert reader.poll() == []
        assert reader.block(SELECT).data.endswith(b"\x90\x00")


def test_between_the_halves_of_an_abort_all_else_fails() -> None:
    reader = Reader()
    assert control(reader, 200) == []
    for kind in (Kind.XFR_BLOCK, Kind.GET_SLOT_STATUS, Kind.ABORT):
        reply = reader.one(kind, SELECT if kind == Kind.XFR_BLOCK else b"")
        assert (reply.outcome, reply.error) == (Outcome.FAILED, Error.ABORTED)
    raw = ccid.Command(Kind.ABORT, 0, 200).encode()
    assert Reply.decode(reader.reader.receive(raw)[0]).outcome is Outcome.DONE
    assert reader.one(Kind.GET_SLOT_STATUS).outcome is Outcome.DONE
    assert reader.reader.abort(1, 3) == []  # of a slot that is not there


def test_parameters_are_set_told_and_put_back() -> None:
    reader = Reader()
    assert reader.one(Kind.GET_PARAMETERS).data == T1
    other = bytes.fromhex("1110004d002000")
    reply = reader.one(Kind.SET_PARAMETERS, other, b"\x01\x00\x00")
    assert (reply.kind, reply.data, reply.extra) == (Kind.PARAMETERS, other, 1)
    assert reader.one(Kind.GET_PARAMETERS).data == other
    assert reader.one(Kind.RESET_PARAMETERS).data == T1


@pytest.mark.parametrize(
    ("kind", "data", "parameters", "error"),
    [
        (Kind.SET_PARAMETERS, bytes(5), b"\x00\x00\x00", 7),  # T=0
        (Kind.SET_PARAMETERS, bytes(6), b"\x01\x00\x00", Error.BAD_LENGTH),
        (Kind.ICC_POWER_ON, b"", b"\x01\x00\x00", 7),  # a voltage
        (Kind.ICC_POWER_ON, b"x", b"\x00\x00\x00", Error.BAD_LENGTH),
        (Kind.ICC_POWER_OFF, b"x", b"\x00\x00\x00", Error.BAD_LENGTH),
        (Kind.GET_SLOT_STATUS, b"x", b"\x00\x00\x00", Error.BAD_LENGTH),
        (Kind.GET_PARAMETERS, b"x", b"\x00\x00\x00", Error.BAD_LENGTH),
        (Kind.ESCAPE, b"", b"\x00\x00\x00", Error.NOT_SUPPORTED),
        (Kind.SECURE, b"", b"\x00\x00\x00", Error.NOT_SUPPORTED),
        (Kind.SET_DATA_RATE, bytes(8), b"\x00\x00\x00", Error.NOT_SUPPORTED),
        (0x6E, b"", b"\x00\x00\x00", Error.NOT_SUPPORTED),  # the clock
    ],
)
def test_commands_that_a_reader_refuses_name_the_field(
    kind: int, data: bytes, parameters: bytes, error: int
) -> None:
    reply = Reader().one(kind, data, parameters)
    assert (reply.outcome, reply.error) == (Outcome.FAILED, error)
    assert reply.kind == ccid.REPLY_KINDS.get(kind, Kind.SLOT_STATUS)


def test_without_power_nothing_is_exchanged() -> None:
    reader = Reader()
    assert reader.one(Kind.ICC_POWER_OFF).card is CardStatus.INACTIVE
    assert reader.block(SELECT).error == Error.MUTE
    assert reader.one(Kind.GET_SLOT_STATUS).card is CardStatus.INACTIVE
    assert reader.one(Kind.ICC_POWER_ON).data == ATR


KINDS = st.sampled_from([*map(int, Kind), 0x6A, 0x6E, 0x71, 0x00])
COMMANDS = st.tuples(
    KINDS,
    st.binary(max_size=40) | st.just(SELECT),
    st.binary(min_size=3, max_size=3) | st.just(bytes(3)),
)


@pytest.mark.behaviour("KEY-14")
@given(st.lists(COMMANDS | st.integers(0, 255), max_size=10), st.sampled_from(Level))
def test_every_command_gets_one_final_reply(
    commands: list[tuple[int, bytes, bytes] | int], level: Level
) -> None:
    reader = Reader(level)
    for command in commands:
        if isinstance(command, int):
            control(reader, command)
        else:
            replies = reader.send(*command)
            assert len(replies) == (1 if command[0] != Kind.ABORT else len(replies))
            assert all(reply.sequence == reader._sequence for reply in replies)
    reader.host.now += TOUCH_SECONDS
    reader.poll()
    reader.reader.reset()
    assert reader.reader.deadline is None
    assert reader.one(Kind.ICC_POWER_ON).data == ATR


@given(st.binary(max_size=40))
def test_any_bytes_are_an_answer_to_reset_or_not(raw: bytes) -> None:
    for one in (raw, b"\x3b" + raw):
        try:
            said = atr.parse(one)
        except MalformedFrame:
            continue
        assert len(said.historical) <= 15
        assert said.extended_length in (True, False)
        assert said.chaining in (True, False)


@pytest.mark.parametrize(
    ("raw", "extended", "chaining", "protocols"),
    [
        ("3bfd1300008131fe158073c021c057597562694b657940", True, True, (1,)),
        ("3b02 1450", False, False, (0,)),
        ("3b6500002063cb6800", False, False, (0,)),
        ("3b8880010073c84000009000" + "62", False, False, (0, 1)),  # a status at the end
    ],
)
def test_answers_to_reset_of_real_cards(
    raw: str, extended: bool, chaining: bool, protocols: tuple[int, ...]
) -> None:
    said = atr.parse(bytes.fromhex(raw))
    assert (said.extended_length, said.chaining) == (extended, chaining)
    assert said.protocols == protocols
