"""What-if on constructed demand, and a recorded week in seconds."""

from __future__ import annotations

import heapq
import json
import random
import time
from typing import Any

import pytest

from keypeg.usage import DAY, SECOND, read
from keypeg_server.domain.pool_rules import Counting, Kind, PoolRules, Reservation, Who
from keypeg_server.domain.replay import Outcome, recorded, replay
from keypeg_server.service.reports import simulated

T0 = 20_000 * DAY
MINUTE = 60


class Log:
    def __init__(self, seats: int) -> None:
        self.bodies: list[bytes] = []
        self.say("pool_created", 0, seats=seats)

    def say(self, event: str, at: float, **said: Any) -> None:
        record = {"event": event, "time": T0 + int(at * SECOND), "pool": "p", "product": "y"}
        record |= {"user": "u", "device": "d", "app": "cad", "units": 1} | said
        self.bodies.append(json.dumps(record).encode())

    def denied(self, at: float, user: str, **said: Any) -> None:
        self.say("denied", at, user=user, reason="POOL_EXHAUSTED", rule="capacity", count=1, **said)

    def released(self, at: float, lease: str) -> None:
        self.say("released", at, lease=lease, since=T0, how="released")

    def outcomes(self, *seats: int) -> tuple[Outcome, ...]:
        found = simulated(self.bodies, "p", seats)
        assert found is not None
        return (found.recorded, *found.simulated)


def test_one_seat_more_avoids_the_denial_and_fewer_make_others_wait() -> None:
    log = Log(2)
    log.say("granted", 0, lease="a", user="u1")
    log.say("granted", 10, lease="b", user="u2")
    log.denied(20, "u3")
    log.released(60, "a")
    log.released(120, "b")
    log.say("log_removed", 3600)
    was, one, two, three = log.outcomes(1, 2, 3)
    assert (was.seat_count, was.demand_count, was.served_count, was.denied_count) == (2, 3, 2, 1)
    assert (two.served_count, two.denied_count, two.peak_units) == (2, 1, 2)
    assert (three.served_count, three.denied_count, three.peak_units) == (3, 0, 3)
    # With one seat the second waits from 10 to 60; the third did not wait.
    assert (one.served_count, one.denied_count, one.wait_max_us) == (2, 1, 50 * SECOND)


def test_who_waited_waits_less_with_more_seats() -> None:
    log = Log(1)
    log.say("granted", 0, lease="a", user="u1")
    log.say("queued", 10, place="b", user="u2", priority=0)
    log.say("queued", 20, place="c", user="u3", priority=0)
    log.say("left", 400, place="c", user="u3", since=T0 + 20 * SECOND, how="closed")
    log.released(600, "a")
    log.say("granted", 600, lease="b", user="u2", asked=T0 + 10 * SECOND)
    log.released(700, "b")
    log.say("log_removed", 3600)
    was, one, two = log.outcomes(1, 2)
    assert (was.served_count, was.denied_count, was.wait_max_us) == (1, 2, 590 * SECOND)
    assert one == was
    assert (two.served_count, two.denied_count) == (3, 0)
    assert two.wait_max_us == 90 * SECOND  # u3 waits until u2 has had its 100 s


def test_an_endless_demand_holds_until_the_end() -> None:
    log = Log(1)
    log.say("granted", 0, lease="a")
    log.denied(100, "u2")
    log.say("log_removed", 7200)
    was, one, two = log.outcomes(1, 2)
    assert was.denied_count == one.denied_count == 1
    assert (two.served_count, two.peak_units) == (2, 2)


def test_features_and_units_count() -> None:
    log = Log(4)
    log.bodies[0] = log.bodies[0].replace(b'"seats": 4', b'"seats": 4, "features": {"mesh": 1}')
    log.say("granted", 0, lease="a", units=2, features={"mesh": 1})
    log.denied(10, "u2", units=2, features={"mesh": 1})
    log.released(100, "a")
    log.say("log_removed", 3600)
    was, four, eight = log.outcomes(4, 8)
    assert was.denied_count == four.denied_count == eight.denied_count == 1


def test_other_rules_decide_as_they_would_have() -> None:
    """One user with three leases on one computer: counted by user and host, they share a seat."""
    log = Log(2)
    log.say("granted", 0, lease="a", user="u1", process=1, session="s1")
    log.say("granted", 1, lease="b", user="u1", process=2, session="s2")
    log.denied(2, "u1", process=3, session="s3")
    log.denied(3, "u2", process=4, session="s4")
    log.released(600, "a")
    log.released(600, "b")
    log.say("log_removed", 3600)
    found = simulated(
        log.bodies, "p", (), rules=PoolRules(counting=Counting.USER_AND_HOST, linger_us=SECOND)
    )
    assert found is not None
    assert (found.recorded.denied_count, found.recorded.served_count) == (2, 2)
    (shared,) = found.simulated
    assert (shared.seat_count, shared.denied_count, shared.served_count) == (2, 0, 4)
    assert shared.peak_units == 2
    reserved = simulated(
        log.bodies, "p", (2,), rules=PoolRules(reservations=(Reservation(Who(Kind.USER, "u2"), 1),))
    )
    assert reserved is not None
    assert reserved.simulated[0].served_count == 2  # u1 once, and u2 on the reserved one


def test_a_pool_of_which_nothing_is_recorded() -> None:
    assert simulated(Log(1).bodies, "p", (1,)) is None
    history = read(Log(1).bodies)
    assert recorded(history, "q").demand_count == replay(history, "q", 1).demand_count == 0


def week(seed: int, seats: int, count: int) -> list[bytes]:
    """A synthetic week of an office: more demand by day, some wait, some try again, some go."""
    random_ = random.Random(seed)
    log = Log(seats)
    at, held, number = 0.0, 0, 0
    ends: list[tuple[float, str]] = []
    while len(log.bodies) < count:
        busy = 1.0 if 8 <= at / 3600 % 24 < 18 else 0.2
        at += random_.expovariate(busy / 6.4)
        while ends and ends[0][0] <= at:
            end, lease = heapq.heappop(ends)
            log.released(end, lease)
            held -= 1
        number += 1
        user = f"u{random_.randrange(2_000)}"
        if held < seats:
            held += 1
            log.say("granted", at, lease=f"l{number}", user=user)
            heapq.heappush(ends, (at + random_.expovariate(1 / 240), f"l{number}"))
        else:
            log.denied(at, user)
    return log.bodies


@pytest.mark.behaviour("WATCH-4")
@pytest.mark.long
def test_a_recorded_week_replays_in_seconds() -> None:
    bodies = week(1, 44, 100_000)
    begin = time.monotonic()
    found = simulated(bodies, "p", (38, 44, 50))
    assert found is not None
    took = time.monotonic() - begin
    assert 5 * DAY < found.end_us - found.begin_us < 9 * DAY
    fewer, same, more = found.simulated
    was = found.recorded
    assert was.denied_count > 100
    # The same seats give what happened, but for those who asked again meanwhile.
    assert same.denied_count == pytest.approx(was.denied_count, rel=0.03)
    assert same.served_count == pytest.approx(was.served_count, rel=0.01)
    assert fewer.denied_count > same.denied_count > more.denied_count
    assert fewer.peak_units == 38
    assert took < 30, took  # seconds, on a machine that others use; some 4 alone
