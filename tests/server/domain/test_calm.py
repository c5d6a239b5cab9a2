"""When passwords come as they do while nobody guesses."""

from __future__ import annotations

import pytest

from keypeg_server.domain.calm import BURST, RATE, SECONDS, Calm


@pytest.mark.parametrize(("under_way", "calm"), [(1, True), (2, False), (50, False)])
def test_one_at_a_time_is_calm(under_way: int, calm: bool) -> None:
    assert Calm().take(under_way, 0.0) is calm


def test_a_wrong_password_ends_it_for_a_while() -> None:
    calm = Calm()
    assert calm.take(1, 100.0)
    calm.wrong(100.5)
    assert not calm.take(1, 100.6)
    assert not calm.take(1, 100.4 + SECONDS)
    assert calm.take(1, 100.5 + SECONDS)


def test_each_wrong_one_begins_the_while_anew() -> None:
    calm = Calm()
    calm.wrong(0.0)
    calm.wrong(SECONDS / 2)
    assert not calm.take(1, SECONDS)
    assert calm.take(1, SECONDS * 1.5)


def test_right_ones_without_end_are_not_calm_either() -> None:
    calm = Calm()
    assert [calm.take(1, 7.0) for _ in range(20)].count(True) == BURST
    assert not calm.take(1, 7.0 + 0.5 / RATE)
    assert calm.take(1, 7.0 + 1.5 / RATE)


def test_a_crowd_takes_nothing_of_the_rate() -> None:
    calm = Calm()
    for _ in range(100):
        assert not calm.take(2, 0.0)
    assert calm.take(1, 0.0)
