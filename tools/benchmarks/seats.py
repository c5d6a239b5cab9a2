"""How fast seats are taken and given back, durably, on streams and by unary calls, beside the floor.

Promises: an operation is one acquire or one release, on disk before its answer; every acquire has a request
id of its own; streams and callers compete for one pool, which has rules (stage.py) but where it says so. At
60 % of the best rate of streams in the same run an open loop shows what one operation takes, and the echo.

Leaves to others: other servers than keypegd (peers.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from benchmarks.loads import Load
from benchmarks.report import Found, Goal, markdown, table
from benchmarks.rounds import Series, measure
from benchmarks.stage import SEATS, Stage
from benchmarks.suite import Given
from lab.postgres import Postgres

CALLERS: Final = (1, 16, 128)
CONNECTIONS: Final = 4
GOAL_CALLERS: Final = 128
PACE: Final = 0.6  # of the best rate
PACED_SECONDS: Final = 4.0  # of a round of an open loop: 16,000 operations for a p99

ECHO: Final = "bare echo"
STREAM: Final = "seat, stream"
NOTHING: Final = "no-op, unary"
UNARY: Final = "seat, unary"
PLAIN: Final = "seat, stream, no rules"
PACED: Final = f"seat, stream, at {PACE:.0%} of its rate"
ECHO_PACED: Final = "bare echo, at the same pace"
KINDS: Final = {
    ECHO: "echo-acquire",
    STREAM: "seat-stream",
    NOTHING: "nothing",
    UNARY: "seat-unary",
}
RATIOS: Final = {
    "stream_to_echo_rate": ("stream / bare echo: rate", STREAM, ECHO, "rate"),
    "stream_to_echo_cpu": ("stream / bare echo: CPU", STREAM, ECHO, "cpu_per_10k"),
    "stream_to_no_op_rate": ("stream / no-op unary: rate", STREAM, NOTHING, "rate"),
    "stream_to_no_op_cpu": ("stream / no-op unary: CPU", STREAM, NOTHING, "cpu_per_10k"),
    "unary_to_no_op_rate": ("unary / no-op unary: rate", UNARY, NOTHING, "rate"),
    "unary_to_no_op_cpu": ("unary / no-op unary: CPU", UNARY, NOTHING, "cpu_per_10k"),
}


def seats(given: Given) -> Found:
    """On SQLite."""
    with given.stage() as stage:
        series = _series(given, stage)
        stream = _of(series, STREAM, GOAL_CALLERS)
        if stream is not None:
            series += _more(given, stage, stream)
    return _found("Seats on SQLite (WAL, synchronous=FULL)", series, _sqlite_goals(series))


def seats_on_postgres(given: Given) -> Found:
    """On PostgreSQL with fsync, its CPU counted."""
    with Postgres.start() as postgres, given.stage(postgres=postgres) as stage:
        title = f"Seats on PostgreSQL {postgres.version} (fsync on; its CPU counted, on both cores)"
        series = _series(replace(given, callers=given.callers[-1:]), stage)
    goals = []
    if _of(series, STREAM, GOAL_CALLERS) is not None:
        ratios = _ratios(series, GOAL_CALLERS)
        name = f"seat on a stream / bare echo, rate, {GOAL_CALLERS} callers, PostgreSQL"
        goals.append(Goal(name, 0.85, ratios["stream_to_echo_rate"]))
    return _found(title, series, goals)


def _series(given: Given, stage: Stage) -> list[Series]:
    series: list[Series] = []
    for count in given.callers:
        given.say(f"seats of {count} callers, beside the floor")
        loads = {
            name: stage.load(kind, count, connections=min(CONNECTIONS, count))
            for name, kind in KINDS.items()
        }
        found = measure(loads, given.plan)
        series += [Series(name, count, found[name].samples) for name in KINDS]
        _close(loads.values())
    return series


def _more(given: Given, stage: Stage, stream: Series) -> list[Series]:
    """The same without rules, and with time between operations."""
    place = stage.pool("plain", SEATS, ruled=False)
    count = stream.callers
    plain = stage.load("seat-stream", count, connections=CONNECTIONS, place=place)
    given.say("seats without rules")
    found = [measure({PLAIN: plain}, given.plan)[PLAIN]]
    plain.close()
    if given.generator.name == "C++":
        given.say("seats at a pace")
        loads = {
            ECHO_PACED: stage.load("echo-acquire", count, connections=CONNECTIONS),
            PACED: stage.load("seat-stream", count, connections=CONNECTIONS),
        }
        plan = replace(
            given.plan, seconds=max(given.plan.seconds, 0.1 if given.quick else PACED_SECONDS)
        )
        rates = dict.fromkeys(loads, PACE * stream.median("rate"))
        found += measure(loads, plan, rates).values()
        _close(loads.values())
    return found


def _close(loads: Iterable[Load]) -> None:
    for load in loads:
        load.close()


def _of(series: Sequence[Series], name: str, callers: int) -> Series | None:
    return next((one for one in series if (one.name, one.callers) == (name, callers)), None)


def _sqlite_goals(series: Sequence[Series]) -> list[Goal]:
    if _of(series, STREAM, GOAL_CALLERS) is None:
        return []
    ratios = _ratios(series, GOAL_CALLERS)
    unary = _of(series, UNARY, GOAL_CALLERS)
    paced = _of(series, PACED, GOAL_CALLERS)
    assert unary is not None
    at = f"{GOAL_CALLERS} callers"
    goals = [
        Goal(f"seat on a stream / bare echo, rate, {at}", 0.75, ratios["stream_to_echo_rate"]),
        Goal(f"seat on a stream / no-op unary, rate, {at}", 3, ratios["stream_to_no_op_rate"]),
        Goal(f"seat by unary calls / no-op unary, rate, {at}", 1.1, ratios["unary_to_no_op_rate"]),
        Goal(
            f"seat by unary calls / no-op unary, CPU, {at}",
            1.1,
            ratios["unary_to_no_op_cpu"],
            at_most=True,
        ),
        Goal(f"p99 of a seat by unary calls, {at}, ms", 50, unary.median("p99_ms"), at_most=True),
    ]
    if paced is not None:
        name = f"p99 of a seat on a stream at {PACE:.0%} of the best rate, ms"
        goals.append(Goal(name, 6, paced.median("p99_ms"), at_most=True))
    return goals


def _ratios(series: Sequence[Series], callers: int) -> dict[str, float]:
    by_name = {one.name: one for one in series if one.callers == callers}
    return {key: by_name[of].over(by_name[to], field) for key, (_, of, to, field) in RATIOS.items()}


def _found(title: str, series: Sequence[Series], goals: Sequence[Goal]) -> Found:
    callers = sorted({one.callers for one in series})
    ratios = {count: _ratios(series, count) for count in callers}
    rows = [
        (title_of, *(f"{ratios[count][key]:.2f}" for count in callers))
        for key, (title_of, *_) in RATIOS.items()
    ]
    head = ("ratio", *(f"{count} callers" for count in callers))
    data: dict[str, Any] = {
        "series": [one.as_json() for one in series],
        "ratios": {str(count): of for count, of in ratios.items()},
    }
    return Found(title, (*table(series), "", *markdown([head, *rows])), data, tuple(goals))
