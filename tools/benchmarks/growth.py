"""What an operation costs by how much there already is: live leases, and past ones.

Promises: every point is a server of its own on a copy of one data directory, filled through the storage layer
(filling.py) and started anew; all of them stand on the server's core, idle but for the one under load, and are
measured in the same interleaved rounds. A past lease is a grant and a release in the log and an answered request.

Leaves to others: waiting (waiting.py).
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks import machine
from benchmarks.loads import Load, Target, Work
from benchmarks.report import Found, Goal, bars, markdown
from benchmarks.rounds import Series, measure
from benchmarks.stage import Place, Stage
from benchmarks.suite import Given
from lab.processes import BIN, Lab

CALLERS: Final = 128
CONNECTIONS: Final = 4
LIVE: Final = (0, 1_000, 10_000, 100_000)
PAST: Final = (0, 10_000, 100_000, 1_000_000)
SEATS: Final = 200_000
QUICK: Final = 1_000  # times less
STARTS: Final = 3
START_SECONDS: Final = 120.0
FILL_SECONDS: Final = 600.0
GROWTH: Final = 1.1  # of the cost per operation: what is called no growth
FILLING: Final = Path(__file__).resolve().parent / "filling.py"


@dataclass
class Point:
    """One server."""

    name: str
    live: int
    past: int
    folder: Path
    starts: list[float] = field(default_factory=list)  # seconds from the command to serving
    start_cpu: list[float] = field(default_factory=list)  # CPU seconds of that
    mib: float = 0.0
    database_mib: float = 0.0


def growth(given: Given) -> Found:
    """Measure it."""
    given.needs_cpp("Growth")
    divisor = QUICK if given.quick else 1
    with given.lab("base") as lab:
        stage = Stage(lab, given.generator, given.cores)
        place = stage.pool("growth", SEATS)
        token = stage.server.token
        assert stage.world.server
        stage.world.server.stop()
        base = stage.world.data
        points = [_point(given, base, "live", live // divisor, 0) for live in LIVE] + [
            _point(given, base, "past", 0, past // divisor) for past in PAST if past
        ]
        # On all cores, the largest first: filling is no measurement.
        largest = sorted(points, key=lambda point: point.live + point.past, reverse=True)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as fillers:
            list(fillers.map(lambda point: _fill(given, lab, point, place), largest))
    with given.lab("points") as lab:
        return _measured(given, lab, points, place, token)


def _point(given: Given, base: Path, name: str, live: int, past: int) -> Point:
    folder = given.folder / f"{name}-{live or past}"
    shutil.copytree(base, folder)
    return Point(name, live, past, folder)


def _fill(given: Given, lab: Lab, point: Point, place: Place) -> None:
    if point.live or point.past:
        given.say(f"filling: {point.live:,} live leases, {point.past:,} past ones")
        _, _, pool = place.pool.rpartition("/")
        counts = ["--leases", str(point.live), "--past", str(point.past)]
        arguments = ["--data", str(point.folder), "--pool", pool, *counts]
        lab.run([sys.executable, str(FILLING), *arguments], timeout=FILL_SECONDS)


def _measured(given: Given, lab: Lab, points: list[Point], place: Place, token: str) -> Found:
    targets = []
    starts = 1 if given.quick else STARTS
    for number in range(starts):
        given.say(f"starting all servers, {number + 1} of {starts}")
        targets = [
            _start(given, lab, point, number, number + 1 == starts, token) for point in points
        ]
    loads = {}
    given.say(f"seats by {CALLERS} callers on all of them")
    work = Work("seat-stream", CALLERS, CALLERS, CONNECTIONS, place.product, place.pool)
    for point, target in zip(points, targets, strict=True):
        name = f"{point.name} {point.live or point.past}"
        loads[name] = Load(lab, given.generator, given.cores.load, target, work)
    found = measure(loads, given.plan)
    for load in loads.values():
        load.close()
    series = dict(zip((id(point) for point in points), found.values(), strict=True))
    none = points[0]
    live = [point for point in points if point.name == "live"]
    past = [none, *(point for point in points if point.name == "past")]
    lines: list[str] = []
    goals = []
    for title, curve in (("live leases", live), ("past leases", past)):
        mine = [series[id(point)] for point in curve]
        lines += [*_table(title, curve, mine), ""]
        ratio = mine[-1].over(mine[0], "cpu_per_10k")
        most = curve[-1].live or curve[-1].past
        name = f"CPU per operation with {most:,} {title} / with none"
        goals.append(Goal(name, GROWTH, ratio, at_most=True))
    data = {
        "points": [
            {
                "live": point.live,
                "past": point.past,
                "start_seconds": point.starts,
                "start_cpu_seconds": point.start_cpu,
                "memory_mib": point.mib,
                "database_mib": point.database_mib,
                "series": series[id(point)].as_json(),
            }
            for point in points
        ]
    }
    return Found(
        f"A seat on a stream, {CALLERS} callers, by what there already is",
        tuple(lines[:-1]),
        data,
        tuple(goals),
    )


def _start(given: Given, lab: Lab, point: Point, number: int, stays: bool, token: str) -> Target:
    """Start a server, and measure that; it ends at once unless it stays."""
    name = f"{point.folder.name}-{number}"
    ready = lab.folder / f"{name}.ready"
    serve = ["serve", "--data", str(point.folder), "--listen", "127.0.0.1:0"]
    with machine.pinned(given.cores.server):
        begun = time.monotonic()
        program = lab.start(name, [str(BIN / "keypegd"), *serve, "--ready-file", str(ready)])
        found = lab.ready(program, ready, timeout=START_SECONDS)
        point.starts.append(round(time.monotonic() - begun, 2))
    point.start_cpu.append(round(machine.process_seconds(program.pid), 2))
    point.mib = round(machine.memory_kib(program.pid) / 1024, 1)
    if not stays:
        program.stop()
    files = point.folder.glob("keypegd.sqlite3*")
    point.database_mib = round(sum(file.stat().st_size for file in files) / 2**20, 1)
    return Target(point.name, found["address"], Path(found["ca_file"]), (program.pid,), token)


def _table(title: str, curve: list[Point], series: list[Series]) -> list[str]:
    cpu = [one.median("cpu_per_10k") for one in series]
    rows = [
        (
            f"{point.live or point.past:,}",
            f"{one.median('rate'):,.0f}",
            f"{one.median('p99_ms'):.2f}",
            f"{each:.2f}",
            f"{one.over(series[0], 'cpu_per_10k'):.2f}",
            bar,
            f"{statistics.median(point.starts):.1f} ({statistics.median(point.start_cpu):.1f})",
            f"{point.mib:,.0f}",
            f"{point.database_mib:,.0f}",
        )
        for point, one, each, bar in zip(curve, series, cpu, bars(cpu), strict=True)
    ]
    head = (
        title,
        "op/s",
        "p99 ms",
        "CPU s / 10k",
        "ratio",
        "",
        "start-up s (CPU)",
        "server MiB",
        "database MiB",
    )
    return markdown([head, *rows])
