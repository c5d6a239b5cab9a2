"""Reports of constructed histories: peak, mean, percentile, denials, in the right hour."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keypeg.errors import DocumentMalformed
from keypeg.usage import DAY, HOUR, SECOND, Row, percentile, read, usage

T0 = 20_000 * DAY  # a midnight
MINUTE = 60 * SECOND
WHERE = {"pool": "p", "product": "publishers/x/products/y", "activation": "a"}
WHO = {"user": "u", "device": "d", "host": "h", "app": "cad", "process": 1, "session": "s"}


class Log:
    def __init__(self, seats: int = 3) -> None:
        self.bodies: list[bytes] = []
        self.say("pool_created", 0, seats=seats)

    def say(self, event: str, at: int, **said: Any) -> None:
        """`at` in seconds after midnight."""
        record = {"event": event, "time": T0 + at * SECOND, **WHERE, **WHO, "units": 1, **said}
        self.bodies.append(json.dumps(record).encode())

    def held(self, lease: str, begin: int, end: int, **said: Any) -> None:
        self.say("granted", begin, lease=lease, **said)
        self.say("released", end, lease=lease, since=T0 + begin * SECOND, how="released", **said)

    def rows(self, period: int = HOUR, **how: Any) -> list[Row]:
        return usage(read(self.bodies), period=period, **how)


def test_peak_mean_and_percentile_are_over_the_time_of_the_period() -> None:
    log = Log()
    log.held("a", 0, 3600)  # the whole hour
    log.held("b", 0, 1800)  # half of it
    log.held("c", 0, 36)  # 1 %
    log.say("log_removed", 7200)
    first, second = log.rows()
    assert (first.peak, first.p95, first.seat_count) == (3, 2, 3)
    assert first.mean == pytest.approx(1.51)
    assert (second.peak, second.mean, second.p95, second.granted_count) == (0, 0, 0, 0)
    (day,) = log.rows(DAY)
    assert (day.peak, day.granted_count) == (3, 3)
    assert (day.begin_us, day.end_us) == (T0, T0 + 7200 * SECOND)
    assert day.mean == pytest.approx(1.51 / 2)


def test_units_count_and_what_is_handed_over_is_not_held_twice() -> None:
    log = Log()
    log.held("a", 0, 600, units=2)
    log.held("b", 600, 1200, units=2)
    (row,) = log.rows()
    assert (row.peak, row.mean) == (2, 2)


def test_a_use_goes_on_over_periods_and_to_the_end_when_it_has_none() -> None:
    log = Log()
    log.say("granted", 1800, lease="a")
    log.say("log_removed", 3 * 3600)
    assert [row.mean for row in log.rows()] == [0.5, 1, 1]
    assert [row.peak for row in log.rows()] == [1, 1, 1]
    assert [row.mean for row in log.rows(begin_us=T0 + HOUR, end_us=T0 + 2 * HOUR)] == [1]


def test_a_use_that_began_before_the_log_counts_from_when_it_began() -> None:
    log = Log()
    log.say("released", 1800, lease="a", since=T0 - HOUR, how="deadline")
    log.say("log_removed", 3600)
    (row,) = log.rows()
    assert (row.mean, row.granted_count) == (0.5, 0)
    assert [one.mean for one in log.rows(begin_us=T0 - 2 * HOUR, end_us=T0)] == [0, 1]


def denied(log: Log, end: int = 3600) -> tuple[int, int]:
    log.say("log_removed", end)
    rows = log.rows(DAY)
    return sum(row.refused_count for row in rows), sum(row.denied_count for row in rows)


def test_who_is_served_within_five_minutes_was_not_denied() -> None:
    log = Log()
    log.say("denied", 0, reason="POOL_EXHAUSTED", rule="capacity", count=1, last=T0)
    log.say("denied", 60, reason="POOL_EXHAUSTED", rule="capacity", count=20, last=T0 + 2 * MINUTE)
    log.held("a", 299, 400)
    assert denied(log) == (21, 0)


def test_who_tries_for_longer_was_denied_once_for_each_five_minutes() -> None:
    log = Log()
    for at in (0, 100, 299, 301, 500):
        log.say("denied", at, reason="POOL_EXHAUSTED", rule="capacity", count=1)
    log.held("a", 550, 600)
    assert denied(log) == (5, 1)


def test_others_are_other_demands() -> None:
    log = Log()
    for user in ("u1", "u2"):
        log.say("denied", 0, user=user, reason="POOL_EXHAUSTED", rule="", count=1)
    log.say("denied", 0, user="u1", units=2, reason="POOL_EXHAUSTED", rule="", count=1)
    log.held("a", 10, 20, user="u1")
    assert denied(log) == (3, 2)


def test_who_waits_too_long_or_gives_up_was_denied() -> None:
    log = Log()
    log.say("queued", 0, place="quick", user="u1", priority=0)
    log.say("queued", 0, place="slow", user="u2", priority=0)
    log.say("queued", 0, place="gone", user="u3", priority=0)
    log.say("left", 20, place="gone", user="u3", since=T0, how="closed")
    log.say("granted", 100, lease="quick", user="u1", asked=T0)
    log.say("granted", 400, lease="slow", user="u2", asked=T0)
    assert denied(log) == (0, 2)
    history = read(log.bodies)
    assert [one.served_in_time() for one in history.demands] == [True, False, False]


def test_what_is_not_five_minutes_old_is_not_denied_yet() -> None:
    log = Log()
    log.say("denied", 3400, reason="POOL_EXHAUSTED", rule="", count=1)
    assert denied(log, 3600) == (1, 0)


def test_many_askers_are_counted_as_refusals() -> None:
    log = Log()
    log.say("denied_more", 0, reason="POOL_EXHAUSTED", count=9_000, last=T0 + MINUTE)
    assert denied(log) == (9_000, 0)


def test_pools_of_a_product_are_held_together() -> None:
    log = Log(3)
    log.say("pool_created", 0, pool="q", seats=2)
    log.held("a", 0, 600)
    log.held("b", 0, 600, pool="q")
    assert [(row.pool, row.peak) for row in log.rows(DAY)] == [("p", 1), ("q", 1)]
    (both,) = log.rows(DAY, by_product=True)
    assert (both.pool, both.peak, both.seat_count) == ("", 2, 5)
    assert [row.pool for row in log.rows(DAY, pool="q")] == ["q"]


def test_a_record_that_is_none_is_refused() -> None:
    for body in (b"", b"{}", b"[]", b'{"event":"granted","time":1}'):
        with pytest.raises(DocumentMalformed, match="can not be read"):
            read([body])


def test_an_unknown_event_is_passed_over() -> None:
    assert read([b'{"event":"later","time":5}']).end_us == 5


def test_percentiles_are_by_weight() -> None:
    assert percentile({0: 94, 7: 6}, 0.95) == 7
    assert percentile({0: 95, 7: 5}, 0.95) == 0
    assert percentile({3: 1}, 0.95) == 3
