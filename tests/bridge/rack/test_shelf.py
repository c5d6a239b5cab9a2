"""The rules of the rack, without threads and without time passing by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from keypeg_bridge.rack.ports import Place
from keypeg_bridge.rack.reading import Reading, read_key
from keypeg_bridge.rack.record import KeyRecord, Namer
from keypeg_bridge.rack.shelf import FLAP_COUNT, GONE_KEPT, KeyChange, Shelf
from keypeg_bridge.rack.states import TRANSITIONS, Happening, State, after
from tests.bridge.fakes import FakeKey
from tests.bridge.publisher import Publisher

WALL = datetime(2026, 11, 21, tzinfo=UTC)
NAMER = Namer(b"s" * 32)
PUBLISHER = Publisher()


def place(number: int) -> Place:
    return Place("fake", f"{number}")


def reading(number: int = 1, grace: int | None = 30) -> Reading:
    key = FakeKey(number)
    if grace is not None:
        key.carry(PUBLISHER, grace=timedelta(seconds=grace))
    return read_key(key)


def happened(changes: list[KeyChange]) -> list[tuple[Happening, State]]:
    return [(one.happening, one.record.state) for one in changes]


def test_a_key_comes_leaves_within_its_grace_and_comes_back() -> None:
    shelf = Shelf(NAMER)
    assert happened(shelf.arrived(place(1), reading(), 0, WALL)) == [
        (Happening.ARRIVED, State.PRESENT)
    ]
    assert shelf.next_deadline() is None
    assert happened(shelf.departed(place(1), 10)) == [(Happening.DEPARTED, State.MISSING)]
    assert shelf.next_deadline() == 40
    assert shelf.expire(39.9) == []
    back = shelf.arrived(place(2), reading(), 39.9, WALL)
    assert happened(back) == [(Happening.ARRIVED, State.PRESENT)]
    assert back[0].before is State.MISSING
    assert [one.state for one in shelf.listed()] == [State.PRESENT]


def test_a_key_that_stays_away_is_gone_when_its_grace_is_over() -> None:
    shelf = Shelf(NAMER)
    name = shelf.arrived(place(1), reading(), 0, WALL)[0].record.name
    shelf.departed(place(1), 10)
    assert happened(shelf.expire(40)) == [(Happening.GRACE_OVER, State.GONE)]
    assert shelf.listed() == ()
    found = shelf.find(name)
    assert found is not None
    assert found.state is State.GONE


@pytest.mark.parametrize("grace", [0, None], ids=["no grace", "no license"])
def test_a_key_without_grace_is_gone_at_once(grace: int | None) -> None:
    shelf = Shelf(NAMER)
    shelf.arrived(place(1), reading(grace=grace), 0, WALL)
    assert happened(shelf.departed(place(1), 10)) == [
        (Happening.DEPARTED, State.MISSING),
        (Happening.GRACE_OVER, State.GONE),
    ]


def test_a_key_has_the_same_name_each_time_and_another_on_another_bridge() -> None:
    def name(namer: Namer, number: int, at: int) -> str:
        return Shelf(namer).arrived(place(at), reading(number), 0, WALL)[0].record.name

    assert name(NAMER, 1, 1) == name(Namer(b"s" * 32), 1, 9)
    assert name(NAMER, 1, 1) != name(NAMER, 2, 1)
    assert name(NAMER, 1, 1) != name(Namer(b"t" * 32), 1, 1)
    assert "01" * 16 not in name(NAMER, 1, 1)


def test_keys_without_a_card_id_are_told_apart_by_serial_and_place() -> None:
    identity = read_key(FakeKey(1, card_id=False)).identity
    assert NAMER.of_key(identity, place(1)) == NAMER.of_key(identity, place(2))
    bare = type(identity)(
        identity.driver, identity.model, "", True, None, identity.public_key, True
    )
    assert NAMER.of_key(bare, place(1)) != NAMER.of_key(bare, place(2))


def test_a_second_key_with_the_same_card_id_is_faulty_and_the_first_one_stays() -> None:
    shelf = Shelf(NAMER)
    first = shelf.arrived(place(1), reading(), 0, WALL)[0].record
    second = shelf.arrived(place(2), reading(), 1, WALL)[0].record
    assert second.state is State.FAULTY
    assert first.name in second.fault
    assert second.name != first.name
    assert second.reading is not None
    assert second.reading.licenses == ()
    assert [one.state for one in shelf.listed()] == [State.PRESENT, State.FAULTY]
    shelf.departed(place(1), 2)
    took_over = shelf.arrived(place(2), reading(), 3, WALL)
    assert took_over[-1].record.name == first.name
    assert took_over[-1].record.state is State.PRESENT
    assert shelf.at(place(2)) == took_over[-1].record


def test_a_key_that_cannot_be_read_is_faulty_and_recovers_under_its_own_name() -> None:
    shelf = Shelf(NAMER)
    failed = shelf.failed(place(1), "It answers nonsense.", 0, WALL)
    assert happened(failed) == [(Happening.FAILED, State.FAULTY)]
    assert failed[0].record.fault == "It answers nonsense."
    recovered = shelf.arrived(place(1), reading(), 1, WALL)
    assert recovered[-1].record.name == NAMER.of_key(reading().identity, place(1))
    assert [one.state for one in shelf.listed()] == [State.PRESENT]


def test_a_present_key_that_fails_keeps_its_name() -> None:
    shelf = Shelf(NAMER)
    name = shelf.arrived(place(1), reading(), 0, WALL)[0].record.name
    assert shelf.failed(place(1), "It hangs.", 1, WALL)[0].record.name == name
    assert shelf.failed(place(1), "It still hangs.", 2, WALL)[0].record.fault == "It still hangs."
    assert happened(shelf.departed(place(1), 3)) == [(Happening.DEPARTED, State.MISSING)]
    assert shelf.next_deadline() == 33


def test_a_flapping_key_is_recognized_and_its_absences_add_up() -> None:
    shelf = Shelf(NAMER)
    now = 0.0
    for _ in range(FLAP_COUNT):
        record = shelf.arrived(place(1), reading(), now, WALL)[-1].record
        assert record.fault == ""
        shelf.departed(place(1), now + 1)
        now += 5  # a second there, four away
    record = shelf.arrived(place(1), reading(), now, WALL)[-1].record
    assert "came and went" in record.fault
    shelf.departed(place(1), now + 1)
    spent = FLAP_COUNT * 4
    assert shelf.next_deadline() == now + 1 + 30 - spent
    assert shelf.listed()[0].spent == timedelta(seconds=spent)


def test_a_key_that_calms_down_is_forgiven() -> None:
    shelf = Shelf(NAMER)
    for number in range(FLAP_COUNT + 1):
        shelf.arrived(place(1), reading(), number * 2, WALL)
        if number < FLAP_COUNT:
            shelf.departed(place(1), number * 2 + 1)
    assert shelf.listed()[0].fault
    deadline = shelf.next_deadline()
    assert deadline is not None
    shelf.expire(deadline)
    assert shelf.listed()[0].fault == ""
    shelf.departed(place(1), deadline + 100)
    assert shelf.next_deadline() == deadline + 130


def test_notes_about_malformed_slots_are_in_the_fault_and_are_bounded() -> None:
    key = FakeKey()
    key.carry(PUBLISHER)
    key.malformed = set(range(2, 20))
    shelf = Shelf(NAMER)
    record = shelf.arrived(place(1), read_key(key), 0, WALL)[0].record
    assert record.state is State.PRESENT
    assert "slot 2" in record.fault
    assert len(record.fault) <= 500
    assert record.reading is not None
    assert [one.slot for one in record.reading.licenses] == [1]


def test_a_key_that_gets_its_card_id_gets_its_lasting_name() -> None:
    shelf = Shelf(NAMER)
    blank = FakeKey(card_id=False)
    old = shelf.arrived(place(1), read_key(blank), 0, WALL)[0].record
    blank.give_card_id()
    changes = shelf.rewritten(old.name, read_key(blank), 1)
    assert changes[-1].record.name != old.name
    assert shelf.at(place(1)) == changes[-1].record
    assert [one.name for one in shelf.listed()] == [changes[-1].record.name]


def test_keys_that_went_are_not_remembered_for_ever() -> None:
    shelf = Shelf(NAMER)
    names = []
    for number in range(GONE_KEPT + 5):
        names.append(shelf.arrived(place(number), reading(number, None), 0, WALL)[0].record.name)
        shelf.departed(place(number), 1)
    assert shelf.find(names[0]) is None
    assert shelf.find(names[-1]) is not None


CELLS = """
            arrived  rewritten failed   departed grace_over drained  released
    GONE     PRESENT  -         FAULTY   -        -          -        -
    PRESENT  -        PRESENT   FAULTY   MISSING  -          DRAINING -
    MISSING  PRESENT  -         FAULTY   -        GONE       STOPPED  -
    FAULTY   PRESENT  -         FAULTY   MISSING  -          STOPPED  -
    DRAINING -        -         STOPPED  GONE     -          -        STOPPED
    STOPPED  -        -         -        -        -          -        -
"""


def test_every_cell_of_the_table_is_as_written_here() -> None:
    head, *rows = (line.split() for line in CELLS.strip().splitlines())
    happenings = [Happening[name.upper()] for name in head]
    assert set(happenings) == set(Happening)
    assert {State[row[0]] for row in rows} == set(State)
    for row in rows:
        for happening, cell in zip(happenings, row[1:], strict=True):
            if cell == "-":
                assert (State[row[0]], happening) not in TRANSITIONS
                with pytest.raises(LookupError):
                    after(State[row[0]], happening)
            else:
                assert after(State[row[0]], happening) is State[cell]


class Plugging(RuleBasedStateMachine):
    """Anything that hands can do to three keys and three places: never an error, never a key in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf = Shelf(NAMER)
        self.now = 0.0

    @rule(at=st.integers(1, 3), number=st.integers(1, 3), grace=st.sampled_from([None, 0, 30]))
    def arrive(self, at: int, number: int, grace: int | None) -> None:
        known = self.shelf.at(place(at))
        if known is None or known.state is not State.PRESENT:
            self.shelf.arrived(place(at), READINGS[number, grace], self.now, WALL)

    @rule(at=st.integers(1, 3))
    def fail(self, at: int) -> None:
        self.shelf.failed(place(at), "It fails.", self.now, WALL)

    @rule(at=st.integers(1, 3))
    def leave(self, at: int) -> None:
        self.shelf.departed(place(at), self.now)
        assert self.shelf.at(place(at)) is None

    @rule()
    def end(self) -> None:
        """The bridge ends, and begins anew with what is plugged in."""
        self.shelf.drained()
        assert {one.state for one in self.shelf.listed()} <= {State.DRAINING}
        self.shelf.released(self.now)
        assert self.shelf.listed() == ()
        self.shelf = Shelf(NAMER)

    @rule(seconds=st.sampled_from([0.5, 5, 40, 100]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.shelf.expire(self.now)

    @invariant()
    def each_key_is_where_it_says(self) -> None:
        listed = self.shelf.listed()
        places = [one.place for one in listed if one.place is not None]
        assert len(places) == len(set(places))
        for record in listed:
            self.check(record)

    def check(self, record: KeyRecord) -> None:
        assert (record.place is None) == (record.state is State.MISSING)
        assert (record.absent_since is None) == (record.state is State.PRESENT)
        if record.place is not None:
            assert self.shelf.at(record.place) == record
        if record.state is State.FAULTY:
            assert record.fault


READINGS = {
    (number, grace): reading(number, grace) for number in (1, 2, 3) for grace in (None, 0, 30)
}
TestPlugging = Plugging.TestCase
TestPlugging.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
