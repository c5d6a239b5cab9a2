"""How fast seats are taken and given back, durably, on streams and by unary calls, beside the floor.

Promises: an operation is one acquire or one release, on disk before its answer; every acquire has a request
id of its own; streams and callers compete for one pool.

Leaves to others: the report's form (report.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.report import Goal
from benchmarks.rounds import Plan, Series, measure
from benchmarks.stage import Stage

CALLERS: Final = (1, 16, 128)
CONNECTIONS: Final = 4
GOAL_CALLERS: Final = 128

ECHO: Final = "bare echo"
STREAM: Final = "seat, stream"
NOTHING: Final = "no-op, unary"
UNARY: Final = "seat, unary"
KINDS: Final = {
    ECHO: "echo-acquire",
    STREAM: "seat-stream",
    NOTHING: "nothing",
    UNARY: "seat-unary",
}


@dataclass(frozen=True)
class Seats:
    """What was measured."""

    series: tuple[Series, ...]
    goals: tuple[Goal, ...]

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        callers = sorted({series.callers for series in self.series})
        return {
            "series": [series.as_json() for series in self.series],
            "ratios": {str(count): _ratios(self.series, count) for count in callers},
            "goals": [goal.as_json() for goal in self.goals],
        }


def seats(stage: Stage, plan: Plan, callers: Sequence[int] = CALLERS) -> Seats:
    """Measure it."""
    loads = {
        f"{name} {count}": stage.load(kind, count, connections=min(CONNECTIONS, count))
        for count in callers
        for name, kind in KINDS.items()
    }
    found = measure(loads, plan)
    series = tuple(
        Series(name, count, found[f"{name} {count}"].samples) for count in callers for name in KINDS
    )
    for load in loads.values():
        load.close()
    return Seats(series, _goals(series) if GOAL_CALLERS in callers else ())


def _goals(series: Sequence[Series]) -> tuple[Goal, ...]:
    ratios = _ratios(series, GOAL_CALLERS)
    return (
        Goal(
            f"seat on a stream / bare echo, rate, {GOAL_CALLERS} callers",
            0.5,
            ratios["stream_to_echo_rate"],
        ),
        Goal(
            f"seat on a stream / no-op unary, rate, {GOAL_CALLERS} callers",
            2,
            ratios["stream_to_no_op_rate"],
        ),
    )


def _ratios(series: Sequence[Series], callers: int) -> dict[str, float]:
    by_name = {one.name: one for one in series if one.callers == callers}
    return {
        "stream_to_echo_rate": by_name[STREAM].over(by_name[ECHO]),
        "stream_to_echo_cpu": by_name[STREAM].over(by_name[ECHO], "cpu_per_10k"),
        "stream_to_no_op_rate": by_name[STREAM].over(by_name[NOTHING]),
        "unary_to_no_op_rate": by_name[UNARY].over(by_name[NOTHING]),
        "unary_to_no_op_cpu": by_name[UNARY].over(by_name[NOTHING], "cpu_per_10k"),
    }
