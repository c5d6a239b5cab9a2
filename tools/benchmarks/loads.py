"""Loads: programs that keep a server busy on command, and what the server and the machine did meanwhile.

Promises: a wrong, denied or missing answer is a LoadError, never a number; CPU is counted over exactly the
time in which operations are; several programs of one load count as one.

Leaves to others: which load when (presence.py, seats.py), and the programs (load/, python_load.py).
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from lab.processes import Event, Lab, Program

BUCKET_WIDTH: Final = 1.02  # latencies are counted in buckets 2 % wide; load.cc has the same
OPEN_SECONDS: Final = 450.0  # for 100,000 sessions
ANSWER_SECONDS: Final = 60.0
PYTHON_LOAD: Final = Path(__file__).resolve().parent / "python_load.py"


class LoadError(Exception):
    """A load did not do what it was told, or a server did not answer rightly."""


@dataclass(frozen=True)
class Target:
    """A server under load."""

    name: str
    address: str
    ca_file: Path
    pids: tuple[int, ...]  # of its servers
    token: str = ""
    database: Callable[[], float] = float  # CPU seconds of a database of its own


@dataclass(frozen=True)
class Work:
    """What a load does, on how many streams or callers, over how many connections."""

    kind: str  # of load.cc's MakeWorker
    workers: int
    outstanding: int
    connections: int
    product: str = "-"
    pool: str = "-"
    opened: int = 0  # of the workers, at first; 0: all


@dataclass(frozen=True)
class Sample:
    """One round of one load."""

    operations: int
    seconds: float
    rate: float  # operations per second
    p50_ms: float
    p99_ms: float
    cpu_per_10k: float  # CPU seconds of the server, and of its database, per 10,000 operations
    server_cores: float  # busy with this server, on average
    load_cores: float
    other_cores: float  # busy with neither
    database_per_10k: float = 0.0  # of cpu_per_10k, the database's
    paced: bool = (
        False  # an open loop: the rate was asked for, latencies count from when it was due
    )


@dataclass(frozen=True)
class Generator:
    """The program that loads are made with."""

    command: tuple[str, ...]
    processes: int
    name: str
    why: str = ""  # it is not the better one


def cpp_generator(program: Path) -> Generator:
    """The C++ load: one process."""
    return Generator((str(program),), 1, "C++")


def python_generator(cores: int, why: str) -> Generator:
    """The Python load: a process for each core that it may use."""
    return Generator((sys.executable, str(PYTHON_LOAD)), cores, "Python", why)


class Load:
    """One load on one server: its workers are open from the start to the end."""

    def __init__(
        self, lab: Lab, generator: Generator, cores: Sequence[int], target: Target, work: Work
    ) -> None:
        self.target = target
        self.work = work
        self._programs: list[Program] = []
        with machine.pinned(cores):
            for number in range(min(generator.processes, work.outstanding)):
                self._programs.append(self._start(lab, generator, number))
        self.open_seconds: float = self._opened([0] * len(self._programs))

    def _start(self, lab: Lab, generator: Generator, number: int) -> Program:
        count = min(generator.processes, self.work.outstanding)
        share = [self.work.workers, self.work.outstanding, self.work.connections]
        workers, outstanding, connections = (
            max(1, whole // count + (number < whole % count)) for whole in share
        )
        arguments: dict[str, Any] = {
            "target": self.target.address,
            "ca": self.target.ca_file,
            "work": self.work.kind,
            "workers": workers,
            "opened": self.work.opened or workers,
            "outstanding": outstanding,
            "connections": connections,
            "product": self.work.product,
            "pool": self.work.pool,
        }
        pairs = [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
        name = f"load-{self.target.name}-{self.work.kind}-{self.work.workers}-{number}"
        return lab.start(
            name, [*generator.command, *pairs], env={"KEYPEG_TOKEN": self.target.token}
        )

    def run(self, seconds: float, warm: float, rate: float = 0.0) -> Sample:
        """Work, and measure for `seconds` after `warm` seconds; at a `rate`, or as fast as answers come."""
        share = rate / len(self._programs)
        command = f"pace {warm} {seconds} {share}" if rate else f"run {warm} {seconds}"
        positions = self._tell(command)
        self._expect("recording", positions, warm)
        before = self._read()
        self._expect("recorded", positions, seconds)
        after = self._read()
        return _sample(self._results(positions), before, after, paced=bool(rate))

    def open_more(self, count: int) -> float:
        """Open more workers, until so many are open; the seconds that took. For loads of one program."""
        return self._opened(self._tell(f"open {count}"))

    def close(self) -> None:
        """Let go of all streams and connections."""
        for program in self._programs:
            program.stop()

    def _tell(self, command: str) -> list[int]:
        """Give a command; from which event on its answers come."""
        positions = [len(program.events) for program in self._programs]
        for program in self._programs:
            assert program.popen.stdin
            program.popen.stdin.write(f"{command}\n".encode())
            program.popen.stdin.flush()
        return positions

    def _opened(self, positions: Sequence[int]) -> float:
        ready = self._expect("ready", positions, OPEN_SECONDS)
        for event in ready:
            if event["errors"]:
                raise LoadError(f"{self.work.kind} on {self.target.name}: {event['first_error']}")
        return max(float(event["seconds"]) for event in ready)

    def _expect(self, what: str, positions: Sequence[int], seconds: float) -> list[Event]:
        timeout = seconds + ANSWER_SECONDS
        return [
            program.expect(what, after=position, timeout=timeout)
            for program, position in zip(self._programs, positions, strict=True)
        ]

    def _results(self, positions: Sequence[int]) -> list[Event]:
        results = self._expect("result", positions, 0)
        for event in results:
            if event["errors"]:
                raise LoadError(f"{self.work.kind} on {self.target.name}: {event['first_error']}")
        return results

    def _read(self) -> machine.Reading:
        programs = [program.pid for program in self._programs]
        return machine.read(self.target.pids, programs, self.target.database())


def _sample(
    results: Sequence[Event], before: machine.Reading, after: machine.Reading, *, paced: bool
) -> Sample:
    latencies: Counter[int] = Counter()
    for event in results:
        latencies.update(dict(event["latencies"]))
    operations = sum(event["operations"] for event in results)
    if not operations:
        raise LoadError("No operation ended within the round; make it longer (--seconds).")
    seconds = after.moment - before.moment
    server, load = after.server - before.server, after.load - before.load
    database = after.database - before.database
    others = after.all - before.all - server - database - load - (after.own - before.own)
    return Sample(
        operations=operations,
        seconds=round(seconds, 3),
        rate=round(sum(event["operations"] / event["seconds"] for event in results), 1),
        p50_ms=_quantile(latencies, 0.50),
        p99_ms=_quantile(latencies, 0.99),
        cpu_per_10k=round((server + database) / operations * 10_000, 3),
        server_cores=round(server / seconds, 2),
        load_cores=round(load / seconds, 2),
        other_cores=round(max(0.0, others / seconds), 2),
        database_per_10k=round(database / operations * 10_000, 3),
        paced=paced,
    )


def _quantile(buckets: Counter[int], part: float) -> float:
    """The latency, in milliseconds, that this part of the operations did not exceed."""
    wanted = part * sum(buckets.values())
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= wanted:
            return round(math.pow(BUCKET_WIDTH, bucket + 1) / 1e3, 3)
    return 0.0
