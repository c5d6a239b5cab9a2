"""How many sessions a server holds, what each costs, and how fast they renew.

Promises: all sessions are held while renewals are measured, and all of them renew in turn; the floor holds
as many streams and echoes on them in the same way.

Leaves to others: many sessions for a long time (held.py).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from benchmarks import machine
from benchmarks.loads import Load
from benchmarks.report import Found, Goal, table
from benchmarks.rounds import Plan, measure
from benchmarks.stage import Stage
from benchmarks.suite import Given

SESSIONS: Final = 5_000
PER_CONNECTION: Final = 100
OUTSTANDING: Final = 64
WARM_UP: Final = Plan(rounds=1, seconds=0.5, warm=0.0)
READMIT_SECONDS: Final = 60  # service/conversation.py, READMIT_AFTER


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


def presence(given: Given) -> Found:
    """Measure it."""
    with given.stage() as stage:
        return _presence(given, stage)


def _presence(given: Given, stage: Stage) -> Found:
    sessions = given.sessions
    connections = max(1, sessions // PER_CONNECTION)
    outstanding = min(OUTSTANDING, sessions)
    warm_up(stage)
    (server,), (floor,) = stage.server.pids, stage.floor.pids
    given.say(f"opening {sessions:,} streams and as many sessions")
    echo_before = machine.memory_kib(floor)
    echo = stage.load("echo-renew", sessions, connections=connections, outstanding=outstanding)
    echo_opened = machine.memory_kib(floor)
    before = machine.memory_kib(server)
    begun = time.monotonic()
    cpu_before = machine.process_seconds(server)
    renew = stage.load("renew", sessions, connections=connections, outstanding=outstanding)
    opened = machine.memory_kib(server)
    open_cpu = machine.process_seconds(server) - cpu_before
    work_once(echo)
    work_once(renew)
    echo_memory = memory(echo_before, echo_opened, machine.memory_kib(floor), sessions)
    mine = memory(before, opened, machine.memory_kib(server), sessions)
    signed = stage.load("renew-signed", outstanding, connections=1)
    loads = {"bare echo": echo, "renewal": renew, "signed renewal": signed}
    given.say("renewals")
    found = measure(loads, given.plan)
    measured_after = time.monotonic() - begun
    for load in loads.values():
        load.close()
    series = tuple(found.values())
    ratios = {
        "renewal_to_echo_rate": series[1].over(series[0]),
        "renewal_to_echo_cpu": series[1].over(series[0], "cpu_per_10k"),
        "signed_renewal_to_echo_rate": series[2].over(series[0]),
    }
    rate, open_ms = sessions / renew.open_seconds, open_cpu / sessions * 1e3
    lines = (
        *table(series),
        "",
        f"Renewal / bare echo: rate {ratios['renewal_to_echo_rate']:.2f}, CPU "
        f"{ratios['renewal_to_echo_cpu']:.2f}; with a signed Grant: rate "
        f"{ratios['signed_renewal_to_echo_rate']:.2f}. Memory: {mine.opened_kib} KiB per session when opened, "
        f"{mine.worked_kib} when all had renewed; {echo_memory.per_stream_kib} per stream of the bare echo. "
        f"Opening, where one user opens all: {rate:,.0f} sessions per second, {open_ms:.2f} ms of the server's "
        f"CPU each. Renewals ended {measured_after:.0f} s after the first opening"
        + (
            "; licenses were looked at again meanwhile."
            if measured_after > READMIT_SECONDS
            else ", before any license was looked at again."
        ),
    )
    data = {
        "sessions": sessions,
        "connections": connections,
        "opened_per_second": round(rate, 1),
        "open_cpu_ms": round(open_ms, 3),
        "measured_after_s": round(measured_after, 1),
        "memory_kib_per_session": mine.per_stream_kib,
        "memory_kib_per_echo_stream": echo_memory.per_stream_kib,
        "memory": {"session": vars(mine), "echo_stream": vars(echo_memory)},
        "series": [one.as_json() for one in series],
        "ratios": ratios,
    }
    goals = (Goal("renewal / bare echo, rate", 0.9, ratios["renewal_to_echo_rate"]),)
    return Found(f"Presence: {sessions:,} sessions held", lines, data, goals)


def warm_up(stage: Stage) -> None:
    """Make the servers load and allocate what they need once, so that it is not charged to a session."""
    for kind in ("echo-renew", "renew"):
        load = stage.load(kind, OUTSTANDING, connections=1)
        work_once(load)
        load.close()


def work_once(load: Load) -> None:
    """Some work of which nothing is kept."""
    measure({load.work.kind: load}, WARM_UP)


def memory(before: int, opened: int, worked: int, streams: int) -> Memory:
    """From three readings."""
    return Memory(
        before, round((opened - before) / streams, 1), round((worked - before) / streams, 1)
    )
