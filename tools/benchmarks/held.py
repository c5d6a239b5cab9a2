"""A hundred thousand sessions in one process, each with a beat now and then.

Promises: beats come evenly whatever the server does (an open loop), each session beats in its turn, and the
latency of a beat counts from when it was due; the floor answers the same pace on fewer streams.

Leaves to others: renewals as fast as they go (presence.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from benchmarks import machine
from benchmarks.presence import memory, warm_up
from benchmarks.report import Found, Goal, markdown, table
from benchmarks.rounds import Series, measure
from benchmarks.suite import Given

FIRST: Final = 60_000
ALL: Final = 100_000
PER_CONNECTION: Final = 500
FLOOR_STREAMS: Final = 5_000
BEAT_SECONDS: Final = 30.0
ROUND_SECONDS: Final = 6.0
QUICK: Final = 200  # times fewer sessions


def held(given: Given) -> Found:
    """Measure it."""
    given.needs_cpp("Many sessions")
    first, count, streams = (n // QUICK if given.quick else n for n in (FIRST, ALL, FLOOR_STREAMS))
    plan = replace(given.plan, warm=0.5, seconds=0.5 if given.quick else ROUND_SECONDS)
    with given.stage() as stage:
        warm_up(stage)
        (server,) = stage.server.pids
        before = machine.memory_kib(server)
        begun_cpu = machine.process_seconds(server)
        given.say(f"opening {first:,} sessions: a minute for 60,000")
        sessions = stage.load(
            "renew", count, connections=max(1, count // PER_CONNECTION), opened=first
        )
        echo = stage.load("echo-renew", streams, connections=max(1, streams // PER_CONNECTION))
        series = []
        seconds = sessions.open_seconds
        opened = 0
        for held_now in (first, count):
            if held_now > first:
                given.say(f"opening {held_now - first:,} more")
                seconds += sessions.open_more(held_now)
                opened = machine.memory_kib(server)
                open_cpu = machine.process_seconds(server) - begun_cpu
            given.say(f"beats of {held_now:,} sessions")
            rate = held_now / BEAT_SECONDS
            names = (f"renewal, {held_now:,} held", f"bare echo, {streams:,} held, same pace")
            loads = dict(zip(names, (sessions, echo), strict=True))
            found = measure(loads, plan, dict.fromkeys(loads, rate))
            counts = (held_now, streams)
            series += [
                Series(name, number, found[name].samples)
                for name, number in zip(names, counts, strict=True)
            ]
        mine = memory(before, opened, machine.memory_kib(server), count)
        sessions.close()
        echo.close()
    of_first, of_all = series[0], series[2]
    core = of_all.median("server_cores")
    rows = [
        (f"{count:,} sessions, a beat each {BEAT_SECONDS:.0f} s", "measured"),
        ("KiB each, when opened / when they had renewed", f"{mine.opened_kib} / {mine.worked_kib}"),
        (
            "of a core",
            f"{core:.0%}; the bare echo at that pace: {series[3].median('server_cores'):.0%}",
        ),
        (
            "opened per second, CPU of each",
            f"{count / seconds:,.0f}, {open_cpu / count * 1e3:.2f} ms",
        ),
    ]
    worst = [max(sample.p99_ms for sample in one.samples) for one in (of_first, of_all)]
    lines = (
        *table(series),
        "",
        f"Worst round's p99: {worst[0]:.2f} ms with {first:,} held, {worst[1]:.2f} ms with {count:,}.",
        "",
        *markdown(rows),
    )
    data = {
        "sessions": count,
        "first": first,
        "beat_seconds": BEAT_SECONDS,
        "memory": vars(mine),
        "of_a_core": core,
        "opened_per_second": round(count / seconds, 1),
        "open_cpu_ms": round(open_cpu / count * 1e3, 3),
        "series": [one.as_json() for one in series],
    }
    goals = (
        Goal(f"KiB of each of {count:,} sessions", 24, mine.per_stream_kib, at_most=True),
        Goal(f"% of a core, {count:,} sessions", 35, round(core * 100), at_most=True),
        Goal(
            f"p99 of a renewal, {first:,} sessions, ms", 2, of_first.median("p99_ms"), at_most=True
        ),
    )
    return Found(f"{count:,} sessions held", lines, data, goals)
