"""The clock: what never goes backward, and what logs hide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from keypeg_server.clock import SystemClock, from_us, to_us
from keypeg_server.logs import BLANK, blank_secrets


def test_the_wall_clock_never_answers_less_than_its_mark() -> None:
    clock = SystemClock()
    mark = datetime.now(UTC) + timedelta(hours=3)
    clock.never_before(mark)
    assert clock.wall() == mark
    assert clock.set_back_by() > timedelta(hours=2)
    assert from_us(clock.date_us()) < mark - timedelta(hours=2)
    clock.never_before(mark - timedelta(days=1))
    assert clock.wall() == mark


def test_without_a_mark_it_is_the_computer_s_clock() -> None:
    clock = SystemClock()
    before = datetime.now(UTC)
    assert before <= clock.wall() <= datetime.now(UTC)
    assert clock.set_back_by() < timedelta(seconds=1)
    assert clock.monotonic() <= clock.monotonic()


def test_times_survive_the_tables_to_the_microsecond() -> None:
    moment = datetime(2026, 11, 1, 9, 30, 1, 123456, tzinfo=UTC)
    assert from_us(to_us(moment)) == moment
    assert to_us(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)) == 1_000_000


def test_fields_that_speak_of_secrets_are_blanked() -> None:
    event = {"event": "x", "user_password": "p", "token": "t", "tokens_count": 3, "host": "h"}
    assert blank_secrets(None, "info", dict(event)) == {
        **event,
        "user_password": BLANK,
        "token": BLANK,
    }
