"""How many sessions a server holds, what each costs, and how fast they renew.

Promises: all sessions are held while renewals are measured, and all of them renew in turn; the floor holds
as many streams and echoes on them in the same way.

Leaves to others: the report's form (report.py).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from benchmarks import machine
from benchmarks.loads import Load
from benchmarks.report import Goal
from benchmarks.rounds import Plan, Series, measure
from benchmarks.stage import Stage

SESSIONS: Final = 5_000
PER_CONNECTION: Final = 100
OUTSTANDING: Final = 64
WARM_UP: Final = Plan(rounds=1, seconds=0.5, warm=0.0)


@dataclass(frozen=True)
class Memory:
    """What streams take in a server, in KiB of its proportional set size, each."""

    before_kib: int
    opened_kib: float  # per stream, when all were open
    worked_kib: float  # per stream, when all had worked

    @property
    def per_stream_kib(self) -> float:
        """The larger one: memory that was needed once stays."""
        return max(self.opened_kib, self.worked_kib)


@dataclass(frozen=True)
class Presence:
    """What was measured."""

    sessions: int
    connections: int
    opened_per_second: float
    open_cpu_ms: float  # of the server, for each session
    measured_after_s: float  # from the first opening to the last renewal
    session_memory: Memory
    echo_memory: Memory
    series: tuple[Series, ...]  # echo, renewal, signed renewal
    goals: tuple[Goal, ...]

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "sessions": self.sessions,
            "connections": self.connections,
            "opened_per_second": self.opened_per_second,
            "open_cpu_ms": self.open_cpu_ms,
            "measured_after_s": self.measured_after_s,
            "memory_kib_per_session": self.session_memory.per_stream_kib,
            "memory_kib_per_echo_stream": self.echo_memory.per_stream_kib,
            "memory": {
                "session": vars(self.session_memory),
                "echo_stream": vars(self.echo_memory),
            },
            "series": [series.as_json() for series in self.series],
            "ratios": {
                "renewal_to_echo_rate": self.series[1].over(self.series[0]),
                "renewal_to_echo_cpu": self.series[1].over(self.series[0], "cpu_per_10k"),
                "signed_renewal_to_echo_rate": self.series[2].over(self.series[0]),
            },
            "goals": [goal.as_json() for goal in self.goals],
        }


def presence(stage: Stage, plan: Plan, sessions: int = SESSIONS) -> Presence:
    """Measure it."""
    connections = max(1, sessions // PER_CONNECTION)
    outstanding = min(OUTSTANDING, sessions)
    _warm_up(stage)
    echo_before = machine.memory_kib(stage.floor.pid)
    echo = stage.load("echo-renew", sessions, connections=connections, outstanding=outstanding)
    echo_opened = machine.memory_kib(stage.floor.pid)
    before = machine.memory_kib(stage.server.pid)
    begun = time.monotonic()
    cpu_before = machine.process_seconds(stage.server.pid)
    renew = stage.load("renew", sessions, connections=connections, outstanding=outstanding)
    opened = machine.memory_kib(stage.server.pid)
    open_cpu = machine.process_seconds(stage.server.pid) - cpu_before
    _work_once(echo)
    _work_once(renew)
    echo_memory = _memory(echo_before, echo_opened, machine.memory_kib(stage.floor.pid), sessions)
    memory = _memory(before, opened, machine.memory_kib(stage.server.pid), sessions)
    signed = stage.load("renew-signed", outstanding, connections=1)
    loads = {"bare echo": echo, "renewal": renew, "signed renewal": signed}
    found = measure(loads, plan)
    measured_after = time.monotonic() - begun
    goals = (
        Goal("renewal / bare echo, rate", 0.6, found["renewal"].over(found["bare echo"])),
        Goal("memory per session, KiB", 32, memory.per_stream_kib, at_most=True),
    )
    for load in loads.values():
        load.close()
    return Presence(
        sessions=sessions,
        connections=connections,
        opened_per_second=round(sessions / renew.open_seconds, 1),
        open_cpu_ms=round(open_cpu / sessions * 1e3, 3),
        measured_after_s=round(measured_after, 1),
        session_memory=memory,
        echo_memory=echo_memory,
        series=tuple(found.values()),
        goals=goals,
    )


def _warm_up(stage: Stage) -> None:
    """Make the servers load and allocate what they need once, so that it is not charged to a session."""
    for kind in ("echo-renew", "renew"):
        load = stage.load(kind, OUTSTANDING, connections=1)
        _work_once(load)
        load.close()


def _work_once(load: Load) -> None:
    measure({load.work.kind: load}, WARM_UP)


def _memory(before: int, opened: int, worked: int, streams: int) -> Memory:
    return Memory(
        before, round((opened - before) / streams, 1), round((worked - before) / streams, 1)
    )
