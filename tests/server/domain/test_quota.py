"""How much one user may ask for, by tables and by a naive model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_server.domain import quota
from keypeg_server.domain.quota import CallRate, StreamCount


def test_a_burst_passes_and_after_it_as_many_as_leak() -> None:
    calls = CallRate(10, 5)
    assert [calls.take("ada", 0.0) for _ in range(5)] == [0.0] * 5
    assert calls.take("ada", 0.0) == pytest.approx(0.1)
    assert calls.take("ada", 0.05) == pytest.approx(0.05), "who is refused is not counted"
    assert calls.take("ada", 0.1) == 0.0
    assert calls.take("ada", 0.1) > 0
    assert calls.take("bob", 0.1) == 0.0, "each has their own"
    assert [calls.take("ada", 100.0) for _ in range(6)][:5] == [0.0] * 5


def test_who_comes_in_any_case_waits_for_those_before() -> None:
    frames = CallRate(10, 2)
    assert [frames.reserve("ada", 0.0) for _ in range(5)] == pytest.approx([0, 0, 0.1, 0.2, 0.3])
    assert frames.reserve("bob", 0.0) == 0.0
    assert frames.reserve("ada", 0.2) == pytest.approx(0.2)
    assert frames.reserve("ada", 10.0) == 0.0


@given(st.lists(st.floats(0, 2), max_size=60), st.integers(1, 20), st.integers(1, 10))
def test_never_more_pass_than_the_burst_and_what_has_leaked(
    gaps: list[float], rate: int, burst: int
) -> None:
    calls = CallRate(rate, burst)
    now, passed = 0.0, []
    for gap in gaps:
        now += gap
        wait = calls.take("ada", now)
        if not wait:
            passed.append(now)
        else:
            assert 0 < wait <= 1 / rate + 1e-9
    for index, begin in enumerate(passed):
        for count, end in enumerate(passed[index:], 1):
            assert count <= burst + (end - begin) * rate + 1e-6


def test_the_longest_unheard_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "REMEMBERED", 2)
    calls = CallRate(1, 1)
    for user in ("ada", "bob"):
        assert calls.take(user, 0.0) == 0.0
    assert calls.take("ada", 1.0) == 0.0
    assert calls.take("cleo", 1.0) == 0.0, "and bob is forgotten"
    assert calls.take("ada", 1.0) > 0
    assert calls.take("bob", 1.0) == 0.0


def test_streams_are_counted_until_they_end() -> None:
    streams = StreamCount(2)
    assert streams.take("ada")
    assert streams.take("ada")
    assert not streams.take("ada")
    assert streams.take("bob")
    streams.give("ada")
    assert streams.take("ada")
    for user in ("ada", "ada", "bob"):
        streams.give(user)
    assert not streams._open, "nothing is kept of who has none"
