"""What waiting in a queue costs: one seat goes from hand to hand while more and more wait for it.

Promises: real sessions wait, on streams that are there; an operation is one turn (load/queue_stream.h), its
latency from the release to the grant at the next, its CPU with the former holder's new place in the queue and
with the positions that everyone is told.

Leaves to others: the other curves (growth.py).
"""

from __future__ import annotations

from typing import Final

from benchmarks.report import Found, Goal, bars, markdown
from benchmarks.rounds import measure
from benchmarks.suite import Given

WAITING: Final = (1, 100, 1_000, 10_000)
QUICK: Final = (1, 20)
PER_CONNECTION: Final = 500


def waiting(given: Given) -> Found:
    """Measure it."""
    given.needs_cpp("A queue")
    counts = QUICK if given.quick else WAITING
    with given.stage() as stage:
        loads = {}
        for count in counts:
            given.say(f"{count:,} sessions begin to wait")
            place = stage.pool(f"queue-{count}", seats=2, reserved=1)  # the other one is for others
            loads[f"{count:,}"] = stage.load(
                "seat-queue",
                count + 1,
                connections=1 + count // PER_CONNECTION,
                outstanding=1,
                place=place,
            )
        given.say("turns")
        found = measure(loads, given.plan)
        for load in loads.values():
            load.close()
    series = list(found.values())
    cpu = [one.median("cpu_per_10k") / 10 for one in series]
    rows = [
        (
            one.name,
            f"{one.median('rate'):,.0f}",
            f"{one.median('p50_ms'):.2f}",
            f"{one.median('p99_ms'):.2f}",
            f"{each:.2f}",
            f"{one.over(series[0], 'cpu_per_10k'):.2f}",
            bar,
        )
        for one, each, bar in zip(series, cpu, bars(cpu), strict=True)
    ]
    head = ("waiting", "turns/s", "p50 ms", "p99 ms", "CPU ms a turn", "ratio", "")
    data = {"series": [one.as_json() for one in series]}
    goals = (
        Goal(
            f"from a release to the next grant, {counts[-1]:,} waiting, p99 ms",
            20,
            series[-1].median("p99_ms"),
            at_most=True,
        ),
    )
    return Found(
        "From a release to the next grant, by how many wait",
        tuple(markdown([head, *rows])),
        data,
        goals,
    )
