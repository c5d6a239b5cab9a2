"""The log says each kind at once, and then how often, and no more of it than a disk bears."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keypeg_server.domain.noticing import KINDS, WHILE, Notices


def test_the_first_is_told_and_then_how_many_there_were() -> None:
    notices = Notices()
    assert notices.see("forged", 0.0) == 1
    assert [notices.see("forged", 1.0) for _ in range(5)] == [0] * 5
    assert notices.see("replayed", 1.0) == 1, "each kind has its own"
    assert notices.see("forged", WHILE) == 6
    assert notices.see("forged", WHILE + 1) == 0


def test_who_sends_of_many_kinds_fills_no_log() -> None:
    notices = Notices()
    told = sum(bool(notices.see(number, number / 1_000)) for number in range(10 * KINDS))
    assert told == KINDS
    assert notices.see("later", 3 * WHILE) == 1, "there is room again"


@given(st.lists(st.tuples(st.integers(0, 300), st.floats(0, 30)), max_size=200))
def test_all_of_a_kind_are_told_of_or_wait_to_be(seen: list[tuple[int, float]]) -> None:
    notices, now, told, there = Notices(), 0.0, 0, 0
    for kind, gap in seen:
        now += gap
        there += 1
        told += notices.see(kind, now)
    assert told <= there
