"""Who must wait before signing in again, by tables and by an attacker who does what they can."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_server.domain import guessing
from keypeg_server.domain.guessing import LOGIN, PLACE, REMEMBERED, TRIES, Guesses, place_of

HOME, CAFE, BAD = "192.0.2.1", "198.51.100.7", "203.0.113.9"


def fail(guesses: Guesses, login: str, address: str, count: int, now: float = 0.0) -> float:
    """So many failures; how long to wait then."""
    for _ in range(count):
        assert guesses.begin(login, address, now) == 0
    return guesses.begin(login, address, now)


def test_some_failures_are_free_and_then_it_takes_time() -> None:
    guesses = Guesses()
    assert fail(guesses, "ada", HOME, TRIES.size) == TRIES.leak
    assert guesses.begin("ada", HOME, TRIES.leak - 0.1) > 0
    assert guesses.begin("ada", HOME, TRIES.leak) == 0
    assert guesses.begin("ada", HOME, TRIES.leak) == TRIES.leak


def test_a_success_forgets_the_failures() -> None:
    guesses = Guesses()
    for _ in range(10):
        for _ in range(TRIES.size - 1):
            assert guesses.begin("ada", HOME, 0) == 0
        assert guesses.begin("ada", HOME, 0) == 0
        guesses.succeeded("ada", HOME, 0)


def test_what_was_not_tried_does_not_count() -> None:
    guesses = Guesses()
    for _ in range(10 * PLACE.size):
        assert guesses.begin("ada", HOME, 0) == 0
        guesses.forgive("ada", HOME, 0)


def test_who_tries_many_logins_from_one_place_waits() -> None:
    guesses = Guesses()
    for number in range(PLACE.size):
        assert guesses.begin(f"user{number}", BAD, 0) == 0
    assert guesses.begin("another", BAD, 0) == PLACE.leak
    assert guesses.begin("another", CAFE, 0) == 0


def test_who_tries_one_login_from_many_places_waits() -> None:
    guesses = Guesses()
    for number in range(LOGIN.size):
        assert guesses.begin("ada", f"10.0.0.{number}", 0) == 0
    assert guesses.begin("ada", "10.1.0.1", 0) == LOGIN.leak
    assert guesses.begin("tom", "10.1.0.1", 0) == 0


def test_nobody_is_kept_out_where_they_signed_in_before() -> None:
    guesses = Guesses()
    assert guesses.begin("ada", HOME, 0) == 0
    guesses.succeeded("ada", HOME, 0)
    for number in range(
        3 * LOGIN.size
    ):  # the whole world guesses, and the neighbor behind the same address too
        guesses.begin("ada", f"10.0.{number % 200}.1", 0)
        guesses.begin(f"user{number}", HOME, 0)
    assert guesses.begin("ada", CAFE, 0) > 0
    assert guesses.begin("ada", HOME, 0) == 0


def test_an_unknown_login_waits_as_a_known_one_does() -> None:
    guesses = Guesses()
    guesses.begin("ada", HOME, 0)
    guesses.succeeded("ada", HOME, 0)
    assert fail(guesses, "ada", BAD, TRIES.size) == fail(guesses, "nobody", CAFE, TRIES.size)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("", ""),
        (HOME, HOME),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
    ],
)
def test_what_counts_as_one_place(address: str, place: str) -> None:
    assert place_of(address) == place


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guessing, "REMEMBERED", 10)
    guesses = Guesses()
    for number in range(100):
        guesses.begin(f"user{number}", f"10.0.0.{number}", 0)
        guesses.succeeded(f"user{number}", f"10.0.0.{number}", 0)
        guesses.begin(f"user{number}", f"10.0.1.{number}", 0)
    for kept in (guesses._tries, guesses._places, guesses._logins):
        assert len(kept._levels) <= 10
    assert len(guesses._at_home) == 10
    assert REMEMBERED > 10


@given(st.lists(st.tuples(st.sampled_from([HOME, CAFE, BAD]), st.floats(0, 100)), max_size=300))
def test_guesses_at_one_login_are_no_more_than_its_bucket_lets_through(
    tries: list[tuple[str, float]],
) -> None:
    guesses, now, let_through = Guesses(), 0.0, 0
    for address, pause in tries:
        now += pause
        let_through += guesses.begin("ada", address, now) == 0
    assert let_through <= LOGIN.size + now / LOGIN.leak + 1
